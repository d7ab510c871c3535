//! [front: null-modem] → chardev → back → host: what one direction has read and not yet handed on.
//!
//! Bytes that come in large pieces go through a pipe of the kernel's where both sides are plain
//! sockets of one family ([`chardev::Splicing`]), and are copied everywhere else. A pipe belongs to
//! the direction that has something in it, and to nobody when that is gone. When the other side
//! does not take bytes in this way any more, what is in the pipe is read into memory, where it is
//! as if it had come by a copy.

use std::task::{Context, Poll};

use chardev::{Event, FrontEnd, Input};

use super::lease::Lease;
use crate::devices::pump::{Leftover, with_scratch};

/// What comes in pieces of this size goes through a pipe from then on.
const BULK: usize = 64 << 10;
/// And until a piece is smaller than this, which may as well be copied.
const LEAST: usize = 16 << 10;
/// The most at once, which is what a pipe has room for: the larger a piece, the less CPU it costs.
const PIECE: usize = 1 << 20;
/// A terminal gives 4 KiB at a time, however much there is: after this much it is asked again, and
/// what it has is handed on as one.
const MORE: usize = 2 << 10;
const GATHERED: usize = 64 << 10;

/// What one direction has in hand: bytes in a pipe or bytes in memory, never both.
#[derive(Default)]
pub(super) struct Hand {
    piped: Option<Lease>,
    bytes: Leftover,
    /// What comes, comes in large pieces.
    bulk: bool,
    /// The last attempt to put any into a pipe found none.
    silent: bool,
}

impl Hand {
    /// How many bytes are in hand.
    pub(super) fn len(&self) -> usize {
        let piped = self.piped.as_ref().map_or(0, |lease| lease.len());
        piped + self.bytes.rest().len()
    }

    /// Whether what comes, comes in large pieces.
    pub(super) fn is_bulk(&self) -> bool {
        self.bulk
    }

    /// Lets go of everything, and says how much that was.
    pub(super) fn clear(&mut self) -> usize {
        self.look();
        self.bytes.clear()
    }

    /// Keeps `bytes` behind what is in hand.
    pub(super) fn keep_more(&mut self, bytes: &[u8]) {
        self.look();
        self.bytes.keep_more(bytes);
    }

    /// Hands on everything. What is not taken now is waited for.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, to: &FrontEnd) -> Poll<()> {
        if let Some(lease) = &mut self.piped {
            match to.poll_pour(cx, lease.pipe()) {
                None => self.look(),
                Some(_) if lease.len() == 0 => self.piped = None,
                Some(_) => return Poll::Pending,
            }
        }
        self.bytes.poll_flush(cx, to)
    }

    /// Moves what `from` has now to `to`, with nothing in hand before. If the direction `will_rest`
    /// it is not told yet of more that nobody waits for.
    pub(super) fn poll_move(
        &mut self,
        cx: &mut Context<'_>,
        from: &FrontEnd,
        to: &FrontEnd,
        will_rest: bool,
    ) -> Moved {
        let most = match self.bulk && from.medium() == to.medium() {
            true => to.pours().min(PIECE),
            false => 0,
        };
        if most >= LEAST {
            // `splice` never gets past TCP's urgent data, so a second silence is looked into.
            let silent = std::mem::take(&mut self.silent);
            let filled = self.poll_fill(cx, from, most);
            let filled = filled.filter(|came| !(silent && matches!(came, Came::Nothing)));
            if let Some(came) = filled {
                self.silent = matches!(came, Came::Nothing);
                let flushed = self.poll_flush(cx, to);
                return Moved {
                    came,
                    flushed,
                    unseen: 0,
                };
            }
        }
        let seen = to.is_seen();
        let few = if will_rest && !seen { 0 } else { MORE };
        let (count, came) = with_scratch(|buffer| {
            let (count, came) = gather(cx, from, buffer, few);
            if count > 0 {
                self.bytes.send(cx, to, &buffer[..count]);
            }
            (count, came)
        });
        self.bulk = count >= BULK;
        let flushed = self.poll_flush(cx, to);
        Moved {
            came,
            flushed,
            unseen: if seen { 0 } else { count },
        }
    }

    /// Puts what `from` has into a pipe; `None` if it cannot be done in this way.
    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &FrontEnd, most: usize) -> Option<Came> {
        let mut lease = Lease::new()?;
        Some(match from.poll_fill(cx, lease.pipe(), most)? {
            Poll::Pending => Came::Nothing,
            Poll::Ready(Input::Event(event)) => Came::Event(event),
            Poll::Ready(Input::Data(count)) => {
                self.bulk = count >= LEAST;
                self.piped = Some(lease);
                Came::Bytes
            }
        })
    }

    /// Has what is in the pipe in memory.
    fn look(&mut self) {
        if let Some(mut lease) = self.piped.take() {
            self.bytes.keep(&lease.pipe().take_all());
        }
    }
}

/// What became of an attempt to move bytes.
pub(super) struct Moved {
    pub(super) came: Came,
    /// Whether everything has been handed on; if not, that is waited for.
    pub(super) flushed: Poll<()>,
    /// How many bytes nobody waits for.
    pub(super) unseen: usize,
}

/// What there was to move.
pub(super) enum Came {
    /// Bytes; there may be more.
    Bytes,
    /// This, behind what bytes there were.
    Event(Event),
    /// No more, which is waited for.
    Nothing,
}

/// Reads what there is now; less than there is only if it is much. If it is fewer than `few` bytes,
/// more is asked for at once.
fn gather(cx: &mut Context<'_>, from: &FrontEnd, buffer: &mut [u8], few: usize) -> (usize, Came) {
    let mut total = 0;
    loop {
        match from.poll_read_few(cx, &mut buffer[total..], few) {
            Poll::Ready((Input::Data(count), was_all)) => {
                total += count;
                if was_all {
                    return (total, Came::Nothing);
                }
                if count < MORE || total >= GATHERED {
                    return (total, Came::Bytes);
                }
            }
            Poll::Ready((Input::Event(event), _)) => return (total, Came::Event(event)),
            Poll::Pending => return (total, Came::Nothing),
        }
    }
}

#[cfg(test)]
mod tests;
