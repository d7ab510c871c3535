//! front → chardev → [back] → host: ringbuf (and its old name memory), read by `ringbuf-read`.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options, ParameterError, Problem};
use chardev_core::{Backend, Drain, NothingToDrain, Ready, RingBuffer, RingControl, Sent, memory};

use crate::back::{Kind, OpenContext, Opening};

/// The kind `ringbuf`.
pub(crate) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "ringbuf",
        "keeps the newest output in memory for ringbuf-read",
        OPTIONS,
    ),
    open: |options, context| open("ringbuf", options, context),
};

/// The kind `memory`, an old name of `ringbuf`.
pub(crate) static MEMORY: Kind = Kind {
    spec: KindSpec::new("memory", "the old name of ringbuf", OPTIONS)
        .derived_from("chardev-ringbuf"),
    open: |options, context| open("memory", options, context),
};

const OPTIONS: &[OptionSpec] = &[OptionSpec::new(
    "size",
    OptionType::Size,
    "bytes to keep, a power of two up to 1 GiB (default 65536)",
)];

const DEFAULT_SIZE: i64 = 65536;
/// QEMU dies when it cannot allocate the ring; a console needs no more than this.
const MAX_SIZE: i64 = 1 << 30;

fn open<'a>(kind: &'static str, options: &'a Options, _context: &'a OpenContext) -> Opening<'a> {
    Box::pin(async move {
        let capacity = check_size(options.int("size").unwrap_or(DEFAULT_SIZE))?;
        if !memory::is_available(capacity) {
            let words = format!(
                "not enough memory for a ringbuf of {capacity} bytes; choose a smaller 'size'"
            );
            return Err(out_of_range(capacity).shown_as(words).into());
        }
        let ring = RingBuffer::new(capacity);
        let hold = options.str("x-closed") == Some("hold");
        Ok(Box::new(Ring {
            kind,
            ring,
            hold,
            overwritten: 0,
        }) as Box<dyn Backend>)
    })
}

#[derive(Debug)]
struct Ring {
    kind: &'static str,
    ring: RingBuffer,
    /// Whether a full ring makes the front end wait for a reader instead of overwriting.
    hold: bool,
    overwritten: u64,
}

impl Backend for Ring {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn filename(&self) -> String {
        self.kind.to_owned()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        let mut taken = 0;
        for buf in bufs {
            if self.hold {
                taken += self.ring.push(buf);
            } else {
                self.overwritten += self.ring.push_overwriting(buf) as u64;
                taken += buf.len();
            }
        }
        if taken == 0 {
            Sent::Full
        } else {
            Sent::Taken(taken)
        }
    }

    fn read(&mut self, _bufs: &mut [IoSliceMut<'_>]) -> usize {
        0
    }

    /// Nothing to arm: whoever takes bytes out of the ring reports the room.
    fn watch(&mut self, _interest: Ready) {}

    fn set_hold(&mut self, hold: bool) {
        self.hold = hold;
    }

    fn resume_soon(&mut self) -> bool {
        false
    }

    fn may_wait(&self) -> bool {
        false
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }

    fn ring(&mut self) -> Option<&mut dyn RingControl> {
        Some(self)
    }
}

impl RingControl for Ring {
    fn buffer(&mut self) -> &mut RingBuffer {
        &mut self.ring
    }

    fn take_overwritten(&mut self) -> u64 {
        std::mem::take(&mut self.overwritten)
    }
}

/// A ring's capacity, or QEMU's words for why `size` cannot be one.
fn check_size(size: i64) -> Result<usize, ParameterError> {
    let not_power = || out_of_range(size).shown_as("size of ringbuf chardev must be power of two");
    let size_bytes = usize::try_from(size).map_err(|_| not_power())?;
    if !size_bytes.is_power_of_two() {
        return Err(not_power());
    }
    if size > MAX_SIZE {
        let words = format!("size of ringbuf chardev must be at most {MAX_SIZE}, not {size}");
        return Err(out_of_range(size).shown_as(words));
    }
    Ok(size_bytes)
}

fn out_of_range(size: impl ToString) -> ParameterError {
    ParameterError::new("size", Problem::OutOfRange(size.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_crash_qemu_are_refused() {
        let not_power = "size of ringbuf chardev must be power of two";
        for (size, answer) in [
            (1, Ok(1)),
            (65536, Ok(65536)),
            (1 << 30, Ok(1 << 30)),
            (0, Err(not_power)),
            (5, Err(not_power)),
            (-1, Err(not_power)),
            (i64::MIN, Err(not_power)),
            (
                1 << 31,
                Err("size of ringbuf chardev must be at most 1073741824, not 2147483648"),
            ),
            (
                1 << 62,
                Err("size of ringbuf chardev must be at most 1073741824, not 4611686018427387904"),
            ),
        ] {
            let checked = check_size(size).map_err(|error| error.to_string());
            assert_eq!(checked, answer.map_err(str::to_owned), "{size}");
        }
    }

    #[test]
    fn a_full_ring_overwrites_or_holds() {
        let ring = |hold| Ring {
            kind: "ringbuf",
            ring: RingBuffer::new(4),
            hold,
            overwritten: 0,
        };
        let bufs = [IoSlice::new(b"abc"), IoSlice::new(b"def")];
        let mut overwriting = ring(false);
        assert_eq!(overwriting.write(&bufs, &mut Vec::new()), Sent::Taken(6));
        assert_eq!(
            (
                overwriting.take_overwritten(),
                overwriting.take_overwritten()
            ),
            (2, 0)
        );
        assert_eq!(overwriting.ring.take(9), b"cdef");

        let mut holding = ring(true);
        assert_eq!(holding.write(&bufs, &mut Vec::new()), Sent::Taken(4));
        assert_eq!(holding.write(&bufs, &mut Vec::new()), Sent::Full);
        assert_eq!(holding.ring.take(2), b"ab");
        assert_eq!(holding.write(&bufs, &mut Vec::new()), Sent::Taken(2));
        assert_eq!(holding.ring.take(9), b"cdab");
    }
}
