//! What has to exist before a back end does, and how its peer gets to work.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, mknodat, open};

use super::{Backend, Flow, Kind, Load, Peer, Shared, Work, pump};

use crate::LoadError;

/// A peer whose back end does not exist yet.
pub struct Prepared {
    load: Load,
    number: u64,
    flow: Arc<Flow>,
    /// The back end to be opened.
    pub backend: Backend,
    means: Means,
}

enum Means {
    File(PathBuf),
    Door(Door),
    UnixListener(UnixListener),
    TcpListener(TcpListener),
    Fifo { path: PathBuf, output: OwnedFd },
    Nothing,
}

/// Where a back end that listens is connected to.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// A unix path.
    Unix(PathBuf),
    /// A port of 127.0.0.1.
    Tcp(u16),
}

impl Door {
    /// Connects, which returns before the back end has accepted.
    pub(crate) fn connect(&self) -> io::Result<OwnedFd> {
        Ok(match self {
            Door::Unix(path) => UnixStream::connect(path)?.into(),
            Door::Tcp(port) => TcpStream::connect(("127.0.0.1", *port))?.into(),
        })
    }
}

/// The peer's end of a back end.
pub(crate) enum Ends {
    /// What it writes.
    File(PathBuf),
    /// Nothing outside the daemon.
    Ring,
    /// A stream.
    Stream {
        /// What is read from.
        reading: OwnedFd,
        /// What is written to, if that is something else.
        writing: Option<OwnedFd>,
        /// Where the next peer can come when this one has left.
        door: Option<Door>,
    },
}

impl Prepared {
    /// Makes everything that has to exist before the back end, in the directory `dir`.
    ///
    /// # Errors
    /// What could not be made, and why.
    pub fn new(load: Load, dir: &Path, number: u64) -> Result<Prepared, LoadError> {
        let path = dir.join(format!("{number}"));
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let (backend, means) = match load.kind {
            Kind::File => (Backend::file(&path), Means::File(path)),
            Kind::Pty => (Backend::pty(), Means::Nothing),
            Kind::Ringbuf => (Backend::ring(), Means::Nothing),
            Kind::UnixServer => (Backend::unix(&path, true), Means::Door(Door::Unix(path))),
            Kind::UnixClient => {
                let listener = UnixListener::bind(&path).map_err(failed)?;
                (Backend::unix(&path, false), Means::UnixListener(listener))
            }
            Kind::TcpServer => {
                let port = free_port()?;
                (Backend::tcp(port, true), Means::Door(Door::Tcp(port)))
            }
            Kind::TcpClient => {
                let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
                let port = listener.local_addr().map_err(failed)?.port();
                (Backend::tcp(port, false), Means::TcpListener(listener))
            }
            Kind::Pipe => {
                let output = make_fifos(&path).map_err(failed)?;
                (Backend::pipe(&path), Means::Fifo { path, output })
            }
        };
        Ok(Prepared {
            load,
            number,
            flow: Arc::default(),
            backend,
            means,
        })
    }

    /// Makes the peer one of those that `flow` holds back together.
    #[must_use]
    pub fn with_flow(mut self, flow: &Arc<Flow>) -> Self {
        self.flow = Arc::clone(flow);
        self
    }

    /// The kind of the back end.
    pub(crate) fn kind(&self) -> Kind {
        self.load.kind
    }

    /// The number it was made with.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The peer's end of the back end, which is there now, for who moves bytes without a thread a
    /// peer. `pty` is the path that came in the answer.
    ///
    /// # Errors
    /// The back end cannot be reached.
    pub(crate) fn reach(self, pty: Option<&str>) -> io::Result<Ends> {
        let door = match &self.means {
            Means::File(path) => return Ok(Ends::File(path.clone())),
            Means::Nothing if self.load.kind == Kind::Ringbuf => return Ok(Ends::Ring),
            Means::Door(door) => Some(door.clone()),
            _ => None,
        };
        let (reading, writing) = self.means.connect(pty)?;
        Ok(Ends::Stream {
            reading,
            writing,
            door,
        })
    }

    /// Goes to work, the back end of the chardev `id` being there now. `pty` is the path that came
    /// in the answer, and `monitor` is where a ring is read.
    ///
    /// # Errors
    /// The back end cannot be reached.
    pub fn attach(
        self,
        number: u64,
        id: &str,
        pty: Option<&str>,
        monitor: &Path,
    ) -> Result<Peer, LoadError> {
        let load = self.load;
        let kind = load.kind;
        let shared = Arc::new(Shared {
            flow: Arc::clone(&self.flow),
            ..Shared::default()
        });
        let news = Arc::clone(&shared);
        let about = format!("peer {number} ({})", kind.name());
        let ends = self.reach(pty);
        let work = match ends.map_err(|error| format!("{about}: {error}"))? {
            Ends::File(path) => Work::File(path),
            Ends::Ring => {
                let (monitor, id) = (monitor.to_owned(), id.to_owned());
                Work::Thread(std::thread::spawn(move || {
                    pump::read_ring(&monitor, &id, &news)
                }))
            }
            Ends::Stream {
                reading, writing, ..
            } => Work::Thread(std::thread::spawn(move || {
                let pump = pump::Pump {
                    reading,
                    writing,
                    number,
                    slow: load.slow,
                    waits: kind.listens(),
                    shared: &news,
                };
                pump.run()
                    .map_err(|error| format!("{about}: {error}").into())
            })),
        };
        Ok(Peer {
            load,
            number,
            shared,
            work,
        })
    }
}

impl Means {
    /// What is read from and, if that is something else, what is written to.
    fn connect(self, pty: Option<&str>) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
        let both = |fd: OwnedFd| Ok((fd, None));
        match self {
            Means::Nothing => {
                let path = pty.ok_or_else(|| io::Error::other("no pty in the answer"))?;
                let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                both(open(path, flags, Mode::empty())?)
            }
            Means::File(path) => both(std::fs::File::open(path)?.into()),
            Means::Door(door) => both(door.connect()?),
            Means::UnixListener(listener) => {
                listener.set_nonblocking(true)?;
                both(newest(|| listener.accept().map(|(socket, _)| socket))?.into())
            }
            Means::TcpListener(listener) => {
                listener.set_nonblocking(true)?;
                both(newest(|| listener.accept().map(|(socket, _)| socket))?.into())
            }
            Means::Fifo { path, output } => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let input = open(with_end(&path, "in"), flags, Mode::empty())?;
                Ok((output, Some(input)))
            }
        }
    }
}

/// The newest connection that waits to be accepted: one that was made for a change that was refused
/// is older, and closed.
fn newest<S>(mut accept: impl FnMut() -> io::Result<S>) -> io::Result<S> {
    let mut newest = accept()?;
    while let Ok(newer) = accept() {
        newest = newer;
    }
    Ok(newest)
}

/// A port nobody uses just now.
fn free_port() -> Result<u16, LoadError> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|error| format!("no free TCP port: {error}").into())
}

/// Creates the two FIFOs of a `pipe` and opens the one for output before there is a writer, so
/// that its end of file is not missed.
fn make_fifos(path: &Path) -> io::Result<OwnedFd> {
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
