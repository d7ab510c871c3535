//! front → [chardev: scrollback] → viewer: one viewer, its socket and its form.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use chardev_core::{Glance, ViewEnd, Viewed, Viewer};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

use super::handle::Fate;

/// The most bytes in one frame, and so the most that a stalled viewer holds of its own.
const FRAME: usize = 16 << 10;
/// How long a viewer that has ended may take to read its last line.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What a viewer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Its next turn.
    Ready,
    /// Nothing yet: it has everything, and has to ask to be told of more.
    CaughtUp,
    /// To be told of more output.
    Armed,
    /// Its socket to take something.
    Blocked,
    /// It is gone.
    Gone,
}

/// One viewer.
#[derive(Debug)]
pub(super) struct Entry {
    fd: OwnedFd,
    label: String,
    viewer: Viewer,
    framed: bool,
    /// What has to be sent before anything else.
    pending: Vec<u8>,
    /// No more than `pending` follows, and not for longer than this.
    until: Option<Instant>,
    pub(super) state: Wait,
    fate: Arc<Fate>,
}

impl Entry {
    pub(super) fn new(fd: OwnedFd, label: String, viewer: Viewer, framed: bool) -> Self {
        Entry {
            fd,
            label,
            viewer,
            framed,
            pending: Vec::new(),
            until: None,
            state: Wait::Ready,
            fate: Arc::default(),
        }
    }

    pub(super) fn fate(&self) -> &Arc<Fate> {
        &self.fate
    }

    /// There may be more output, or its end.
    pub(super) fn wake(&mut self) {
        match self.state {
            Wait::Armed => self.state = Wait::Ready,
            // It still waits for its socket, but not for ever.
            Wait::Blocked if self.is_to_end() => self.revoke(),
            _ => {}
        }
    }

    fn is_to_end(&self) -> bool {
        self.until.is_none() && self.fate.is_revoked()
    }

    /// Only why it ends is left to be told.
    fn revoke(&mut self) {
        let text = match self.framed {
            true => "end revoked\n".to_owned(),
            false => format!(
                "\r\n[chardev {}: viewer ended, it may not look any more]\r\n",
                self.label
            ),
        };
        self.pending.extend_from_slice(text.as_bytes());
        self.until = Some(Instant::now() + LAST_WORDS);
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// When to give up, for a viewer that has ended.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Asks for a wake-up when there is more; serve it once more after that.
    pub(super) fn arm(&self, waker: &Waker) {
        self.viewer.wake_when_ready(waker);
    }

    /// Sends what the socket takes, for one turn: as much as one copy of the output holds.
    pub(super) fn serve(&mut self, glance: &mut Glance) {
        self.state = self.send_turn(glance).unwrap_or_else(|error| match error {
            Errno::AGAIN => Wait::Blocked,
            _ => Wait::Gone,
        });
    }

    fn send_turn(&mut self, glance: &mut Glance) -> Result<Wait, Errno> {
        let mut left = glance.size();
        while left > 0 {
            if self.is_to_end() {
                self.revoke();
            }
            while !self.pending.is_empty() {
                let sent = self.send(&self.pending, &[])?;
                self.pending.drain(..sent);
                left = left.saturating_sub(sent);
            }
            self.pending = Vec::new();
            if self.until.is_some() {
                return Ok(Wait::Gone);
            }
            let most = if self.framed { FRAME } else { left };
            match self.viewer.glance(glance, most) {
                None => return Ok(Wait::CaughtUp),
                Some((Viewed::Data { offset, .. }, bytes)) => {
                    let sent = self.send_data(offset, bytes)?;
                    left = left.saturating_sub(sent);
                }
                Some((other, _)) => self.note(other),
            }
        }
        Ok(Wait::Ready)
    }

    fn send_data(&mut self, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        if !self.framed {
            let sent = self.send(bytes, &[])?;
            self.viewer.advance(sent);
            return Ok(sent);
        }
        let header = format!("data {offset} {}\n", bytes.len());
        let header = header.as_bytes();
        let sent = self.send(header, bytes)?;
        // The frame has begun, so the rest of it must follow whatever becomes of the scrollback.
        self.viewer.advance(bytes.len());
        let of_header = sent.min(header.len());
        self.pending.extend_from_slice(&header[of_header..]);
        self.pending.extend_from_slice(&bytes[sent - of_header..]);
        Ok(sent)
    }

    /// A gap or the end, in words.
    fn note(&mut self, viewed: Viewed) {
        let text = match (viewed, self.framed) {
            (Viewed::Gap { from, to }, true) => format!("gap {from} {to}\n"),
            (Viewed::Gap { from, to }, false) => format!(
                "\r\n[chardev {}: {} bytes are missing here, offset {from} to {to}]\r\n",
                self.label,
                to - from
            ),
            (Viewed::End(ViewEnd::Removed), true) => "end removed\n".to_owned(),
            (Viewed::End(ViewEnd::TooSlow(behind)), true) => format!("end too-slow {behind}\n"),
            (Viewed::End(ViewEnd::TooSlow(behind)), false) => format!(
                "\r\n[chardev {}: viewer ended, it was {behind} bytes behind]\r\n",
                self.label
            ),
            (Viewed::Data { .. } | Viewed::End(ViewEnd::Removed), _) => String::new(),
        };
        self.pending = text.into_bytes();
        self.viewer.accept(viewed);
        if matches!(viewed, Viewed::End(_)) {
            self.until = Some(Instant::now() + LAST_WORDS);
        }
    }

    fn send(&self, first: &[u8], second: &[u8]) -> Result<usize, Errno> {
        let bufs = [IoSlice::new(first), IoSlice::new(second)];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match sendmsg(&self.fd, &bufs, &mut SendAncillaryBuffer::default(), flags) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }
}

impl Drop for Entry {
    /// What the viewer sent is dropped unread, but it must not reset the connection.
    fn drop(&mut self) {
        let mut buf = [0; 4096];
        for _ in 0..64 {
            match recv(&self.fd, &mut buf, RecvFlags::DONTWAIT) {
                Ok((_, count)) if count > 0 => {}
                _ => break,
            }
        }
        self.fate.end();
    }
}
