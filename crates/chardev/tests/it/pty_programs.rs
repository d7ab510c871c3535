//! A pty as the programs that people use open it: a console that prints without end, opened again
//! and again, and every byte since the opening is in what the program logs.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use chardev::{BlockingFrontEnd, Chardevs, FrontEnd};
use tempfile::TempDir;

use crate::common::{DEADLINE, LOOK_AGAIN, add, hold, terminal, wait_for};

/// How much a program has to show after each opening: far more than a terminal buffers.
const PRINTED: usize = 32 << 10;

/// How long a line of it is. It ends in a line feed alone, because minicom logs no carriage return.
const LINE: usize = 43;

/// A program that has a terminal of its own, and logs what it got from another one.
struct Program {
    name: PathBuf,
    /// Its arguments for a terminal and a log.
    command: fn(&mut Command, &str, &Path),
}

/// Opens a console 200 times with `program`.
fn opened_again_and_again(program: &Program) {
    let chardevs = Chardevs::new().unwrap();
    let path = add(&chardevs, "con0", &hold("pty")).pty.unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    // Screen wants one that is its own alone.
    let mine = Permissions::from_mode(0o700);
    let dir = tempfile::Builder::new()
        .permissions(mine)
        .tempdir()
        .unwrap();
    let mut printed = 0;
    for round in 0..200 {
        let text = lines(printed, PRINTED);
        thread::scope(|scope| {
            // The console prints all the time, so also while the program opens it.
            scope.spawn(|| front.write_all(&text, Some(DEADLINE)).unwrap());
            Running::start(program, &path, &dir, round).has_logged(&text);
        });
        printed += text.len();
        left(&front);
    }
}

/// Waits until the program is seen to have left, so that the next one is a new opening.
fn left(front: &FrontEnd) {
    wait_for("the departure", || (!front.is_open()).then_some(()));
    while front.next_event().is_some() {}
    while front.read(&mut [0; 256]) > 0 {}
}

/// `count` bytes of numbered lines.
fn lines(from: usize, count: usize) -> Vec<u8> {
    let line = |number| format!("{number:07} console output of a very busy host\n").into_bytes();
    (from / LINE..)
        .flat_map(line)
        .take(count / LINE * LINE)
        .collect()
}

/// A program at work; it ends with this.
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(program: &Program, path: &str, dir: &TempDir, round: usize) -> Running {
        let log = dir.path().join(format!("log{round}"));
        let (mut master, own) = terminal();
        let slave = || File::options().read(true).write(true).open(&own).unwrap();
        let mut command = Command::new(&program.name);
        (program.command)(&mut command, path, &log);
        command
            .env("TERM", "xterm")
            .env("HOME", dir.path())
            .env("SCREENDIR", dir.path())
            .current_dir(dir.path());
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run ./setup", program.name.display()));
        // What it shows on its own terminal is for nobody, but it would wait for a reader.
        thread::spawn(move || while matches!(master.read(&mut [0; 4096]), Ok(1..)) {});
        Running {
            name: format!("round {round}, {}", program.name.display()),
            child,
            log,
        }
    }

    /// Waits until all of `text` is in the log, from its first byte on.
    fn has_logged(mut self, text: &[u8]) {
        let mut logged = Vec::new();
        let end = Instant::now() + DEADLINE;
        while logged.len() < text.len() && text.starts_with(&logged) && Instant::now() < end {
            let ended = self.child.try_wait().unwrap();
            assert_eq!(ended, None, "{} ended by itself", self.name);
            thread::park_timeout(LOOK_AGAIN);
            logged = fs::read(&self.log).unwrap_or_default();
        }
        let same = logged
            .iter()
            .zip(text)
            .take_while(|(got, sent)| got == sent);
        let same = same.count();
        let rest = String::from_utf8_lossy(&logged[same..logged.len().min(same + LINE)]);
        let (name, count) = (&self.name, text.len());
        assert_eq!(same, count, "{name}: as printed up to there, then {rest:?}");
        assert_eq!(logged.len(), count, "{name}: more than was printed");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn picocom_gets_every_byte() {
    opened_again_and_again(&Program {
        name: "picocom".into(),
        command: |command, path, log| {
            command.args(["--quiet", "--nolock", "--logfile"]);
            command.arg(log).arg(path);
        },
    });
}

#[test]
fn tio_gets_every_byte() {
    opened_again_and_again(&Program {
        name: "tio".into(),
        command: |command, path, log| {
            command.arg("--log").arg("--log-file").arg(log).arg(path);
        },
    });
}

#[test]
fn minicom_gets_every_byte() {
    opened_again_and_again(&Program {
        name: "minicom".into(),
        command: |command, path, log| {
            command.args(["--noinit", "--capturefile-buffer-mode=N", "-C"]);
            command.arg(log).arg("-D").arg(path);
        },
    });
}

#[test]
fn screen_gets_every_byte() {
    opened_again_and_again(&Program {
        name: "screen".into(),
        command: |command, path, log| {
            let settings = log.with_extension("rc");
            fs::write(&settings, "logfile flush 0\n").unwrap();
            command.arg("-c").arg(settings);
            command.args(["-D", "-m", "-L", "-Logfile"]);
            command.arg(log).args([path, "115200"]);
        },
    });
}

#[test]
fn pyserial_gets_every_byte() {
    let venv = std::env::var_os("CHARDEV_INTEROP_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop-venv"),
        PathBuf::from,
    );
    opened_again_and_again(&Program {
        name: venv.join("bin/python"),
        command: |command, path, log| {
            command.args(["-c", PYSERIAL, path]).arg(log);
            command.stdin(Stdio::null());
        },
    });
}

const PYSERIAL: &str = "
import serial, sys
port = serial.Serial(sys.argv[1], 115200)
with open(sys.argv[2], 'wb', buffering=0) as log:
    while True:
        log.write(port.read(port.in_waiting or 1))
";
