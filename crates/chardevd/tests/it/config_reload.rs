//! Reloads: only the difference is carried out, or nothing at all.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use chardev_qapi::{Json, Object};
use rustix::process::{Pid, Signal, kill_process};

use crate::config_start::{Configured, text};
use crate::daemon_rig::{DEADLINE, change, console, read_until, until};

fn names(report: &Json, sort: &str) -> String {
    let names = report.get(sort).unwrap().as_array().unwrap().iter();
    names
        .map(|name| name.as_str().unwrap())
        .collect::<Vec<_>>()
        .join(" ")
}

/// How often the back end of each chardev was changed.
fn changes(configured: &Configured) -> HashMap<String, u64> {
    let stats = configured.ask("x-query-chardev-stats");
    let stats = stats.as_array().unwrap().iter();
    let count = |stat: &Json| stat.get("changes").unwrap().as_u64().unwrap();
    stats
        .map(|stat| (text(stat, "label").to_owned(), count(stat)))
        .collect()
}

/// Types at a `cat` that may have been started just now, and prints something first.
fn typed_and_said(peer: &mut UnixStream) {
    peer.write_all(b"x\n").unwrap();
    // Once by the terminal, once by the program.
    read_until(peer, "x\r\n");
    read_until(peer, "x\r\n");
}

/// A line of a numbered stream, as long as every other.
fn numbered(number: u64) -> String {
    format!("{number:014}\n")
}

/// One console under load: numbered lines that go in at the far end and come out at the near one.
struct Stream {
    sent: JoinHandle<u64>,
    read: JoinHandle<u64>,
    /// How many lines have come out.
    count: Arc<AtomicU64>,
}

impl Stream {
    /// Writes to `far` until `stop`, and reads from each of `near` until its end, the last one
    /// until everything has come.
    fn start(far: PathBuf, near: Vec<PathBuf>, stop: &Arc<AtomicBool>) -> Self {
        let (count, total) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicU64::new(u64::MAX)),
        );
        let (stop, told) = (Arc::clone(stop), Arc::clone(&total));
        let sent = std::thread::spawn(move || {
            let mut far = console(&far);
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                let lines: String = (number..number + 16).map(numbered).collect();
                far.write_all(lines.as_bytes()).unwrap();
                number += 16;
            }
            told.store(number, Ordering::Release);
            // It stays, or what is on its way would be the input of a peer that has left.
            until("everything has been read", || {
                told.load(Ordering::Acquire) == 0
            });
            number
        });
        let seen = Arc::clone(&count);
        let read = std::thread::spawn(move || {
            let mut kept = Vec::new();
            let mut number = 0;
            for (at, path) in near.iter().enumerate() {
                let mut peer = console(path);
                peer.set_read_timeout(Some(std::time::Duration::from_millis(20)))
                    .unwrap();
                let began = std::time::Instant::now();
                loop {
                    if at + 1 == near.len() && number == total.load(Ordering::Acquire) {
                        break;
                    }
                    assert!(
                        began.elapsed() < DEADLINE,
                        "{path:?} hangs after {number} lines"
                    );
                    let mut buffer = [0; 4096];
                    match peer.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(size) => kept.extend_from_slice(&buffer[..size]),
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                        Err(error) => panic!("{path:?}: {error}"),
                    }
                    let whole = kept.len() / 15;
                    for line in kept.drain(..whole * 15).as_slice().chunks(15) {
                        assert_eq!(String::from_utf8_lossy(line), numbered(number), "{path:?}");
                        number += 1;
                    }
                    seen.store(number, Ordering::Relaxed);
                }
            }
            assert!(kept.is_empty(), "{kept:?}");
            total.store(0, Ordering::Release);
            number
        });
        Stream { sent, read, count }
    }
}

