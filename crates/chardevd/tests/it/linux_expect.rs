//! Scripts of `chardevctl expect` that log in to a real Linux as it boots, while the console goes
//! from one place to another.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tempfile::TempDir;

use crate::daemon_rig::Daemon;
use crate::linux_rig::Guest;

/// How many boots there are if the environment (`CHARDEV_BOOTS`) does not say.
const BOOTS: usize = 3;
/// Seconds that a step may take; only a miss reaches it.
const LIMIT: &str = "60";

struct Bed {
    daemon: Daemon,
    dir: TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("vfio");
        let device = format!("vfio-user-serial,chardev=con0,socket={}", socket.display());
        let chardev = "ringbuf,id=con0,x-history=64k";
        let daemon = Daemon::start(&["-chardev", chardev, "-device", &device]);
        Bed { daemon, dir }
    }

    /// Boots a guest with a login on our serial port.
    fn boot(&self) -> Guest {
        let socket = self.dir.path().join("vfio");
        let socket = format!(r#"{{"type":"unix","path":"{}"}}"#, socket.display());
        let device = format!(r#"{{"driver":"vfio-user-pci","socket":{socket}}}"#);
        let mut guest = Guest::boot(self.dir.path(), &["-device", &device]);
        greet(&mut guest);
        guest
    }

    fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevctl"));
        command.arg("--socket").arg(self.daemon.monitor());
        let output = command.args(arguments).output().expect("chardevctl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Waits for these after `offset`, one after the other, and returns where the last has ended.
    fn expect(&self, offset: &str, steps: &[&str]) -> String {
        let common = ["expect", "con0", "--timeout", LIMIT, "--from", offset];
        let said = self.ctl(&[&common, steps].concat());
        let last = said.lines().last().and_then(|line| line.split(' ').next());
        last.expect("an offset").to_owned()
    }

    /// Logs in, works and logs out, in several calls; returns where the output was looked at to.
    fn session(&self, offset: &str, round: usize) -> String {
        let offset = self.expect(offset, &["login: ", "--send", r"root\r", "/ # "]);
        let command = format!(r"echo $(({round} * 7 + 1000000))x\r");
        let answer = format!("^{}x\r?$", round * 7 + 1_000_000);
        let offset = self.expect(&offset, &["--send", &command, &answer, "/ # "]);
        // The answer of this one is there, or on its way, when it is asked for.
        self.ctl(&["send", "con0", r"seq 1 200; echo e''nd\r"]);
        let offset = self.expect(&offset, &["^1\r?\n2\r?\n", "^199\r?\n200\r?\nend", "/ # "]);
        self.expect(&offset, &["--send", r"exit\r", "exit"])
    }

    /// Changes the back end until it is told to stop; how often it did.
    fn change(&self, stop: &AtomicBool, changes: &AtomicUsize) {
        let path = |number: usize| self.dir.path().join(format!("s{}", number % 2));
        while !stop.load(Ordering::Relaxed) {
            let number = changes.fetch_add(1, Ordering::Relaxed);
            let backend = match number % 3 {
                0 => "pty".to_owned(),
                1 => listening(&path(number)),
                _ => "ringbuf,size=64k".to_owned(),
            };
            self.ctl(&["change", "con0", &backend]);
        }
    }
}

fn listening(path: &Path) -> String {
    format!("socket,path={},server=on,wait=off", path.display())
}

fn greet(guest: &mut Guest) {
    guest.run("(while true; do getty -L 115200 ttyS1 vt100; done) >/dev/null 2>&1 &");
}

#[test]
fn scripts_log_in_at_every_boot_whatever_becomes_of_the_back_end() {
    let boots = std::env::var("CHARDEV_BOOTS").ok();
    let boots = boots.and_then(|text| text.parse().ok()).unwrap_or(BOOTS);
    let bed = Bed::new();
    let (stop, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = Instant::now();
    let mut guest = bed.boot();
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| bed.change(&stop, &changes));
        let mut offset = "0".to_owned();
        for round in 0..boots {
            if round > 0 {
                guest.send("reboot");
                guest.ready();
                greet(&mut guest);
            }
            offset = bed.session(&offset, round);
        }
    });
    let changes = changes.load(Ordering::Relaxed);
    eprintln!("{boots} boots, {changes} changes, {:?}", began.elapsed());
    assert!(changes >= boots, "{changes} changes");
}

/// Ends the changes even if a step fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
