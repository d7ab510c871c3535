//! Monitors of the configuration come and go with it.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use chardev_qapi::{Json, Object};

use crate::config_start::{Configured, text};
use crate::daemon_rig::{connect, until};

/// Whether the monitor there greets people, and not programs.
fn speaks_to_people(path: &Path) -> bool {
    let mut first = [0; 1];
    UnixStream::connect(path)
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    first != *b"{"
}

#[test]
fn a_monitor_that_is_wanted_no_more_is_gone_with_its_chardev() {
    let with = |more: &str| format!("[chardev.own]\nline = 'socket,path=own,server=on'\n{more}");
    let listen = |listen: &str| with(&format!("[[monitor]]\nlisten = '{listen}'\n"));
    let more = listen("socket,path=more,server=on,wait=off,x-clients=0");
    let configured = Configured::start(&with(""));
    let labels = |configured: &Configured| {
        let monitors = configured.ask("x-query-monitors");
        let chardevs = configured.ask("query-chardev");
        let of = |all: &Json| {
            let all = all.as_array().unwrap().iter();
            all.map(|it| text(it, "label"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        (of(&monitors), of(&chardevs))
    };
    let before = labels(&configured);
    // Each time at the same place, with somebody there; twice, so that nothing of it is left.
    for _ in 0..2 {
        configured.reload(&more);
        let mut other = connect(&configured.path("more"));
        configured.write(&with(""));
        let mut asking = connect(&configured.path("more"));
        // Who asks for it there is answered.
        let report = asking.execute("x-reload", Object::new()).unwrap();
        assert!(report.to_string().contains("chardev.own"), "{report}");
        // Nobody waits for the end of a monitor by which the reload may have been asked for.
        for client in [&mut asking, &mut other] {
            until("it is hung up on", || {
                client.execute("query-version", Object::new()).is_err()
            });
        }
        assert!(UnixStream::connect(configured.path("more")).is_err());
    }
    until("nothing of it is left", || labels(&configured) == before);
    // One with one client at a time, then in another mode at the same place.
    configured.reload(&listen("unix:more"));
    let mut client = connect(&configured.path("more"));
    configured.reload(&(listen("unix:more") + "mode = 'readline'\n"));
    assert!(client.execute("query-version", Object::new()).is_err());
    assert!(speaks_to_people(&configured.path("more")));
    configured.reload(&with(""));
    until("nothing of it is left", || labels(&configured) == before);
    // One on somebody else's chardev leaves it to the next, in whatever mode.
    let on_own = |mode: &str| {
        with(&format!(
            "[[monitor]]\nlisten = 'chardev:own'\nmode = '{mode}'\n"
        ))
    };
    configured.reload(&on_own("control"));
    connect(&configured.path("own"));
    configured.reload(&on_own("readline"));
    until("it speaks to people", || {
        speaks_to_people(&configured.path("own"))
    });
    configured.reload(&with(""));
    until("the chardev is there alone", || {
        labels(&configured) == before
    });
}
