//! The peers at the other end of the console's back ends: each reads everything its back end gives
//! until the end of file, and sends numbered records as fast as they are taken.

mod pump;

pub(super) use pump::pause as pump_pause;

use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags, mknodat, open};

use super::check::Segment;
use crate::ctl::connect::Address;

/// A kind of back end, and for sockets who connects to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `file`
    File,
    /// `socket` on a unix path; the back end listens.
    UnixServer,
    /// `socket` on a unix path; the peer listens.
    UnixClient,
    /// `socket` over TCP; the back end listens.
    TcpServer,
    /// `socket` over TCP; the peer listens.
    TcpClient,
    /// `pty`
    Pty,
    /// `pipe`
    Pipe,
    /// `ringbuf`
    Ringbuf,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 8] = [
        Kind::File,
        Kind::UnixServer,
        Kind::UnixClient,
        Kind::TcpServer,
        Kind::TcpClient,
        Kind::Pty,
        Kind::Pipe,
        Kind::Ringbuf,
    ];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::UnixServer => "unix server",
            Kind::UnixClient => "unix client",
            Kind::TcpServer => "tcp server",
            Kind::TcpClient => "tcp client",
            Kind::Pty => "pty",
            Kind::Pipe => "pipe",
            Kind::Ringbuf => "ringbuf",
        }
    }

    /// Whether its peer sends input.
    pub fn has_input(self) -> bool {
        !matches!(self, Kind::File | Kind::Ringbuf)
    }
}

/// What a peer is to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The kind of its back end.
    pub kind: Kind,
    /// Whether it reads a little at a time, with pauses, for as long as its back end is current.
    pub slow: bool,
}

/// What a peer and its driver tell each other.
#[derive(Debug, Default)]
pub struct Shared {
    /// Bytes of input that the peer's `write` was told were taken.
    pub accepted: AtomicU64,
    /// Bytes of output that it has read.
    pub received: AtomicU64,
    /// Its back end has been replaced: no more input.
    pub replaced: AtomicBool,
    /// The last peer is to send the record that ends the program.
    pub stop: AtomicBool,
    /// What holds it and the other peers of its console back.
    flow: Arc<Flow>,
}

/// What holds the peers of a console back beside their kernel's buffers, so that a program that reads
/// much slower than kernels buffer does not get further and further behind.
#[derive(Debug, Default)]
pub struct Flow {
    /// How far all peers together may be ahead of the program; `None` for as far as the kernel lets them.
    pub ahead: Option<u64>,
    /// Bytes that all peers have sent.
    pub sent: AtomicU64,
    /// Bytes of those that were read, by the program or after a change.
    pub taken: AtomicU64,
}

impl Flow {
    /// How much may be sent now.
    fn room(&self) -> usize {
        let Some(ahead) = self.ahead else {
            return usize::MAX;
        };
        // Sent first: what is taken meanwhile only makes room.
        let sent = self.sent.load(Ordering::Acquire);
        let limit = self.taken.load(Ordering::Acquire).saturating_add(ahead);
        usize::try_from(limit.saturating_sub(sent)).unwrap_or(usize::MAX)
    }
}

/// A peer whose back end does not exist yet.
pub struct Prepared {
    load: Load,
    flow: Arc<Flow>,
    /// The back end, in the grammar of `-chardev`.
    pub line: String,
    means: Means,
}

enum Means {
    Path(PathBuf),
    Port(u16),
    UnixListener(UnixListener),
    TcpListener(TcpListener),
    Fifo { path: PathBuf, output: OwnedFd },
    Nothing,
}

/// A peer at work.
pub struct Peer {
    /// What it is to do.
    pub load: Load,
    /// Its number among all peers, which its records carry.
    pub number: u64,
    /// Its state.
    pub shared: Arc<Shared>,
    work: Work,
}

enum Work {
    Thread(JoinHandle<Result<Segment, String>>),
    /// A file is read when the daemon has ended, because only then it is known to be complete.
    File(PathBuf),
}

impl Prepared {
    /// Makes everything that has to exist before the back end, in the directory `dir`.
    ///
    /// # Errors
    /// What could not be made, and why.
    pub fn new(load: Load, dir: &Path, number: u64) -> Result<Prepared, String> {
        let path = dir.join(format!("{number}"));
        let shown = path.display().to_string().replace(',', ",,");
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let (line, means) = match load.kind {
            Kind::File => (format!("file,path={shown}"), Means::Path(path)),
            Kind::Pty => ("pty".to_owned(), Means::Nothing),
            Kind::Ringbuf => ("ringbuf,size=256K".to_owned(), Means::Nothing),
            Kind::UnixServer => (
                format!("socket,path={shown},server=on,wait=off"),
                Means::Path(path),
            ),
            Kind::UnixClient => {
                let listener = UnixListener::bind(&path).map_err(failed)?;
                (
                    format!("socket,path={shown}"),
                    Means::UnixListener(listener),
                )
            }
            Kind::TcpServer => {
                let port = free_port()?;
                let line = format!("socket,host=127.0.0.1,port={port},server=on,wait=off");
                (line, Means::Port(port))
            }
            Kind::TcpClient => {
                let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
                let port = listener.local_addr().map_err(failed)?.port();
                (
                    format!("socket,host=127.0.0.1,port={port}"),
                    Means::TcpListener(listener),
                )
            }
            Kind::Pipe => {
                let output = make_fifos(&path).map_err(failed)?;
                (format!("pipe,path={shown}"), Means::Fifo { path, output })
            }
        };
        Ok(Prepared {
            load,
            flow: Arc::default(),
            line,
            means,
        })
    }

