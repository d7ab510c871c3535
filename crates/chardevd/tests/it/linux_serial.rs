//! A real Linux with our 16550A as a PCI card over vfio-user: its own driver, its own login, and
//! back ends that change under it all the time.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use crate::daemon_rig::{Daemon, change, console, read_until, until};
use crate::linux_rig::tour::Tour;
use crate::linux_rig::{self, Guest, assert_same, lines};
use chardev_qapi::{Json, Object};
use tempfile::TempDir;

/// A daemon with a serial card, and a guest that has found it as ttyS1.
struct Bed {
    daemon: Daemon,
    dir: TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = |name: &str| dir.path().join(name).display().to_string();
        let chardev = format!(
            "socket,id=con0,path={},server=on,wait=off,x-closed=hold",
            socket("con0")
        );
        let device = format!("vfio-user-serial,chardev=con0,socket={}", socket("vfio"));
        let daemon = Daemon::start(&["-chardev", &chardev, "-device", &device]);
        Bed { daemon, dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn boot(&self) -> Guest {
        let socket = self.path().join("vfio");
        let device = format!(
            r#"{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":"{}"}}}}"#,
            socket.display()
        );
        let mut guest = Guest::boot(self.path(), &["-device", &device]);
        // A terminal forgets its settings with its last user.
        guest.run("exec 3<>/dev/ttyS1; stty -F /dev/ttyS1 raw -echo");
        guest
    }

    fn accepted(&self) -> i64 {
        let mut client = self.daemon.client();
        let answer = client
            .execute("x-query-chardev-stats", Object::new())
            .unwrap();
        let all = answer.as_array().unwrap();
        let stats = all
            .iter()
            .find(|stats| stats.get("label").and_then(Json::as_str) == Some("con0"));
        stats
            .unwrap()
            .get("output-accepted")
            .and_then(Json::as_i64)
            .unwrap()
    }
}

#[test]
fn linux_finds_a_16550a_with_fifo_and_a_thousand_changes_are_exact_both_ways() {
    let bed = Bed::new();
    let mut guest = bed.boot();
    let found = guest.run("dmesg | grep ttyS1");
    assert!(found.contains(") is a 16550A"), "{found}");
    let found = guest.run("cd /sys/class/tty/ttyS1; cat type xmit_fifo_size; basename $(readlink device/driver); cd /");
    // 4 is the kernel's PORT_16550A.
    assert_eq!(found, "4\n16\nserial\n");
    guest.run("numbers both /dev/ttyS1 2 2000 /tmp/stop >/tmp/write 2>/tmp/read &");
    let mut tour = Tour::new("con0", bed.path(), bed.daemon.client());
    let began = Instant::now();
    for _ in 0..1000 {
        tour.step(1);
    }
    let took = began.elapsed();
    tour.type_end();
    let read = guest.finish("/tmp/read");
    guest.run("touch /tmp/stop");
    let count = guest.wrote("/tmp/write");
    guest.drain();
    let (got, sent) = tour.finish();
    assert_same(&got, &lines(count), "the output");
    assert_eq!(read, format!("read {sent} lines\n"));
    eprintln!("ttyS1: 1000 changes in {took:?}, {count} lines out, {sent} in");
}

#[test]
fn a_login_goes_on_across_changes_of_the_serial_port() {
    let bed = Bed::new();
    let mut guest = bed.boot();
    guest.run("exec 3>&-; (while true; do getty -L 115200 ttyS1 vt100; done) >/dev/null 2>&1 &");
    linux_rig::log_in(&bed.daemon, bed.path());
}

#[test]
fn a_guest_or_a_vmm_that_starts_again_finds_the_same_peer() {
    let bed = Bed::new();
    let mut terminal = console(&bed.path().join("con0"));
    let mut guest = bed.boot();
    for round in 0..3 {
        if round % 2 == 1 {
            guest.send("reboot");
            guest.ready();
            guest.run("exec 3<>/dev/ttyS1; stty -F /dev/ttyS1 raw -echo");
        } else if round > 0 {
            // In the middle of a line.
            guest.run("numbers write /dev/ttyS1 10 0 /tmp/stop >/tmp/write 2>&1 &");
            read_until(&mut terminal, "0000000050\n");
            drop(guest);
            guest = bed.boot();
        }
        guest.run(&format!("echo round {round} >&3"));
        read_until(&mut terminal, &format!("round {round}\n"));
        terminal.write_all(b"hello\n").unwrap();
        assert_eq!(guest.run("head -n 1 <&3"), "hello\n");
    }
}

#[test]
fn a_stuck_peer_makes_the_writer_wait_and_nobody_else() {
    let bed = Bed::new();
    let mut guest = bed.boot();
    let stuck = console(&bed.path().join("con0"));
    guest.run("numbers write /dev/ttyS1 10 0 /tmp/stop >/tmp/write 2>&1 &");
    let mut before = 0;
    until("the writer waits", || {
        guest.run("true");
        let now = bed.accepted();
        std::mem::replace(&mut before, now) == now && now > 0
    });
    // The next back end goes on with the next byte, and the guest never noticed.
    let path = bed.path().join("file");
    let backend = format!(r#"{{"type":"file","data":{{"out":"{}"}}}}"#, path.display());
    change(&mut bed.daemon.client(), "con0", &backend);
    until("the writer goes on", || bed.accepted() > before + 10_000);
    guest.run("touch /tmp/stop");
    let count = guest.wrote("/tmp/write");
    guest.drain();
    let mut got = Vec::new();
    let mut stuck = stuck;
    stuck.read_to_end(&mut got).unwrap();
    got.extend(std::fs::read(path).unwrap());
    assert_same(&got, &lines(count), "the output");
}
