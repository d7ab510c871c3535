//! Many who look at one console: clients of the page's stream, or sockets that are given the output
//! as it is; one thread takes what all of them are sent.

use std::io::{self, ErrorKind, Read as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

use super::site::{LIMIT, Session};
use super::stream::{ACK, Stream};
use crate::sh::Result;
use crate::wait::within;

/// How soon the thread notices that it is to end.
const TICK: Duration = Duration::from_millis(100);

/// One who looks.
pub(super) enum Looker {
    /// As a page does: it says what it has shown.
    Page {
        socket: Box<WebSocket<TcpStream>>,
        acked: u64,
    },
    Plain(UnixStream),
}

impl Looker {
    /// A page at the other end of `socket`, which is a WebSocket by now.
    pub(super) fn page(socket: WebSocket<TcpStream>) -> Result<Self> {
        socket.get_ref().set_nonblocking(true)?;
        Ok(Looker::Page {
            socket: Box::new(socket),
            acked: 0,
        })
    }

    /// The same without having asked for it.
    pub(super) fn page_at(client: TcpStream) -> Result<Self> {
        Self::page(WebSocket::from_raw_socket(client, Role::Client, None))
    }

    /// Takes some of what there is; how many bytes of output that was.
    fn look(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (socket, acked) = match self {
            Looker::Plain(socket) => return socket.read(buf),
            Looker::Page { socket, acked } => (socket, acked),
        };
        let mut total = 0;
        loop {
            let frame = match socket.read() {
                Ok(Message::Binary(frame)) => frame,
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(total),
                Err(error) => return Err(io::Error::other(error)),
            };
            let Some((offset, output)) = frame.split_first_chunk() else {
                return Err(io::Error::other("a frame has no offset"));
            };
            total += output.len();
            let shown = u64::from_be_bytes(*offset) + output.len() as u64;
            if shown - *acked >= ACK {
                *acked = shown;
                let told = socket.send(Message::text(format!("{{\"ack\": {shown}}}")));
                told.map_err(io::Error::other)?;
            }
        }
    }
}

/// So many pages of a console, as fast as they are let in.
pub(super) fn pages(session: &Session, id: &str, count: usize) -> Result<Vec<Looker>> {
    let open = || within(LIMIT, || Stream::open(session, id, "").ok());
    let page = || Looker::page(open().ok_or("no page is let in any more")?.into_socket());
    (0..count).map(|_| page()).collect()
}

/// All of them, and the thread that looks for them.
pub(super) struct Crowd {
    slowest: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    pub(super) fn start(lookers: Vec<Looker>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (at, looker) in lookers.iter().enumerate() {
            let data = epoll::EventData::new_u64(at as u64);
            match looker {
                Looker::Page { socket, .. } => {
                    epoll::add(&epoll, socket.get_ref(), data, epoll::EventFlags::IN)?;
                }
                Looker::Plain(socket) => {
                    epoll::add(&epoll, socket, data, epoll::EventFlags::IN)?;
                }
            }
        }
        let (slowest, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (their_slowest, their_end) = (Arc::clone(&slowest), Arc::clone(&is_over));
        let look = move || {
            if let Err(error) = look(&epoll, lookers, &their_slowest, &their_end) {
                eprintln!("xtask: one who looks: {error}");
            }
        };
        Ok(Crowd {
            slowest,
            is_over,
            thread: Some(thread::spawn(look)),
        })
    }

    /// Waits until each has seen so much.
    pub(super) fn wait_for(&self, bytes: u64) -> Result {
        let seen = || (self.slowest.load(Ordering::Relaxed) >= bytes).then_some(());
        within(LIMIT, seen).ok_or_else(|| format!("one has not seen {bytes} bytes").into())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // That it has panicked it has said.
            let _ = thread.join();
        }
    }
}

fn look(
    epoll: &impl std::os::fd::AsFd,
    mut lookers: Vec<Looker>,
    slowest: &AtomicU64,
    is_over: &AtomicBool,
) -> Result {
    let limit = Timespec::try_from(TICK)?;
    let mut seen = vec![0; lookers.len()];
    let (mut events, mut buf) = (Vec::with_capacity(64), vec![0; 256 << 10]);
    while !is_over.load(Ordering::Relaxed) {
        events.clear();
        let room = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(epoll, room, Some(&limit))?;
        for event in &events {
            let at = event.data.u64() as usize;
            seen[at] += lookers[at].look(&mut buf)? as u64;
        }
        let least = seen.iter().min().copied().unwrap_or(u64::MAX);
        slowest.store(least, Ordering::Relaxed);
    }
    Ok(())
}
