//! What the tests of telnet and of what stands on it share: two coupled chardevs, and programs to
//! talk to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use chardev_qapi::{Json, Object};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::daemon_rig::{DEADLINE, Daemon, console, until};

/// All bytes, each once.
pub(crate) fn all_bytes() -> Vec<u8> {
    (0..=255).collect()
}

/// A daemon with the chardevs `near` and `far`, coupled by a null modem.
pub(crate) struct Coupled {
    pub(crate) daemon: Daemon,
}

impl Coupled {
    /// Chardevs of these kinds and options.
    pub(crate) fn start(near: &str, far: &str) -> Self {
        let (kind, options) = near.split_once(',').unwrap();
        let near = format!("{kind},id=near,{options}");
        let (kind, options) = far.split_once(',').unwrap();
        let far = format!("{kind},id=far,{options}");
        let daemon = Daemon::start(&[
            "-chardev",
            &near,
            "-chardev",
            &far,
            "-device",
            "null-modem,chardev=near,peer=far",
        ]);
        Coupled { daemon }
    }

    /// What `query-chardev` says of one of them.
    pub(crate) fn filename(&self, id: &str) -> String {
        let all = self.daemon.client().query_chardev().unwrap();
        let found = all.into_iter().find(|info| info.label == id);
        found.unwrap().filename
    }

    /// What `x-query-chardev-stats` says of one of them.
    pub(crate) fn stat(&self, id: &str, counter: &str) -> usize {
        let arguments = Object::new().with("id", id);
        let command = "x-query-chardev-stats";
        let answer = self.daemon.client().execute(command, arguments);
        let stats = answer.unwrap().as_array().unwrap()[0].get(counter).cloned();
        stats.as_ref().and_then(Json::as_u64).unwrap() as usize
    }

    /// The port that `near` listens at.
    pub(crate) fn port(&self) -> u16 {
        let name = self.filename("near");
        let address = name.strip_suffix(",server=on").unwrap();
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// A connection to `near`.
    pub(crate) fn near(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A connection to `far`, a socket at that path of the daemon's directory.
    pub(crate) fn far(&self, path: &str) -> UnixStream {
        console(&self.daemon.dir().join(path))
    }

    /// Waits until somebody is connected to `id`.
    pub(crate) fn until_connected(&self, id: &str) {
        until("a peer comes", || {
            !self.filename(id).starts_with("disconnected:")
        });
    }
}

/// A program whose standard input and output are the test's. It ends with the test.
pub(crate) struct Program {
    child: Child,
    pub(crate) input: ChildStdin,
    pub(crate) output: ChildStdout,
}

impl Program {
    /// Starts one that `./setup` has installed.
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Program::run(command)
    }

    pub(crate) fn run(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            panic!("{program}: {error}: run ./setup")
        });
        Program {
            input: child.stdin.take().unwrap(),
            output: child.stdout.take().unwrap(),
            child,
        }
    }

    /// Waits for its end, which must be a success.
    pub(crate) fn finish(mut self) {
        let status = self.status();
        assert!(status.success(), "{status:?}");
    }

    /// Waits for its end.
    pub(crate) fn status(&mut self) -> ExitStatus {
        let mut status = None;
        until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads exactly `expected`.
pub(crate) fn hear<R: Read + AsFd>(from: &mut R, expected: &[u8]) {
    let mut heard = 0;
    let mut buf = [0; 4096];
    while heard < expected.len() {
        let rest = &expected[heard..];
        assert!(readable(from), "{} did not come", shown(rest));
        let room = rest.len().min(buf.len());
        let count = from.read(&mut buf[..room]).unwrap();
        assert!(count > 0, "the end came before {}", shown(rest));
        let same = rest.iter().zip(&buf[..count]);
        let same = same.take_while(|(one, other)| one == other).count();
        assert!(
            same == count,
            "after {} bytes not {} but {}",
            heard + same,
            shown(&rest[same..]),
            shown(&buf[same..count])
        );
        heard += count;
    }
}

/// Reads up to the end of a line.
pub(crate) fn line<R: Read + AsFd>(from: &mut R) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        assert!(readable(from), "behind {} came nothing", shown(&line));
        let mut byte = [0];
        from.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

fn readable(from: &impl AsFd) -> bool {
    let limit = Timespec::try_from(DEADLINE).unwrap();
    poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&limit)).unwrap() > 0
}

/// Writes `bytes` one by one, each in a packet of its own.
pub(crate) fn dribble(to: &mut impl Write, bytes: &[u8]) {
    for byte in bytes {
        to.write_all(&[*byte]).unwrap();
        to.flush().unwrap();
    }
}

/// The beginning of `bytes`.
fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(40)].escape_ascii().to_string()
}
