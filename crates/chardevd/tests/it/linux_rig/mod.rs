//! A real Linux in QEMU 11, a shell in it on a serial port of QEMU's own, and peers for the
//! changes.

pub(crate) mod tour;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chardev_load::check::difference;
use chardev_load::lines::{Form, stream};

use crate::daemon_rig::{Daemon, until};
use crate::qemu_rig;

/// After this long without a word the guest hangs.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Where the guest is, built from what `./setup` has fetched.
fn files() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = qemu_rig::files();
    let built = Command::new(root.join("tests/guest/build"))
        .arg(&dir)
        .output();
    let built = built.expect("bash runs");
    assert!(
        built.status.success(),
        "no guest in {}, run ./setup: {}",
        dir.display(),
        String::from_utf8_lossy(&built.stderr)
    );
    dir
}

/// A running guest; it does not outlive its test.
pub(crate) struct Guest {
    qemu: Child,
    shell: BufReader<UnixStream>,
    number: u64,
}

impl Guest {
    /// Boots one in QEMU 11 whose memory can be shared, with these further arguments.
    pub(crate) fn boot(dir: &Path, arguments: &[&str]) -> Self {
        Guest::boot_in(qemu_rig::qemu11(), dir, "", arguments)
    }

    /// The same in Debian's QEMU, where `vhost-user-blk` carries the console to the guest's driver.
    pub(crate) fn boot_with_blk(dir: &Path, arguments: &[&str]) -> Self {
        let qemu = Command::new("qemu-system-x86_64");
        Guest::boot_in(qemu, dir, " carrier=blk", arguments)
    }

    fn boot_in(mut command: Command, dir: &Path, words: &str, arguments: &[&str]) -> Self {
        let files = files();
        let shell = dir.join("shell");
        // Of a former guest of the same test.
        let _ = std::fs::remove_file(&shell);
        let listener = UnixListener::bind(&shell).unwrap();
        command
            .args(["-M", "q35,accel=tcg,memory-backend=mem0", "-m", "256"])
            .args(["-smp", "1", "-nodefaults", "-display", "none"])
            .args(["-object", "memory-backend-memfd,id=mem0,size=256M,share=on"])
            .arg("-kernel")
            .arg(files.join("vmlinux"))
            .arg("-initrd")
            .arg(files.join("initrd.gz"))
            .arg("-append")
            // Whether the timer works is checked against a clock that a busy machine does not keep.
            .arg(format!(
                "console=ttyS0 quiet loglevel=1 no_timer_check{words}"
            ))
            .arg("-chardev")
            .arg(format!("socket,id=shell,path={}", shell.display()))
            .args(["-serial", "chardev:shell"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let qemu = command.spawn().expect("QEMU runs; ./setup installs it");
        listener.set_nonblocking(true).unwrap();
        let mut guest = None;
        let mut qemu = Some(qemu);
        until("QEMU connects", || {
            if let Some(status) = qemu.as_mut().and_then(|qemu| qemu.try_wait().unwrap()) {
                panic!("QEMU ended, {status}");
            }
            let Ok((stream, _)) = listener.accept() else {
                return false;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(COMMAND_LIMIT)).unwrap();
            guest = qemu.take().map(|qemu| Guest {
                qemu,
                shell: BufReader::new(stream),
                number: 0,
            });
            true
        });
        let mut guest = guest.unwrap();
        guest.ready();
        guest
    }

    /// Waits until the guest has booted.
    pub(crate) fn ready(&mut self) {
        self.answer("ready");
    }

    /// Runs a command that must succeed and returns what it printed.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let (said, status) = self.try_run(command);
        assert_eq!(status, "0", "{command}: {said}");
        said
    }

    /// Runs a command; what it printed, and its status.
    pub(crate) fn try_run(&mut self, command: &str) -> (String, String) {
        self.send(command);
        let number = self.number.to_string();
        self.answer(&number)
    }

    /// Sends a line to the shell, for which there may be no answer.
    pub(crate) fn send(&mut self, command: &str) {
        self.number += 1;
        let line = format!("{} {} {command}\n", self.number, command.len());
        self.shell.get_mut().write_all(line.as_bytes()).unwrap();
    }

    /// What was printed before the shell's answer of that number, and the status.
    fn answer(&mut self, number: &str) -> (String, String) {
        let mut said = String::new();
        let mut line = Vec::new();
        loop {
            match self.shell.read_until(b'\n', &mut line) {
                Ok(0) => panic!("the guest has gone: {said}"),
                Ok(_) => {}
                Err(error) => panic!("the guest's shell does not answer {number}: {error}: {said}"),
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            let Some(answer) = text.trim_end().strip_prefix("=== ") else {
                said += &text;
                continue;
            };
            let (which, status) = answer.split_once(' ').unwrap_or((answer, ""));
            assert_eq!(which, number, "the answer to another command: {said}");
            assert_ne!(status, "damaged", "a command did not arrive as it was sent");
            return (said, status.to_owned());
        }
    }

    /// Waits until the driver of ttyS1 has sent what it has; setting a terminal does that first.
    pub(crate) fn drain(&mut self) {
        self.run("exec 3<>/dev/ttyS1; stty -F /dev/ttyS1 raw -echo min 1");
    }

    /// Waits for a writer that was started in the background, and says how many lines it wrote.
    pub(crate) fn wrote(&mut self, file: &str) -> u64 {
        let said = self.finish(file);
        let count = said.trim().strip_prefix("wrote ");
        let count = count.and_then(|text| text.strip_suffix(" lines"));
        let count = count.unwrap_or_else(|| panic!("{said}"));
        count.parse().unwrap()
    }

    /// Waits for a program that was started in the background with its output in `file`.
    pub(crate) fn finish(&mut self, file: &str) -> String {
        self.run(&format!("finish {file}"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Either call fails only if QEMU has already ended.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Has `expect` log in at the console `con0` and work there across 100 changes of back end, see
/// `tests/guest/login.exp`.
pub(crate) fn log_in(daemon: &Daemon, dir: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guest/login.exp");
    let output = Command::new("expect")
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_chardevctl"))
        .args([daemon.monitor(), dir])
        .arg("100")
        .output()
        .expect("expect runs; ./setup installs it");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "100 changes, 101 prompts\n", "{error}");
}

/// The lines a writer of `count` lines has written, with its end.
pub(crate) fn lines(count: u64) -> Vec<u8> {
    stream(Form::Padded, count)
}

/// Says where the first difference is, so that it can be read.
pub(crate) fn assert_same(got: &[u8], expected: &[u8], what: &str) {
    if let Some(found) = difference(got, expected) {
        panic!("{what}: {found}");
    }
}

/// Reads a stream to its end in a thread.
pub(crate) fn collect(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        // A pty's end is an error, whatever came before it counts.
        let _ = stream.read_to_end(&mut all);
        all
    })
}