#[test]
fn a_reload_touches_what_differs_and_loses_nothing_under_load() {
    const ALL: u64 = 100;
    let changed = [3, 20, 41, 77, 100];
    let file = |new: &dyn Fn(u64) -> bool| {
        let mut text = "[defaults]\nsocket = { path = '{name}.far', server = true }\n\
                        to = 'socket,path={name}.near,server=on'\npolicy = { x-closed = 'hold' }\n"
            .to_owned();
        for number in 1..=ALL {
            text += &format!("[console.c{number}]\n");
            if new(number) {
                text += "to = 'socket,path={name}.new,server=on'\n";
            }
        }
        text
    };
    let configured = Configured::start(&file(&|_| false));
    let stop = Arc::new(AtomicBool::new(false));
    let streams = (1..=ALL).map(|number| {
        let path = |end: &str| configured.path(&format!("c{number}.{end}"));
        let near = match changed.contains(&number) {
            true => vec![path("near"), path("new")],
            false => vec![path("near")],
        };
        Stream::start(path("far"), near, &stop)
    });
    let streams: Vec<Stream> = streams.collect();
    let all_move = |what: &str| {
        let counts: Vec<u64> = streams
            .iter()
            .map(|it| it.count.load(Ordering::Relaxed))
            .collect();
        until(what, || {
            let mut moved = streams.iter().zip(&counts);
            moved.all(|(it, count)| it.count.load(Ordering::Relaxed) > *count)
        });
    };
    all_move("all consoles are busy");
    let report = configured.reload(&file(&|number| changed.contains(&number)));
    assert_eq!(names(&report, "changed"), "c3 c20 c41 c77 c100");
    assert_eq!(
        names(&report, "unchanged").split(' ').count() as u64,
        ALL - 5
    );
    for sort in ["added", "removed", "failed"] {
        assert_eq!(report.get(sort).unwrap(), &Json::Array(vec![]), "{sort}");
    }
    all_move("all consoles go on");
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    for stream in streams {
        let sent = stream.sent.join().unwrap();
        assert_eq!(stream.read.join().unwrap(), sent);
        total += sent;
    }
    assert!(total > ALL * 16, "{total}");
    for (label, count) in changes(&configured) {
        let number = label
            .strip_prefix('c')
            .and_then(|number| number.parse().ok());
        let touched = number.is_some_and(|number| changed.contains(&number));
        assert_eq!(count, u64::from(touched), "{label}");
    }
}

#[test]
fn a_reload_that_is_refused_changes_nothing() {
    let good = "[console.a]\nexec = 'cat'\nto = 'socket,path=a,server=on'\n
                [console.b]\nexec = 'cat'\nto = 'socket,path=b,server=on'\n";
    let configured = Configured::start(good);
    let mut peer = console(&configured.path("a"));
    let _taken = UnixListener::bind(configured.path("taken")).unwrap();
    let wrong = [
        (
            format!("{good}[console.c]\nexex = 'x'\n[console.d]\n"),
            "no key 'exex'",
        ),
        // The change of b is refused by what it wants; that of a was prepared before it.
        (
            good.replace("path=a", "path=a2")
                .replace("path=b", "path=taken"),
            "b: chardev 'b'",
        ),
        (
            format!(
                "{good}[[object]]\nqom-type = 'tls-creds-x509'\nid = 't'\ndir = 'none'\nendpoint = 'server'\n"
            ),
            "object 't'",
        ),
    ];
    for (text, why) in wrong {
        configured.write(&text);
        let error = configured
            .daemon
            .client()
            .execute("x-reload", Object::new());
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains(why) && error.contains("f.toml:") | (why == "object 't'"),
            "{error}"
        );
        assert!(!configured.path("a2").exists());
        peer.write_all(b"still here\n").unwrap();
        read_until(&mut peer, "still here\r\nstill here\r\n");
        assert!(changes(&configured).values().all(|count| *count == 0));
    }
    let report = configured.reload(good);
    assert_eq!(names(&report, "unchanged"), "a b");
}

