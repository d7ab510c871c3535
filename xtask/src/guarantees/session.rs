//! One server with a program that counts, changed between two kinds of back ends.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use chardev_load::check::place;
use serde_json::{Value, json};

use crate::bench::guest;
use crate::qmp::Client;
use crate::server::Server;
use crate::sh::Result;
use crate::wait::within;

/// Output a peer takes before its back end is replaced.
const ENOUGH: usize = 2000;
/// A program that prints nothing for this long after a change has stopped for good.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a stalled peer is left alone, so that everything before it fills up.
const STALL: Duration = Duration::from_millis(400);
/// How long a replaced back end may take to let its peer go.
const PARTING: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Socket,
    Pty,
    Ringbuf,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::File, Kind::Socket, Kind::Pty, Kind::Ringbuf];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Socket => "unix",
            Kind::Pty => "pty",
            Kind::Ringbuf => "ringbuf",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Reads,
    Stalled,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Reads => "reads",
            State::Stalled => "stalled",
        }
    }

    pub(crate) fn can_be(self, kind: Kind) -> bool {
        self == State::Reads || matches!(kind, Kind::Socket | Kind::Pty)
    }
}

/// What was missing.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    pub(crate) bytes: u64,
    pub(crate) silences: usize,
}

/// Who changes the back ends, and what prints into them.
pub(crate) enum Session {
    /// QEMU changes those of its own guest's serial port.
    Qemu(PathBuf),
    /// The daemon changes those of a program.
    Chardevd(PathBuf),
    /// The daemon changes those that the serial port of QEMU's guest is coupled with by a socket.
    Both {
        /// The daemon's program.
        chardevd: PathBuf,
        /// QEMU's program.
        qemu: PathBuf,
    },
}

impl Session {
    /// Whether back ends can hold output until somebody is there.
    fn holds(&self) -> bool {
        !matches!(self, Session::Qemu(_))
    }

    /// The server that makes the changes.
    fn command(&self, dir: &Path) -> Result<Command> {
        let (Session::Qemu(program)
        | Session::Chardevd(program)
        | Session::Both {
            chardevd: program, ..
        }) = self;
        let mut command = Command::new(program);
        command.stderr(std::process::Stdio::null());
        command.arg("-qmp");
        command.arg(format!("unix:{}/qmp,server=on,wait=off", dir.display()));
        command.arg("-chardev");
        match self {
            Session::Qemu(_) => {
                command.arg("ringbuf,id=c0,size=65536");
                add_guest(&mut command, dir, "c0")?;
            }
            Session::Chardevd(_) => {
                command.arg("ringbuf,id=c0,size=65536,x-closed=hold");
                command.args([
                    "-device",
                    "exec,chardev=c0,command=exec seq -f %010.0f 0 4000000000",
                ]);
            }
            Session::Both { .. } => {
                command.arg("ringbuf,id=c0,size=65536,x-closed=hold");
                command.arg("-chardev");
                command.arg(format!(
                    "socket,id=vm,path={}/vm,server=on,wait=off",
                    dir.display()
                ));
                command.args(["-device", "null-modem,chardev=vm,peer=c0"]);
            }
        }
        Ok(command)
    }

    /// The machine beside that server, if its guest runs in another process.
    fn machine(&self, dir: &Path) -> Result<Option<Server>> {
        let Session::Both { qemu, .. } = self else {
            return Ok(None);
        };
        let mut command = Command::new(qemu);
        command.stderr(std::process::Stdio::null());
        command.arg("-chardev");
        command.arg(format!("socket,id=s0,path={}/vm", dir.display()));
        add_guest(&mut command, dir, "s0")?;
        Server::start(command, &[]).map(Some)
    }
}

/// The arguments of QEMU for a guest that counts on its serial port.
fn add_guest(command: &mut Command, dir: &Path, chardev: &str) -> Result {
    let image = dir.join("boot.img");
    guest::write_image(&image)?;
    command.args(["-nodefaults", "-display", "none", "-M", "pc"]);
    command.args(["-accel", "tcg", "-serial", &format!("chardev:{chardev}")]);
    command.arg("-drive");
    command.arg(format!("file={},format=raw,if=floppy", image.display()));
    Ok(())
}

/// Makes `count` changes from the first kind to the second, with the old peer in `state`.
pub(crate) fn measure(
    session: &Session,
    state: State,
    (old, new): (Kind, Kind),
    count: usize,
) -> Result<Loss> {
    let mut loss = Loss::default();
    for _ in 0..count {
        let dir = tempfile::tempdir()?;
        let mut server = Server::start(session.command(dir.path())?, &[&dir.path().join("qmp")])?;
        let _machine = session.machine(dir.path())?;
        let mut bed = Bed {
            client: Client::connect(&dir.path().join("qmp"))?,
            dir: dir.path(),
            holds: session.holds(),
            number: 0,
        };
        let mut first = bed.change(old)?;
        if !bed.goes_on(&mut first)? {
            return Err("nothing was printed at all".into());
        }
        if state == State::Stalled {
            first.reads.set(false);
            std::thread::sleep(STALL);
        }
        bed.read_ring(&mut first)?;
        let mut second = bed.change(new)?;
        first.reads.set(true);
        if !bed.goes_on(&mut second)? {
            loss.silences += 1;
            continue;
        }
        bed.read_ring(&mut second)?;
        let first = bed.finish(first, &mut server)?;
        let second = second.got.lock().map(|got| got.clone()).unwrap_or_default();
        let missing = match (place(&first), place(&second)) {
            (Some(first), Some(second)) => second.start.abs_diff(first.end),
            _ => return Err("a back end took no whole line".into()),
        };
        loss.bytes += missing;
    }
    Ok(loss)
}

