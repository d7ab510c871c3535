//! front → [chardev] → back → host: which output goes to the log, and which is left out.
//!
//! A log is secondary. Output waits for one that is written, but not for one that cannot be written
//! or takes too long ([`LogSink::is_prompt`]), unless the policy says [`LogFull::Hold`]: what finds
//! no room there is a hole, which is counted, told and marked.

use std::io::IoSlice;

use crate::chardev::Chardev;
use crate::notice::Notice;
use crate::policy::LogFull;

/// A hole is begun at the end of a line if one is as near as this.
const LINE: usize = 4096;

/// Output that the log misses, which may get more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    from: u64,
    bytes: u64,
}

impl Chardev {
    /// How much output may be accepted for all the log cares. With none, the log reports when there
    /// is room.
    pub(crate) fn log_room(&mut self) -> usize {
        let holds = self.policy.log_full == LogFull::Hold;
        match &mut self.log {
            Some(log) if holds || log.is_prompt() => {
                let room = log.room();
                if room == 0 {
                    log.watch();
                }
                room
            }
            _ => usize::MAX,
        }
    }

    /// Gives the log the last `count` bytes of the accepted output, which are at the start of
    /// `bufs`.
    pub(crate) fn log_output(&mut self, bufs: &[IoSlice<'_>], count: usize) {
        let mut offset = self.stats.output_accepted - count as u64;
        let mut left = count;
        for buf in bufs {
            let part = &buf[..buf.len().min(left)];
            left -= part.len();
            self.log_part(offset, part);
            offset += part.len() as u64;
        }
    }

    fn log_part(&mut self, offset: u64, part: &[u8]) {
        let Some(log) = &mut self.log else { return };
        let room = log.room();
        let fits = match part.len() <= room {
            true => part.len(),
            false => cut_at_line(&part[..room], self.log_inside_line),
        };
        if fits > 0 {
            self.end_hole();
        }
        let taken = match &mut self.log {
            Some(log) if fits > 0 => log.push(&part[..fits]),
            _ => 0,
        };
        self.log_inside_line = match part[..taken].last() {
            Some(last) => *last != b'\n',
            None => self.log_inside_line,
        };
        if taken < part.len() {
            self.leave_out(offset + taken as u64, (part.len() - taken) as u64);
        }
    }

    fn leave_out(&mut self, from: u64, bytes: u64) {
        if let Some(log) = &mut self.log {
            log.skip(bytes);
        }
        self.count_hole(from, bytes);
    }

    /// The log has lost `bytes` that it had accepted, from the absolute offset `from` on. One that
    /// has been replaced loses no more than that.
    pub fn log_lost(&mut self, from: u64, bytes: u64, replaced: bool) {
        if replaced {
            self.stats.log_lost += bytes;
            self.stats.log_holes += 1;
            self.tell_hole(from, Some(bytes));
        } else {
            self.count_hole(from, bytes);
        }
    }

    fn count_hole(&mut self, from: u64, bytes: u64) {
        self.stats.log_lost += bytes;
        if let Some(hole) = &mut self.rare.hole {
            hole.from = hole.from.min(from);
            hole.bytes += bytes;
            return;
        }
        self.rare.hole = Some(Hole { from, bytes });
        self.stats.log_holes += 1;
        self.log.iter_mut().for_each(|log| log.watch());
        self.tell_hole(from, None);
    }

    /// The log takes output again, or is replaced.
    pub(crate) fn end_hole(&mut self) {
        let hole = self.rare.there().and_then(|rare| rare.hole.take());
        if let Some(hole) = hole {
            self.log.iter_mut().for_each(|log| log.go_on());
            self.tell_hole(hole.from, Some(hole.bytes));
        }
    }

    /// The log may have room again.
    pub(crate) fn look_at_log(&mut self) {
        if self.rare.hole.is_some() && self.log.as_ref().is_some_and(|log| log.room() > 0) {
            self.end_hole();
        }
    }

    fn tell_hole(&mut self, offset: u64, bytes: Option<u64>) {
        let cause = self.log_trouble().filter(|_| bytes.is_none());
        self.tell(Notice::LogHole {
            offset,
            bytes,
            cause,
        });
    }

    /// Why the log is not written, where that is known.
    pub fn log_trouble(&self) -> Option<String> {
        self.log.as_ref().and_then(|log| log.trouble())
    }
}

/// How much of `fits` goes to the log before a hole: whole lines, if they are no longer than usual.
fn cut_at_line(fits: &[u8], inside_line: bool) -> usize {
    let last = &fits[fits.len().saturating_sub(LINE)..];
    match last.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => fits.len() - last.len() + end + 1,
        None if fits.len() < LINE && !inside_line => 0,
        None => fits.len(),
    }
}
