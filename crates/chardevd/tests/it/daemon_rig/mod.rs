//! What the tests of the daemon share: one that is running, clients, and waiting with a deadline.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take; only a hang reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running daemon with a monitor; it does not outlive its test.
pub(crate) struct Daemon {
    child: Child,
    dir: TempDir,
    monitor: PathBuf,
    readers: Vec<JoinHandle<String>>,
    said: Vec<String>,
}

impl Daemon {
    /// Starts one with these arguments and a monitor.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let monitor = dir.path().join("qmp.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
        // Relative paths of the arguments are in the daemon's directory.
        command.current_dir(dir.path());
        command.args(arguments).arg("-qmp");
        command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        Self::spawn(command, dir, monitor)
    }

    /// Starts one whose monitor is at `monitor` by other means.
    pub(crate) fn adopt(command: Command, monitor: &Path) -> Self {
        Self::spawn(command, tempfile::tempdir().unwrap(), monitor.to_owned())
    }

    /// Starts one whose own directory is `dir` and whose monitor is at `monitor`.
    pub(crate) fn adopt_in(command: Command, dir: TempDir, monitor: &Path) -> Self {
        Self::spawn(command, dir, monitor.to_owned())
    }

    fn spawn(mut command: Command, dir: TempDir, monitor: PathBuf) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        let readers = outputs.map(|mut output| {
            std::thread::spawn(move || {
                let mut said = String::new();
                // A daemon that was killed may have said half a character; the rest is what counts.
                let _ = output.read_to_string(&mut said);
                said
            })
        });
        let mut daemon = Daemon {
            child,
            dir,
            monitor,
            readers: readers.into(),
            said: Vec::new(),
        };
        until("the monitor accepts", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                daemon.collect();
                panic!("the daemon ended, {status}: {}", daemon.said());
            }
            UnixStream::connect(&daemon.monitor).is_ok()
        });
        daemon
    }

    /// A directory for the test's own files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the monitor listens.
    pub(crate) fn monitor(&self) -> &Path {
        &self.monitor
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A client of the monitor.
    pub(crate) fn client(&self) -> Client<UnixStream> {
        connect(&self.monitor)
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.collect();
        status.unwrap()
    }

    /// Ends it with SIGTERM; returns its status and what it said on standard error.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, String) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        let status = self.wait();
        (status, self.said[1].clone())
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// What it said altogether; complete only after its end.
    pub(crate) fn said(&self) -> String {
        self.said.concat()
    }

    /// Says what it said, of a test that fails. Whoever has its outputs still is not waited for.
    fn tell(&mut self) {
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end && !self.readers.iter().all(JoinHandle::is_finished) {
            pause();
        }
        let (ended, _) = self
            .readers
            .drain(..)
            .partition::<Vec<_>, _>(JoinHandle::is_finished);
        self.said
            .extend(ended.into_iter().flat_map(JoinHandle::join));
        eprintln!(
            "chardevd at {} said: {}",
            self.monitor.display(),
            self.said()
        );
    }

    fn collect(&mut self) {
        let readers = self.readers.drain(..);
        self.said
            .extend(readers.map(|reader| reader.join().unwrap()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Either call fails only if the daemon has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.tell();
        }
    }
}

/// Runs the daemon to its end, which must come by itself.
pub(crate) fn chardevd(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    command.args(arguments).stdin(Stdio::null());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("chardevd {arguments:?} does not end");
        }
        pause();
    }
    child.wait_with_output().unwrap()
}

/// A negotiated client of the monitor at `path`.
pub(crate) fn connect(path: &Path) -> Client<UnixStream> {
    Client::connect(console(path)).unwrap()
}

/// A connection to the socket at `path`, once somebody listens there.
pub(crate) fn console(path: &Path) -> UnixStream {
    let mut stream = None;
    until("the socket accepts", || {
        stream = UnixStream::connect(path).ok();
        stream.is_some()
    });
    let stream = stream.unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Changes a chardev and returns the answer.
pub(crate) fn change(client: &mut Client<UnixStream>, id: &str, backend: &str) -> Json {
    let arguments = Object::new()
        .with("id", id)
        .with("backend", Json::parse(backend).unwrap());
    client.execute("chardev-change", arguments).unwrap()
}

/// Something to read from that can be waited for.
pub(crate) trait Viewer: Read + AsFd {}
impl Viewer for UnixStream {}
impl Viewer for File {}
impl Viewer for std::net::TcpStream {}

/// Reads until `text` has come at the end of a read, and returns everything.
pub(crate) fn read_until(viewer: &mut impl Viewer, text: &str) -> String {
    let deadline = Instant::now() + DEADLINE;
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while !said.ends_with(text.as_bytes()) {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(
            readable(viewer.as_fd(), left),
            "{text:?} did not come: {}",
            tail(&said)
        );
        // One byte at a time, so that what follows is left for the next call.
        match viewer.read(&mut buffer[..1]) {
            Ok(0) => panic!("the end came before {text:?}: {}", tail(&said)),
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error} before {text:?}: {}", tail(&said)),
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "{DEADLINE:?} passed, and not yet: {what}"
        );
        pause();
    }
}

fn readable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&limit)).is_ok_and(|count| count > 0)
}

/// Lets others run between two looks at a condition.
fn pause() {
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000,
    };
    // An interrupted pause is a shorter one.
    let _ = poll(&mut [], Some(&moment));
}

fn tail(said: &[u8]) -> String {
    String::from_utf8_lossy(&said[said.len().saturating_sub(300)..]).into_owned()
}