/// The monitor of one server, and where its back ends are.
struct Bed<'a> {
    client: Client,
    dir: &'a Path,
    holds: bool,
    number: usize,
}

/// What reads one back end.
struct Peer {
    kind: Kind,
    path: PathBuf,
    got: Arc<Mutex<Vec<u8>>>,
    count: Arc<AtomicUsize>,
    reads: Arc<Gate>,
    reader: Option<JoinHandle<()>>,
}

/// Lets a reader through, or holds it.
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Bed<'_> {
    fn change(&mut self, kind: Kind) -> Result<Peer> {
        self.number += 1;
        let path = self.dir.join(format!("{}{}", kind.name(), self.number));
        let mut data = match kind {
            Kind::File => json!({ "out": path }),
            Kind::Pty => json!({}),
            Kind::Ringbuf => json!({ "size": 1 << 20 }),
            Kind::Socket => json!({
                "addr": { "type": "unix", "data": { "path": path } },
                "server": true, "wait": false,
            }),
        };
        if self.holds {
            data["x-closed"] = Value::from("hold");
        }
        let backend = json!({ "type": if kind == Kind::Socket { "socket" } else { kind.name() }, "data": data });
        let answer = self
            .client
            .execute("chardev-change", json!({ "id": "c0", "backend": backend }))?;
        let mut peer = Peer {
            kind,
            path,
            got: Arc::default(),
            count: Arc::default(),
            reads: Arc::new(Gate {
                open: Mutex::new(true),
                opened: Condvar::new(),
            }),
            reader: None,
        };
        match kind {
            Kind::Socket => peer.start(UnixStream::connect(&peer.path)?),
            Kind::Pty => {
                let slave = answer["pty"].as_str().ok_or("no pty in the answer")?;
                peer.start(File::open(slave)?);
            }
            Kind::File | Kind::Ringbuf => {}
        }
        Ok(peer)
    }

    /// Whether the peer gets something, and enough of it.
    fn goes_on(&mut self, peer: &mut Peer) -> Result<bool> {
        let enough = within(SILENCE, || match self.has_enough(peer) {
            Ok(false) => None,
            other => Some(other),
        });
        enough.unwrap_or(Ok(false))
    }

    fn has_enough(&mut self, peer: &mut Peer) -> Result<bool> {
        self.read_ring(peer)?;
        if peer.kind == Kind::File {
            let file = fs::metadata(&peer.path)?;
            peer.count.store(file.len() as usize, Ordering::SeqCst);
        }
        let enough = peer.count.load(Ordering::SeqCst) >= ENOUGH;
        if enough && peer.kind == Kind::File {
            peer.keep(&fs::read(&peer.path)?);
        }
        Ok(enough)
    }

    /// Takes what is in the ring, as somebody would who changes it away.
    fn read_ring(&mut self, peer: &mut Peer) -> Result {
        if peer.kind != Kind::Ringbuf {
            return Ok(());
        }
        let arguments = json!({ "device": "c0", "size": 1 << 20 });
        let text = self.client.execute("ringbuf-read", arguments)?;
        let bytes = text.as_str().unwrap_or_default().as_bytes();
        let mut got = peer.got.lock().map_err(|_| "a reader panicked")?;
        got.extend(bytes);
        peer.count.store(got.len(), Ordering::SeqCst);
        Ok(())
    }

    /// Everything a replaced back end's peer got. A file is complete only when the server has
    /// ended, so for a file that is what it is told.
    fn finish(&mut self, mut peer: Peer, server: &mut Server) -> Result<Vec<u8>> {
        if peer.kind == Kind::File {
            self.client.execute("quit", json!({}))?;
            server.wait_end()?;
            return Ok(fs::read(&peer.path)?);
        }
        if let Some(reader) = peer.reader.take() {
            let ended = within(PARTING, || reader.is_finished().then_some(()));
            ended.ok_or_else(|| format!("{}: its peer is not let go", peer.path.display()))?;
            reader.join().map_err(|_| "a reader panicked")?;
        }
        let got = peer.got.lock().map_err(|_| "a reader panicked")?;
        Ok(got.clone())
    }
}

impl Gate {
    fn set(&self, open: bool) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = self.opened.wait_while(open, |open| !*open);
        drop(passed.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Peer {
    fn start(&mut self, mut source: impl Read + Send + 'static) {
        let (got, count) = (Arc::clone(&self.got), Arc::clone(&self.count));
        let reads = Arc::clone(&self.reads);
        self.reader = Some(std::thread::spawn(move || {
            let mut buf = [0; 4096];
            loop {
                reads.pass();
                // A terminal that is hung up ends with an error, a socket may too.
                let Ok(size @ 1..) = source.read(&mut buf) else {
                    return;
                };
                let Ok(mut got) = got.lock() else { return };
                got.extend(&buf[..size]);
                count.store(got.len(), Ordering::SeqCst);
            }
        }));
    }

    fn keep(&self, bytes: &[u8]) {
        if let Ok(mut got) = self.got.lock() {
            *got = bytes.to_vec();
        }
    }
}