#[test]
fn what_was_changed_by_hand_stays_until_its_text_changes() {
    let file = |a: &str| {
        format!(
            "[console.a]\nexec = 'cat'\nto = 'socket,path={a},server=on'\n
             [console.b]\nexec = 'cat'\nto = 'socket,path=b,server=on'\n"
        )
    };
    let configured = Configured::start(&file("a"));
    let mut client = configured.daemon.client();
    for name in ["a", "b"] {
        change(
            &mut client,
            name,
            "{'type': 'ringbuf', 'data': {'size': 4096}}",
        );
    }
    drop(client);
    let to = |name: &str| configured.said_of(name, "to").unwrap();
    let report = configured.reload(&file("a"));
    assert_eq!(names(&report, "unchanged"), "a b");
    assert_eq!(
        (to("a"), to("b")),
        ("ringbuf".to_owned(), "ringbuf".to_owned())
    );
    let report = configured.reload(&file("a2"));
    assert_eq!(names(&report, "changed"), "a");
    assert!(to("a").contains("a2"), "{}", to("a"));
    assert_eq!(to("b"), "ringbuf");
    // One that somebody removed comes back, whole, with another text.
    let mut client = configured.daemon.client();
    client
        .execute("device_del", Object::new().with("id", "a"))
        .unwrap();
    until("it can be removed", || {
        let id = Object::new().with("id", "a");
        client.execute("chardev-remove", id).is_ok()
    });
    drop(client);
    let report = configured.reload(&file("a2"));
    assert_eq!(names(&report, "unchanged"), "a b");
    assert!(configured.said_of("a", "to").is_none());
    assert_eq!(names(&configured.reload(&file("a3")), "changed"), "a");
    let mut peer = console(&configured.path("a3"));
    peer.write_all(b"back\n").unwrap();
    read_until(&mut peer, "back\r\nback\r\n");
}

#[test]
fn what_one_gives_up_another_has_at_the_same_moment() {
    let configured = Configured::start(
        "[console.old]\nsocket = { path = 'old.far', server = true }\nto = 'socket,path=near,server=on'\n
         [console.one]\nexec = 'cat'\nto = 'socket,path=1,server=on'\n
         [console.two]\nexec = 'cat'\nto = 'socket,path=2,server=on'\n",
    );
    let mut two = console(&configured.path("2"));
    let report = configured.reload(
        "[console.one]\nexec = 'cat'\nto = 'socket,path=2,server=on'\n
         [console.two]\nexec = 'cat'\nto = 'socket,path=1,server=on'\n
         [console.new]\nexec = 'echo new; exec cat'\nto = 'socket,path=near,server=on'\n",
    );
    assert_eq!(names(&report, "removed"), "old");
    assert_eq!(names(&report, "changed"), "one two");
    assert_eq!(names(&report, "added"), "new");
    let labels = configured.ask("query-chardev").to_string();
    assert!(!labels.contains("\"old"), "{labels}");
    let devices = configured.ask("x-query-devices").to_string();
    assert!(!devices.contains("\"old"), "{devices}");
    let mut near = console(&configured.path("near"));
    typed_and_said(&mut near);
    // The old peer of two has been let go.
    let mut rest = Vec::new();
    two.read_to_end(&mut rest).unwrap();
}

#[test]
fn another_program_log_or_policy_leaves_the_peer_where_it_is() {
    let file = |exec: &str, more: &str| {
        format!("[console.a]\nexec = '{exec}'\nto = 'socket,path=a,server=on'\n{more}\n")
    };
    let configured = Configured::start(&file("echo first; exec cat", ""));
    let mut peer = console(&configured.path("a"));
    typed_and_said(&mut peer);
    let offset = |configured: &Configured| {
        let stats = configured.ask("x-query-chardev-stats");
        let stat = stats.as_array().unwrap()[0].clone();
        stat.get("output-accepted").unwrap().as_u64().unwrap()
    };
    let before = offset(&configured);
    let report = configured.reload(&file("echo second; exec cat", ""));
    assert_eq!(names(&report, "changed"), "a");
    read_until(&mut peer, "second\r\n");
    assert!(offset(&configured) > before);
    // A log begins, another policy counts, a log ends: the same peer is there.
    for more in [
        "log = 'a.log'",
        "log = 'a.log'\npolicy = { x-closed = 'hold' }",
        "",
    ] {
        let report = configured.reload(&file("echo second; exec cat", more));
        assert_eq!(names(&report, "changed"), "a", "{more}");
        peer.write_all(b"on\n").unwrap();
        read_until(&mut peer, "on\r\non\r\n");
    }
    let log = configured.path("a.log");
    until("the log is written", || {
        fs::read_to_string(&log).unwrap().contains("on\r\non\r\n")
    });
}

