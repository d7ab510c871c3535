//! One peer's work: moving bytes both ways until the end of file.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chardev_qapi::Object;
use chardev_qmp::client::ClientError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};

use super::Shared;
use crate::LoadError;
use crate::check::Segment;
use crate::records::Feed;
use crate::rig::connect;

/// How long a peer waits before it looks at its orders again.
const LOOK: Duration = Duration::from_millis(5);
/// A slow peer reads this much, then pauses this long.
const SIP: usize = 2 << 10;
const PAUSE: Duration = Duration::from_millis(2);
/// How much is sent at once, so that a relay finds it worth while to move it without a copy.
const BATCH: usize = 64 << 10;

/// A peer on a stream.
pub(super) struct Pump<'a> {
    pub(super) reading: OwnedFd,
    /// Where input is written, if not to `reading`.
    pub(super) writing: Option<OwnedFd>,
    pub(super) number: u64,
    pub(super) slow: bool,
    /// Whether it sends nothing before it has read something.
    pub(super) waits: bool,
    pub(super) shared: &'a Shared,
}

impl Pump<'_> {
    /// Works until the end of file, or until the program's last line for the last peer.
    pub(super) fn run(self) -> Result<Segment, LoadError> {
        let writing = self.writing.as_ref().unwrap_or(&self.reading);
        for fd in [&self.reading, writing] {
            let flags = fcntl_getfl(fd).map_err(|error| error.to_string())?;
            fcntl_setfl(fd, flags | OFlags::NONBLOCK).map_err(|error| error.to_string())?;
        }
        let mut segment = Segment::default();
        let mut feed = Some(Feed::in_batches(self.number, BATCH));
        let mut stopping = false;
        let mut buffer = vec![0; 64 << 10];
        let mut slow = self.slow;
        loop {
            let replaced = self.shared.replaced.load(Ordering::Acquire);
            if replaced {
                feed = None;
                // It was slow for long enough to leave a backlog; now that has to arrive.
                slow = false;
            }
            if let Some(feed) = feed.as_mut().filter(|_| !stopping) {
                if self.shared.stop.load(Ordering::Acquire) {
                    stopping = true;
                    feed.stop();
                }
            }
            let may_write = feed.is_some()
                && !(self.waits && segment.bytes() == 0)
                && (stopping || self.shared.flow.room() > 0);
            let (readable, writable) = self.wait(writing, may_write)?;
            if writable && !self.send(writing, &mut feed, stopping)? {
                feed = None;
            }
            if readable {
                let room = if slow { SIP } else { buffer.len() };
                match read(&self.reading, &mut buffer[..room]) {
                    // A pty's reader is told of the end by EIO.
                    Ok(0) | Err(Errno::IO | Errno::CONNRESET) => return Ok(segment),
                    Ok(count) => {
                        segment.push(&buffer[..count]);
                        self.shared
                            .received
                            .store(segment.bytes(), Ordering::Release);
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(format!("read: {error}").into()),
                }
                if segment.has_end() {
                    return Ok(segment);
                }
            }
            if slow {
                pause(PAUSE);
            }
        }
    }

    fn wait(&self, writing: &OwnedFd, may_write: bool) -> Result<(bool, bool), LoadError> {
        let interest = if may_write {
            PollFlags::OUT
        } else {
            PollFlags::empty()
        };
        let mut fds = [
            PollFd::new(&self.reading, PollFlags::IN),
            PollFd::new(writing, interest),
        ];
        // A hung-up descriptor that is of no interest any more would be reported all the time.
        let watched = if may_write { 2 } else { 1 };
        match poll(&mut fds[..watched], Some(&timespec(LOOK))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(format!("poll: {error}").into()),
        }
        Ok((
            !fds[0].revents().is_empty(),
            may_write && !fds[1].revents().is_empty(),
        ))
    }

    /// Sends what fits; false when nothing more can be sent.
    fn send(
        &self,
        writing: &OwnedFd,
        feed: &mut Option<Feed>,
        stopping: bool,
    ) -> Result<bool, LoadError> {
        let Some(feed) = feed else {
            return Ok(false);
        };
        // Never more than the stop record once it was asked for.
        let pending = if stopping {
            feed.remainder()
        } else {
            feed.pending()
        };
        if pending.is_empty() {
            return Ok(false);
        }
        let most = if stopping {
            usize::MAX
        } else {
            self.shared.flow.room()
        };
        let pending = &pending[..pending.len().min(most)];
        match write(writing, pending) {
            Ok(count) => {
                feed.consume(count);
                let count = count as u64;
                self.shared.flow.sent.fetch_add(count, Ordering::AcqRel);
                self.shared.accepted.fetch_add(count, Ordering::AcqRel);
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(Errno::PIPE | Errno::IO | Errno::CONNRESET) => Ok(false),
            Err(error) => Err(format!("write: {error}").into()),
        }
    }
}

/// Reads a ring over a monitor of its own until the ring is replaced.
pub(super) fn read_ring(monitor: &Path, id: &str, shared: &Shared) -> Result<Segment, LoadError> {
    let mut monitor = connect(monitor)?;
    let mut segment = Segment::default();
    while !shared.replaced.load(Ordering::Acquire) {
        let arguments = Object::new().with("device", id).with("size", 65536_i64);
        match monitor.execute("ringbuf-read", arguments) {
            Ok(text) => {
                let text = text.as_str().ok_or("ringbuf-read: not a string")?;
                if text.is_empty() {
                    pause(Duration::from_millis(1));
                }
                segment.push(text.as_bytes());
                shared.received.store(segment.bytes(), Ordering::Release);
            }
            Err(ClientError::Command(error)) => {
                return Err(format!("ringbuf-read: {error}").into());
            }
            Err(error) => return Err(format!("the monitor for ringbuf-read: {error}").into()),
        }
        if segment.has_end() {
            break;
        }
    }
    Ok(segment)
}

/// Waits for nothing but time; a slow peer is what it is.
pub(crate) fn pause(time: Duration) {
    let _ = poll(&mut [], Some(&timespec(time)));
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    }
}
