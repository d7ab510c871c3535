//! A session's socket on the thread that carries it.
//!
//! A socket of tokio's own hears of room at each read of its other end, which would wake the thread
//! once more for each key, and for nothing: there is room nearly always. So here room is waited for
//! only where there was none.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use chardev::async_fd_for;
use futures_util::FutureExt as _;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that is used on the runtime on which it was made.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: AsyncFd<OwnedFd>,
    /// The same, to wait for room, and while it is waited for.
    spare: Option<OwnedFd>,
    room: Option<AsyncFd<OwnedFd>>,
}

impl Socket {
    /// From one that nobody else uses.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        Ok(Socket {
            spare: Some(stream.try_clone()?.into()),
            room: None,
            stream: async_fd_for(stream.into(), Interest::READABLE)?,
        })
    }

    /// Reads what is there; `None` where nothing is, for now.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(ready) = self.stream.readable().now_or_never() else {
            return Ok(None);
        };
        let (mut ready, size) = (ready?, buffer.len());
        let count = match recv(&self.stream, &mut *buffer, RecvFlags::empty()) {
            Ok((count, _)) => Some(count),
            Err(Errno::AGAIN) => None,
            // It is tried again soon.
            Err(Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // What did not fill the buffer was all there was.
        if count.is_none_or(|count| count < size) {
            ready.clear_ready();
        }
        Ok(count)
    }

    /// Writes what there is room for; `None` where there is none, for now.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match send(&self.stream, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(room) = &self.room {
            // There was some, and it has been used up.
            if let Some(ready) = room.writable().now_or_never() {
                ready?.clear_ready();
            }
        } else {
            let spare = self.spare.take().map_or_else(|| self.another(), Ok)?;
            self.room = Some(async_fd_for(spare, Interest::WRITABLE)?);
        }
        Ok(None)
    }

    /// All that there was has been written: room is not waited for any more.
    pub(crate) fn is_written(&mut self) {
        if let Some(room) = self.room.take() {
            self.spare = Some(room.into_inner());
        }
    }

    /// Waits until it can be read, or until there is room where there was none.
    pub(crate) async fn ready(&self, reads: bool, writes: bool) {
        let room = self.room.as_ref().filter(|_| writes);
        let room = async {
            match room {
                Some(room) => drop(room.writable().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // It fails as what is tried then does.
            _ = self.stream.readable(), if reads => {}
            () = room => {}
        }
    }

    /// Says that no more is read, or written.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        // Whoever is there may have left.
        let _ = shutdown(&self.stream, how);
    }

    fn another(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }
}
