//! What a timed server stands on: a directory, a unix peer that takes whatever comes, and the
//! command lines that put chardev `c0` on that peer.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::guest;
use super::qemu::Qemu;
use crate::sh::Result;

/// A program that has printed nothing for this long has stopped.
const SILENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy)]
pub(super) enum Load {
    /// No front end.
    Idle,
    /// A front end that always has more to write.
    FullSpeed,
}

impl Load {
    pub(super) fn name(self) -> &'static str {
        match self {
            Load::Idle => "no front end",
            Load::FullSpeed => "output at full speed",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Unix,
    Ringbuf,
    Null,
    Pty,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] =
        [Kind::Null, Kind::Ringbuf, Kind::File, Kind::Unix, Kind::Pty];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Unix => "socket",
            Kind::Ringbuf => "ringbuf",
            Kind::Null => "null",
            Kind::Pty => "pty",
        }
    }
}

/// A directory with a unix peer that takes whatever comes.
pub(super) struct Bed {
    dir: tempfile::TempDir,
    received: Arc<Received>,
}

impl Bed {
    pub(super) fn new() -> Result<Self> {
        let bed = Bed {
            dir: tempfile::tempdir()?,
            received: Arc::default(),
        };
        let listener = UnixListener::bind(bed.path("peer.sock"))?;
        let received = Arc::clone(&bed.received);
        // The thread ends with the process; there is one for each server and load.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let received = Arc::clone(&received);
                thread::spawn(move || drain(stream, &received));
            }
        });
        Ok(bed)
    }

    pub(super) fn qemu(&self, qemu: &Qemu, load: Load) -> Result<Command> {
        let mut command = qemu.command();
        command.arg("-qmp").arg(self.monitor());
        command.arg("-chardev").arg(self.first());
        match load {
            Load::Idle => command.args(["-M", "none"]),
            Load::FullSpeed => {
                let image = self.path("boot.img");
                guest::write_image(&image)?;
                command.args([
                    "-M",
                    "pc",
                    "-accel",
                    "tcg",
                    "-serial",
                    "chardev:c0",
                    "-drive",
                ]);
                command.arg(format!("file={},format=raw,if=floppy", image.display()))
            }
        };
        Ok(command)
    }

    pub(super) fn chardevd(&self, program: &Path, load: Load) -> Result<Command> {
        let mut command = Command::new(program);
        command
            .arg("--qmp")
            .arg(self.monitor())
            .arg("--chardev")
            .arg(self.first());
        if matches!(load, Load::FullSpeed) {
            command.args(["--device", "exec,chardev=c0,command=exec yes"]);
        }
        Ok(command)
    }

    fn monitor(&self) -> String {
        format!(
            "unix:{},server=on,wait=off",
            self.path("qmp.sock").display()
        )
    }

    fn first(&self) -> String {
        format!("socket,id=c0,path={}", self.path("peer.sock").display())
    }

    pub(super) fn backend(&self, kind: Kind) -> Value {
        let data = match kind {
            Kind::File => json!({ "out": self.path("console.out") }),
            Kind::Unix => {
                let path = self.path("peer.sock");
                json!({ "addr": { "type": "unix", "data": { "path": path } }, "server": false })
            }
            Kind::Ringbuf => json!({ "size": 65536 }),
            Kind::Null | Kind::Pty => json!({}),
        };
        json!({ "type": kind.name(), "data": data })
    }

    /// Whether the unix peer gets another byte before the program counts as silent.
    pub(super) fn prints(&self) -> bool {
        let bytes = self.received.bytes();
        let before = *bytes;
        let same = |bytes: &mut u64| *bytes == before;
        let waited = self.received.more.wait_timeout_while(bytes, SILENCE, same);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// How many bytes the unix peer has got.
    pub(super) fn received(&self) -> u64 {
        *self.received.bytes()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// How many bytes have come.
#[derive(Default)]
struct Received {
    bytes: Mutex<u64>,
    more: Condvar,
}

impl Received {
    fn bytes(&self) -> MutexGuard<'_, u64> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drain(mut stream: impl Read, received: &Received) {
    let mut block = vec![0; 256 << 10];
    while let Ok(size) = stream.read(&mut block) {
        if size == 0 {
            return;
        }
        *received.bytes() += size as u64;
        received.more.notify_all();
    }
}
