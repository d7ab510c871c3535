//! The peer's end of one back end.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::net::{Shutdown, shutdown};

use super::PIECE;
use crate::LoadError;
use crate::check::{Segment, place};
use crate::lines::PADDED;
use crate::peers::{Door, Ends, Kind};
use crate::records::Feed;

/// How much tells where in the output it is from.
const HEAD: usize = 3 * PADDED;
/// How much a slow one reads at once.
const SIP: usize = 512;

/// How a peer reads while its back end is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Quick,
    Sips,
    Stalled,
}

/// The peer's end of one back end, or of nothing.
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) kind: Option<Kind>,
    reading: Option<OwnedFd>,
    writing: Option<OwnedFd>,
    /// Where the next peer can come when this one has left, and whether this one has left.
    pub(super) door: Option<Door>,
    leaving: bool,
    /// What it types; `None` if nothing any more.
    feed: Option<Feed>,
    pace: Pace,
    /// Whether it was sent something.
    heard: bool,
    /// The segment that gets what it reads, how that begins, and how much it has got.
    pub(super) slot: usize,
    head: Vec<u8>,
    pub(super) in_slot: u64,
    /// After so many bytes the output went to others, and what comes then is for another segment.
    cut: Option<(u64, usize)>,
    file: Option<Temporary>,
}

impl Link {
    /// Nothing: what is printed now comes to nobody.
    pub(super) fn none() -> Self {
        Link {
            number: 0,
            kind: None,
            reading: None,
            writing: None,
            door: None,
            leaving: false,
            feed: None,
            pace: Pace::Quick,
            heard: false,
            slot: 0,
            head: Vec::new(),
            in_slot: 0,
            cut: None,
            file: None,
        }
    }

    /// The peer `number` of a back end that is there.
    pub(super) fn new(
        number: u64,
        kind: Kind,
        ends: Ends,
        (slot, pace): (usize, Pace),
    ) -> Result<Self, LoadError> {
        let mut link = Link {
            number,
            kind: Some(kind),
            slot,
            pace,
            ..Link::none()
        };
        match ends {
            Ends::Ring => {}
            Ends::File(path) => {
                let file = File::open(&path);
                let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
                link.reading = Some(file.into());
                link.file = Some(Temporary(path));
            }
            Ends::Stream {
                reading,
                writing,
                door,
            } => {
                link.reading = Some(reading);
                (link.writing, link.door) = (writing, door);
                link.feed = Some(Feed::new(number));
            }
        }
        for fd in [&link.reading, &link.writing].into_iter().flatten() {
            let flags = fcntl_getfl(fd).map_err(|error| error.to_string())?;
            let flags = flags | OFlags::NONBLOCK;
            fcntl_setfl(fd, flags).map_err(|error| error.to_string())?;
        }
        Ok(link)
    }

    /// Somebody who is attached and types nothing.
    pub(super) fn guest(stream: OwnedFd, slot: usize) -> Self {
        Link {
            reading: Some(stream),
            slot,
            ..Link::none()
        }
    }

    /// Reads a piece; returns how much that was.
    ///
    /// # Errors
    /// Something other than the end of the stream.
    pub(super) fn read(
        &mut self,
        slots: &mut [Segment],
        scratch: &mut [u8],
    ) -> Result<u64, LoadError> {
        let most = match self.pace {
            Pace::Quick => PIECE,
            Pace::Sips => SIP,
            Pace::Stalled => return Ok(0),
        };
        let Some(fd) = &self.reading else {
            return Ok(0);
        };
        match read(fd, &mut scratch[..most]) {
            // More may come to a file.
            Ok(0) if self.file.is_some() => Ok(0),
            // A pty's reader is told of the end by EIO.
            Ok(0) | Err(Errno::IO | Errno::CONNRESET) => {
                self.end();
                Ok(0)
            }
            Ok(count) => {
                self.take(&scratch[..count], slots);
                Ok(count as u64)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(format!("peer {}: read: {error}", self.number).into()),
        }
    }

    fn take(&mut self, mut bytes: &[u8], slots: &mut [Segment]) {
        self.heard = true;
        while !bytes.is_empty() {
            let left = self.cut.map_or(u64::MAX, |(left, _)| left);
            let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            slots[self.slot].push(&bytes[..count]);
            let missing = (HEAD - self.head.len()).min(count);
            self.head.extend_from_slice(&bytes[..missing]);
            self.in_slot += count as u64;
            bytes = &bytes[count..];
            if let Some((left, next)) = self.cut.take() {
                self.cut_after(left - count as u64, next);
            }
        }
    }

    /// What comes after `left` bytes more is for the segment `next`.
    pub(super) fn cut_after(&mut self, left: u64, next: usize) {
        match left {
            0 => self.enter(next),
            _ => self.cut = Some((left, next)),
        }
    }

    /// What comes is for this segment.
    pub(super) fn enter(&mut self, slot: usize) {
        self.slot = slot;
        self.head.clear();
        self.in_slot = 0;
    }

    /// Where in the output is what it will read next, if enough came to tell.
    pub(super) fn offset(&self) -> Option<u64> {
        Some(place(&self.head)?.start + self.in_slot)
    }

    /// Types at most so much; returns how much was taken.
    ///
    /// # Errors
    /// Something other than that nobody takes it.
    pub(super) fn write(&mut self, most: usize) -> Result<u64, LoadError> {
        // A connection may still wait to be accepted; once it was sent something, it was.
        let waits = self.door.is_some() && !self.heard;
        let (Some(feed), false) = (self.feed.as_mut(), waits) else {
            return Ok(0);
        };
        let Some(fd) = self.writing.as_ref().or(self.reading.as_ref()) else {
            return Ok(0);
        };
        let pending = feed.pending();
        match write(fd, &pending[..most.min(pending.len())]) {
            Ok(count) => {
                feed.consume(count);
                Ok(count as u64)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(format!("peer {}: write: {error}", self.number).into()),
        }
    }

    /// It reads whatever comes from now on.
    pub(super) fn hurry(&mut self) {
        self.pace = Pace::Quick;
    }

    /// Its back end was replaced: it types nothing more and reads what is left.
    pub(super) fn retire(&mut self) {
        self.feed = None;
        self.hurry();
    }

    /// Leaves, as whoever ends only its sending does, to get all that was sent to it.
    pub(super) fn leave(&mut self) {
        self.retire();
        self.leaving = true;
        if let Some(fd) = &self.reading {
            // It fails only where the other end has left already, which the next read finds.
            let _ = shutdown(fd.as_fd(), Shutdown::Write);
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether nothing more comes from it, which one never knows of a file.
    pub(super) fn has_ended(&self) -> bool {
        self.reading.is_none()
    }

    pub(super) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    fn end(&mut self) {
        (self.reading, self.writing, self.feed) = (None, None, None);
    }
}

/// A file that is removed when nobody needs it any more.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Its directory goes at the end in any case.
        let _ = std::fs::remove_file(&self.0);
    }
}
