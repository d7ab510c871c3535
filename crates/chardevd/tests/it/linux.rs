//! A real Linux with its virtio console over vhost-user: its own driver, its own login, and back
//! ends that change under it all the time.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon_rig::{Daemon, change, connect, console, read_until, until};
use crate::linux_rig::tour::Tour;
use crate::linux_rig::{self, Guest, assert_same, lines};
use chardev_load::lines::PADDED;
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;
use tempfile::TempDir;

/// A daemon with a console and a channel, for a VMM.
struct Bed {
    daemon: Daemon,
    dir: TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = start_daemon(dir.path());
        Bed { daemon, dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn boot(&self) -> Guest {
        self.boot_beside(&[])
    }

    /// A guest that has these devices as well, after ours.
    fn boot_beside(&self, devices: &[&str]) -> Guest {
        let socket = self.path().join("vhost");
        let chardev = format!("socket,id=vhost,path={}", socket.display());
        let device =
            "vhost-user-test-device-pci,virtio-id=3,num_vqs=8,config_size=12,chardev=vhost";
        let ours = ["-chardev", &chardev, "-device", device];
        let mut guest = Guest::boot(self.path(), &[&ours, devices].concat());
        until("the ports", || {
            guest
                .try_run("(: <>/dev/hvc0) 2>/dev/null && test -e /dev/vport0p1")
                .1
                == "0"
        });
        // A terminal forgets its settings with its last user.
        guest.run("exec 3<>/dev/hvc0; stty -F /dev/hvc0 raw -echo");
        guest
    }

    fn dropped(&self, id: &str) -> u64 {
        self.counter(id, "output-dropped")
    }

    fn counter(&self, id: &str, name: &str) -> u64 {
        let answer = self
            .daemon
            .client()
            .execute("x-query-chardev-stats", Object::new())
            .unwrap();
        let all = answer.as_array().unwrap();
        let stats = all
            .iter()
            .find(|stats| stats.get("label").and_then(Json::as_str) == Some(id));
        let count = stats.unwrap().get(name).and_then(Json::as_i64);
        count.unwrap() as u64
    }
}

fn start_daemon(dir: &Path) -> Daemon {
    let vhost = dir.join("vhost");
    let listen = |name: &str| {
        let path = dir.join(name);
        format!(
            "socket,id={name},path={},server=on,wait=off,x-closed=hold",
            path.display()
        )
    };
    Daemon::start(&[
        "-chardev",
        &listen("con0"),
        "-chardev",
        &listen("dat0"),
        "-device",
        &format!(
            "vhost-user-console,id=v0,chardev=con0,max-ports=3,socket={}",
            vhost.display()
        ),
        "-device",
        "virtserialport,bus=v0,id=p1,chardev=dat0,name=org.test.0",
    ])
}

#[test]
fn a_thousand_changes_of_each_port_are_exact_both_ways() {
    let bed = Bed::new();
    let mut guest = bed.boot();
    assert_eq!(
        guest.run("cat /sys/class/virtio-ports/vport0p1/name"),
        "org.test.0\n"
    );
    let ports = [("con0", "/dev/hvc0"), ("dat0", "/dev/vport0p1")];
    let began = Instant::now();
    // One process of the guest opens a channel at a time, so each has one direction's turn.
    for (id, device) in ports {
        guest.run(&format!(
            "rm -f /tmp/stop; numbers both {device} 10 500 /tmp/stop >/tmp/write 2>/tmp/read &"
        ));
        let mut tour = Tour::new(id, bed.path(), bed.daemon.client());
        for _ in 0..1000 {
            tour.step(3);
        }
        tour.type_end();
        let read = guest.finish("/tmp/read");
        guest.run("touch /tmp/stop");
        let count = guest.wrote("/tmp/write");
        let (got, sent) = tour.finish();
        assert_same(&got, &lines(count), id);
        assert_eq!(read, format!("read {sent} lines\n"), "{id}");
        assert_eq!(bed.dropped(id), 0);
        eprintln!(
            "{id}: 1000 changes, {count} lines out, {sent} in, {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_login_goes_on_across_changes() {
    let bed = Bed::new();
    let mut guest = bed.boot();
    guest.run("exec 3>&-; (while true; do getty -L 0 hvc0 vt100; done) >/dev/null 2>&1 &");
    linux_rig::log_in(&bed.daemon, bed.path());
}

/// The next that a monitor says of ports that are opened and closed in the guest.
fn next_opening(monitor: &mut Client<UnixStream>) -> (String, bool) {
    loop {
        let event = monitor.next_event().unwrap();
        if event.name == "VSERPORT_CHANGE" {
            let id = event.data.get("id").and_then(Json::as_str).unwrap();
            let open = event.data.get("open").and_then(Json::as_bool).unwrap();
            return (id.to_owned(), open);
        }
    }
}

#[test]
fn monitors_hear_who_opens_a_port_in_the_guest_from_us_as_from_qemu() {
    let bed = Bed::new();
    let mut ours = bed.daemon.client();
    let socket = bed.path().join("qemu");
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    // What we call v0 and p1, in the same guest.
    let mut guest = bed.boot_beside(&[
        "-qmp",
        &qmp,
        "-chardev",
        "null,id=null0",
        "-chardev",
        "null,id=null1",
        "-device",
        "virtio-serial-pci,id=bus,max_ports=3",
        "-device",
        "virtconsole,bus=bus.0,chardev=null0,id=v0",
        "-device",
        "virtserialport,bus=bus.0,chardev=null1,name=theirs,id=p1",
    ]);
    let mut theirs = connect(&socket);
    assert_eq!(next_opening(&mut ours), ("v0".to_owned(), true));
    // The driver says of a console that it is open as soon as there is one; this was before we
    // asked.
    until("their port", || {
        guest.try_run("test -e /dev/vport1p1").1 == "0"
    });
    for (monitor, device) in [(&mut ours, "/dev/vport0p1"), (&mut theirs, "/dev/vport1p1")] {
        guest.run(&format!("exec 4<>{device}"));
        assert_eq!(next_opening(monitor), ("p1".to_owned(), true), "{device}");
        guest.run("exec 4>&-");
        assert_eq!(next_opening(monitor), ("p1".to_owned(), false), "{device}");
        // So quick that the last word comes when its second is over.
        guest.run(&format!(
            "for _ in 1 2 3 4 5; do (: <>{device}); done; exec 4<>{device}"
        ));
        until("the last word", || next_opening(monitor).1);
    }
    drop(guest);
    let mut last = HashMap::new();
    until("both are closed", || {
        let (id, open) = next_opening(&mut ours);
        last.insert(id, open);
        last.len() == 2 && !last["p1"] && !last["v0"]
    });
}

#[test]
fn a_guest_that_starts_again_finds_the_same_peers() {
    let bed = Bed::new();
    let mut guest = bed.boot();
    let mut terminal = console(&bed.path().join("con0"));
    let mut channel = console(&bed.path().join("dat0"));
    for round in 0..3 {
        guest.run(&format!(
            "echo round {round} >&3; echo round {round} >/dev/vport0p1"
        ));
        read_until(&mut terminal, &format!("round {round}\n"));
        read_until(&mut channel, &format!("round {round}\n"));
        channel.write_all(b"hello\n").unwrap();
        assert_eq!(guest.run("head -n 1 /dev/vport0p1"), "hello\n");
        guest.send("reboot");
        guest.ready();
        until("the ports", || {
            guest
                .try_run("(: <>/dev/hvc0) 2>/dev/null && test -e /dev/vport0p1")
                .1
                == "0"
        });
        guest.run("exec 3<>/dev/hvc0; stty -F /dev/hvc0 raw -echo");
    }
    // Another VMM, the same peers.
    drop(guest);
    let mut guest = bed.boot();
    guest.run("echo once more >&3; echo once more >/dev/vport0p1");
    read_until(&mut terminal, "once more\n");
    read_until(&mut channel, "once more\n");
}

/// The other process is restarted in `linux_restart.rs`.
#[test]
fn a_vmm_killed_in_the_middle_of_a_stream_costs_only_what_it_had_not_sent() {
    let bed = Bed::new();
    let mut channel = console(&bed.path().join("dat0"));
    let mut guest = bed.boot();
    guest.run("numbers write /dev/vport0p1 100 0 /tmp/stop >/tmp/write 2>&1 &");
    let mut got = vec![0; 500_000];
    channel.read_exact(&mut got).unwrap();
    drop(guest);
    let mut guest = bed.boot();
    guest.run("numbers write /dev/vport0p1 100 200 /tmp/stop >/tmp/write 2>&1 &");
    let mut more = vec![0; 500_000];
    channel.read_exact(&mut more).unwrap();
    got.extend(more);
    let rest = linux_rig::collect(channel);
    guest.run("touch /tmp/stop");
    let count = guest.wrote("/tmp/write");
    change(
        &mut bed.daemon.client(),
        "dat0",
        r#"{"type":"null","data":{}}"#,
    );
    got.extend(rest.join().unwrap());
    let second = lines(count);
    let first = got.len() - second.len();
    assert_same(&got[first..], &second, "the second guest's stream");
    let whole = lines((first / PADDED) as u64 + 1);
    assert_same(&got[..first], &whole[..first], "the first guest's stream");
}

#[test]
fn a_stuck_peer_stalls_a_channel_and_never_a_console() {
    let bed = Bed::new();
    let mut guest = bed.boot();
    let stuck = console(&bed.path().join("con0"));
    let slow = console(&bed.path().join("dat0"));
    guest.run("numbers write /dev/vport0p1 1000 0 /tmp/stop >/tmp/write 2>&1 &");
    // Far more than the peer's kernel and the console's buffer take.
    let began = Instant::now();
    guest.run("numbers pour /dev/hvc0 8");
    let took = began.elapsed();
    let dropped = bed.dropped("con0");
    assert!(dropped > 6 << 20, "{dropped} bytes were dropped");
    assert!(
        took < Duration::from_secs(30),
        "the guest was stalled for {took:?}"
    );
    // The guest lives, and its writer waits.
    let mut before = 0;
    until("the writer waits", || {
        guest.run("true");
        let now = bed.counter("dat0", "output-accepted");
        std::mem::replace(&mut before, now) == now
    });
    // What was not dropped reaches the peer of the console, and nothing else does.
    let mut kept = vec![0; (8 << 20) - dropped as usize];
    let mut stuck = stuck;
    stuck.read_exact(&mut kept).unwrap();
    assert!(kept.iter().all(|byte| *byte == b'x'));
    let rest = linux_rig::collect(slow);
    guest.run("touch /tmp/stop");
    let count = guest.wrote("/tmp/write");
    change(
        &mut bed.daemon.client(),
        "dat0",
        r#"{"type":"null","data":{}}"#,
    );
    assert_same(&rest.join().unwrap(), &lines(count), "the channel");
    assert_eq!(bed.dropped("dat0"), 0);
}