#[test]
fn a_hang_up_reads_the_file_again_and_says_what_came_of_it() {
    let mut configured = Configured::start("[console.a]\nexec = 'cat'\n");
    configured.write("[console.a]\nexec = 'cat'\n[console.b]\nexec = 'cat'\n");
    let hang_up = |configured: &Configured| {
        let pid = Pid::from_raw(i32::try_from(configured.daemon.id()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    };
    hang_up(&configured);
    until("b is there", || configured.state("b") == "running");
    configured.write("[console.a]\nexec = 7\nexex = 'x'\n");
    hang_up(&configured);
    // What is asked for behind it is answered behind it.
    let refused = configured
        .daemon
        .client()
        .execute("x-reload", Object::new());
    assert!(refused.is_err());
    assert_eq!(configured.state("b"), "running");
    let (_, said) = configured.daemon.terminate();
    for line in [
        "reloaded: 1 added, 0 changed, 0 removed, 1 unchanged, 0 failed",
        "not reloaded; everything is as it was",
        "f.toml:2:8: 'exec' is a number",
        "f.toml:3:1: there is no key 'exex'",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn many_that_fail_keep_nobody_from_coming_and_are_tried_again() {
    let configured =
        Configured::start("[console.a]\nexec = 'cat'\nto = 'socket,path=a,server=on'\n");
    let mut file = "[console.a]\nexec = 'cat'\nto = 'socket,path=a2,server=on'\n".to_owned();
    for number in 0..12 {
        file += &format!("[console.bad{number}]\nserial = 'tty{number}'\n");
        file += &format!("[console.good{number}]\nexec = 'cat'\n");
    }
    let report = configured.reload(&file);
    assert_eq!(names(&report, "changed"), "a");
    assert_eq!(names(&report, "added").split(' ').count(), 12);
    let failed = report.get("failed").unwrap().as_array().unwrap();
    assert_eq!(failed.len(), 12);
    let reason = text(&failed[0], "reason");
    assert!(reason.starts_with("Could not open 'tty0'"), "{reason}");
    console(&configured.path("a2"));
    let report = configured.reload(&file);
    assert_eq!(names(&report, "unchanged").split(' ').count(), 13);
    assert_eq!(report.get("failed").unwrap().as_array().unwrap().len(), 12);
}

#[test]
fn a_monitor_and_an_object_change_with_the_file() {
    let configured = Configured::start("");
    let object =
        |id: &str| format!("[[object]]\nqom-type = 'authz-simple'\nid = '{id}'\nidentity = 'x'\n");
    configured.write(&format!(
        "{}[[monitor]]\nlisten = 'unix:more'\n",
        object("one")
    ));
    let report = configured.ask("x-reload");
    assert_eq!(report.get("failed").unwrap(), &Json::Array(vec![]));
    let ask = |path: &Path, command: &str| {
        let mut client = crate::daemon_rig::connect(path);
        client.execute(command, Object::new()).unwrap().to_string()
    };
    let exported = ask(&configured.path("more"), "x-export");
    assert!(exported.contains(r#"\"id\": \"one\""#), "{exported}");
    configured.write(&object("two"));
    let answer = ask(&configured.path("qmp"), "x-reload");
    assert!(answer.contains("unchanged"), "{answer}");
    let exported = ask(&configured.path("qmp"), "x-export");
    assert!(
        exported.contains(r#"\"two\""#) && !exported.contains(r#"\"one\""#),
        "{exported}"
    );
    assert!(UnixStream::connect(configured.path("more")).is_err());
}
