//! A connection to the daemon that carries the bytes of a descriptor, for a stream of our own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::connect::{Monitor, Stream};
use super::failure::Failure;

/// The most bytes on their way in one direction.
const BUFFER: usize = 64 << 10;
/// How long the last bytes may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// One direction: what is on its way, and how far its end has come.
#[derive(Debug, Default)]
struct Way {
    bytes: Vec<u8>,
    ended: bool,
    told: bool,
}

/// How many tunnels there are.
static OPEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// One of them, until it is dropped.
struct Open;

impl Open {
    fn new() -> Self {
        *lock(&OPEN.0) += 1;
        Open
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        *lock(&OPEN.0) -= 1;
        OPEN.1.notify_all();
    }
}

/// Waits a moment, before the process ends, until the daemon has what the streams were given: a
/// connection with something unread is reset when it is closed, and takes that along.
pub(super) fn finish() {
    let left = OPEN
        .1
        .wait_timeout_while(lock(&OPEN.0), FAREWELL, |count| *count > 0);
    drop(left);
}

/// Carries bytes between the daemon and `local`, on a thread, until both have ended.
///
/// # Errors
/// There can be no thread.
pub(super) fn begin(mut carrier: Monitor, local: UnixStream) -> Result<(), Failure> {
    let failed = |error: io::Error| format!("tunnel: {error}");
    local.set_nonblocking(true).map_err(failed)?;
    carrier.stream_mut().never_wait();
    let open = Open::new();
    let run = move || {
        // Both ends are seen to be over by who is at them.
        let _ = carry(carrier.stream_mut(), &local);
        drop(open);
    };
    std::thread::Builder::new().spawn(run).map_err(failed)?;
    Ok(())
}

fn carry(remote: &mut Stream, mut local: &UnixStream) -> io::Result<()> {
    let (mut out, mut back) = (Way::default(), Way::default());
    loop {
        while step(&mut local, remote, &mut out) {}
        if out.is_over() {
            remote.end_sending()?;
        }
        while step(remote, &mut local, &mut back) {}
        if back.is_over() {
            // Whoever is there may have left.
            let _ = local.shutdown(Shutdown::Write);
        }
        // Once the daemon says no more nobody reads what is still sent.
        if back.told {
            return Ok(());
        }
        let wants = |reads: &Way, writes: &Way| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads.bytes.is_empty() && !reads.ended);
            flags.set(PollFlags::OUT, !writes.bytes.is_empty());
            flags
        };
        let mut fds = Vec::new();
        for (fd, flags) in [
            (local.as_fd(), wants(&out, &back)),
            (remote.as_fd(), wants(&back, &out)),
        ] {
            // A hang-up is always told, and not to be told all the time.
            if !flags.is_empty() {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Moves what can be moved; whether that was anything.
fn step(from: &mut impl Read, to: &mut impl Write, way: &mut Way) -> bool {
    if way.bytes.is_empty() && !way.ended {
        let mut buffer = vec![0; BUFFER];
        match from.read(&mut buffer) {
            Ok(0) => way.ended = true,
            Ok(count) => {
                buffer.truncate(count);
                way.bytes = buffer;
            }
            Err(error) if is_passing(&error) => {}
            Err(_) => way.ended = true,
        }
    }
    if way.bytes.is_empty() {
        return false;
    }
    match to.write(&way.bytes) {
        Ok(count) => {
            way.bytes.drain(..count);
            true
        }
        Err(error) if is_passing(&error) => false,
        // Nobody takes it any more, and what comes is still to be read.
        Err(_) => {
            way.bytes.clear();
            true
        }
    }
}

impl Way {
    /// Whether its end has been reached, which is said once.
    fn is_over(&mut self) -> bool {
        let over = self.ended && self.bytes.is_empty() && !self.told;
        self.told |= over;
        over
    }
}

fn lock(mutex: &Mutex<usize>) -> MutexGuard<'_, usize> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
