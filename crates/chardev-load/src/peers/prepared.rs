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
    flow: Arc<Flow>,
    /// The back end to be opened.
    pub backend: Backend,
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

impl Prepared {
    /// Makes everything that has to exist before the back end, in the directory `dir`.
    ///
    /// # Errors
    /// What could not be made, and why.
    pub fn new(load: Load, dir: &Path, number: u64) -> Result<Prepared, LoadError> {
        let path = dir.join(format!("{number}"));
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let (backend, means) = match load.kind {
            Kind::File => (Backend::file(&path), Means::Path(path)),
            Kind::Pty => (Backend::pty(), Means::Nothing),
            Kind::Ringbuf => (Backend::ring(), Means::Nothing),
            Kind::UnixServer => (Backend::unix(&path, true), Means::Path(path)),
            Kind::UnixClient => {
                let listener = UnixListener::bind(&path).map_err(failed)?;
                (Backend::unix(&path, false), Means::UnixListener(listener))
            }
            Kind::TcpServer => {
                let port = free_port()?;
                (Backend::tcp(port, true), Means::Port(port))
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
            flow: self.flow,
            ..Shared::default()
        });
        let news = Arc::clone(&shared);
        let work = match self.means {
            Means::Path(path) if kind == Kind::File => Work::File(path),
            Means::Nothing if kind == Kind::Ringbuf => {
                let (monitor, id) = (monitor.to_owned(), id.to_owned());
                Work::Thread(std::thread::spawn(move || {
                    pump::read_ring(&monitor, &id, &news)
                }))
            }
            means => {
                let about = format!("peer {number} ({})", kind.name());
                let ends = means.connect(pty);
                let (reading, writing) = ends.map_err(|error| format!("{about}: {error}"))?;
                Work::Thread(std::thread::spawn(move || {
                    let pump = pump::Pump {
                        reading,
                        writing,
                        number,
                        slow: load.slow,
                        // A connection may still wait to be accepted, so its peer sends nothing
                        // before it was sent something: only then it surely is the back end's peer.
                        waits: matches!(kind, Kind::UnixServer | Kind::TcpServer),
                        shared: &news,
                    };
                    pump.run()
                        .map_err(|error| format!("{about}: {error}").into())
                }))
            }
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
            Means::Path(path) => both(UnixStream::connect(path)?.into()),
            Means::Port(port) => both(TcpStream::connect(("127.0.0.1", port))?.into()),
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