    /// Makes the peer one of those that `flow` holds back together.
    #[must_use]
    pub fn with_flow(mut self, flow: &Arc<Flow>) -> Self {
        self.flow = Arc::clone(flow);
        self
    }

    /// Goes to work, the back end of the chardev `id` being there now. `pty` is the path that came in
    /// the answer, and `monitor` is where a ring is read.
    ///
    /// # Errors
    /// The back end cannot be reached.
    pub fn attach(
        self,
        number: u64,
        id: &str,
        pty: Option<&str>,
        monitor: &Address,
    ) -> Result<Peer, String> {
        let shared = Arc::new(Shared {
            flow: self.flow,
            ..Shared::default()
        });
        let Load { kind, slow } = self.load;
        let failed = |error: std::io::Error| format!("peer {number} ({}): {error}", kind.name());
        let (reading, writing): (OwnedFd, Option<OwnedFd>) = match self.means {
            Means::Path(path) if kind == Kind::File => {
                return Ok(Peer {
                    load: self.load,
                    number,
                    shared,
                    work: Work::File(path),
                });
            }
            Means::Nothing if kind == Kind::Ringbuf => {
                let (monitor, news, id) = (monitor.clone(), Arc::clone(&shared), id.to_owned());
                let work = std::thread::spawn(move || pump::read_ring(&monitor, &id, &news));
                return Ok(Peer {
                    load: self.load,
                    number,
                    shared,
                    work: Work::Thread(work),
                });
            }
            Means::Nothing => {
                let path = pty.ok_or_else(|| format!("peer {number}: no pty in the answer"))?;
                let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let slave = open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
                (slave, None)
            }
            Means::Path(path) => (UnixStream::connect(&path).map_err(failed)?.into(), None),
            Means::Port(port) => (
                TcpStream::connect(("127.0.0.1", port))
                    .map_err(failed)?
                    .into(),
                None,
            ),
            Means::UnixListener(listener) => {
                listener.set_nonblocking(true).map_err(failed)?;
                (
                    newest(|| listener.accept().map(|(socket, _)| socket))
                        .map_err(failed)?
                        .into(),
                    None,
                )
            }
            Means::TcpListener(listener) => {
                listener.set_nonblocking(true).map_err(failed)?;
                (
                    newest(|| listener.accept().map(|(socket, _)| socket))
                        .map_err(failed)?
                        .into(),
                    None,
                )
            }
            Means::Fifo { path, output } => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let input = open(with_end(&path, "in"), flags, Mode::empty());
                (output, Some(input.map_err(|error| failed(error.into()))?))
            }
        };
        // A connection may still wait to be accepted, so its peer sends nothing before it was sent
        // something: only then it surely is the back end's peer.
        let waits = matches!(kind, Kind::UnixServer | Kind::TcpServer);
        let news = Arc::clone(&shared);
        let work = std::thread::spawn(move || {
            let pump = pump::Pump {
                reading,
                writing,
                number,
                slow,
                waits,
                shared: &news,
            };
            pump.run()
                .map_err(|error| format!("peer {number} ({}): {error}", kind.name()))
        });
        Ok(Peer {
            load: self.load,
            number,
            shared,
            work: Work::Thread(work),
        })
    }
}

impl Peer {
    /// Bytes of output that have arrived so far.
    pub fn received(&self) -> u64 {
        match &self.work {
            Work::Thread(_) => self.shared.received.load(Ordering::Acquire),
            Work::File(path) => path.metadata().map_or(0, |about| about.len()),
        }
    }

    /// Whether its thread has ended.
    pub fn is_done(&self) -> bool {
        match &self.work {
            Work::Thread(thread) => thread.is_finished(),
            Work::File(_) => true,
        }
    }

    /// Waits for the peer's end of file and hands out what it read.
    ///
    /// # Errors
    /// Something other than the end of the stream ended it.
    pub fn finish(self) -> Result<Segment, String> {
        match self.work {
            Work::Thread(thread) => thread
                .join()
                .unwrap_or_else(|_| Err("a peer panicked".into())),
            Work::File(path) => {
                let failed = |error: std::io::Error| format!("{}: {error}", path.display());
                let mut file = File::open(&path).map_err(failed)?;
                let mut segment = Segment::default();
                let mut buffer = vec![0; 64 << 10];
                loop {
                    match file.read(&mut buffer).map_err(failed)? {
                        0 => break,
                        count => segment.push(&buffer[..count]),
                    }
                }
                let _ = std::fs::remove_file(&path);
                Ok(segment)
            }
        }
    }
}

/// The newest connection that waits to be accepted: one that was made for a change that was refused
/// is older, and closed.
fn newest<S>(mut accept: impl FnMut() -> std::io::Result<S>) -> std::io::Result<S> {
    let mut newest = accept()?;
    while let Ok(newer) = accept() {
        newest = newer;
    }
    Ok(newest)
}

/// A port nobody uses just now.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| format!("no free TCP port: {error}"))
}

/// Creates the two FIFOs of a `pipe` and opens the one for output before there is a writer, so
/// that its end of file is not missed.
fn make_fifos(path: &Path) -> std::io::Result<OwnedFd> {
    for end in ["in", "out"] {
        let mode = Mode::RUSR | Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        mknodat(rustix::fs::CWD, with_end(path, end), fifo, mode, 0)?;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open(with_end(path, "out"), flags, Mode::empty())?)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{end}"));
    name.into()
}
