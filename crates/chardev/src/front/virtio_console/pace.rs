//! guest → [front: virtio-console] → chardev → back → host: a busy ring is polled at intervals
//! instead of being kicked.
//!
//! A kick is an exit of the vCPU and a wake-up of ours, an interrupt is several exits; for a guest
//! that pours data into a port they cost more than the bytes. So while it does, we look at its ring
//! on our own and it need not kick; and it is interrupted when it may be out of room or has fallen
//! silent, instead of after each buffer. It finds out by itself what came back when it wants to
//! write more.
//!
//! A driver that waits for each buffer before it offers the next gains nothing and would wait a
//! pace each time. It shows: there is never more than one. Such a ring goes back to kicks, and is
//! tried again ever more rarely.
//!
//! A console's ring is always kicked, since its driver is to wait for nothing. But Linux's, which
//! looks in a loop whether its buffer has come back, makes no use of the interrupt that it has
//! asked for. So that is held back for a while, and not where it shows that the driver waits for
//! it.

use std::time::Duration;

/// From one look at a ring to the next, and so how long output waits in a flow: at least, at first
/// and at most. Each look costs us and the peer a wake-up, so the faster the guest the shorter: a
/// look finds an eighth to a quarter of what the ring can hold.
const PACES: [Duration; 3] = [
    Duration::from_micros(40),
    Duration::from_micros(80),
    Duration::from_micros(320),
];
/// A flow begins with as many bytes in one look.
const MIN_BYTES: usize = 4096;
/// Looks in a row that find nothing, until a flow has ended.
const MAX_EMPTY: u8 = 2;
/// Looks that find a lone chain, until the driver is taken to wait for each.
const MAX_LONE: u8 = 4;
/// The most looks for which an interrupt is held back.
const MAX_HELD: u8 = 8;
/// Kicks until a driver that waited for each chain is tried again: at first, and at most.
const REST: (u16, u16) = (16, 4096);
/// How long a console's interrupt is held back, and the most chains until that is tried again.
const HOLD: Duration = Duration::from_millis(2);
const HOLD_REST: u16 = 256;

/// How one output ring is looked at.
#[derive(Debug)]
pub(super) struct Pace {
    /// There can be a flow at all; otherwise interrupts are held.
    able: bool,
    flowing: bool,
    pace: Duration,
    /// What this look has found so far.
    chains: usize,
    bytes: usize,
    /// Looks in a row that found nothing.
    empty: u8,
    /// Looks that found a lone chain, since one found more.
    lone: u8,
    /// The guest has descriptors back and was not asked whether it wants an interrupt.
    held: Option<Held>,
    /// Looks that begin no flow.
    rest: u16,
    next_rest: u16,
    /// The time is over for which an interrupt was to be held back.
    over: bool,
}

#[derive(Debug, Default)]
struct Held {
    descriptors: usize,
    /// Since the first of them; of a console's those that found something.
    looks: u8,
}

/// What follows a look at a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// When there is to be another one; otherwise the guest is to kick.
    pub(super) again: Option<Duration>,
    /// The guest is to be asked whether it wants an interrupt.
    pub(super) ask: bool,
    /// If not, when to do so, although it kicks.
    pub(super) ask_after: Option<Duration>,
}

impl Pace {
    /// For a ring that has never been looked at.
    pub(super) fn new(able: bool) -> Self {
        Pace {
            able,
            flowing: false,
            pace: PACES[1],
            chains: 0,
            bytes: 0,
            empty: 0,
            lone: 0,
            held: None,
            rest: 0,
            next_rest: REST.0,
            over: false,
        }
    }

    /// It is as late as was asked for.
    pub(super) fn late(&mut self) {
        self.over = true;
    }

    /// The guest is not asked for kicks.
    pub(super) fn is_flowing(&self) -> bool {
        self.flowing
    }

    /// This look has found chains in a ring of `size`, of which the back end took so many bytes and
    /// the guest has so many descriptors back. Whether to ask the guest at once if it wants an
    /// interrupt.
    pub(super) fn found(&mut self, chains: usize, bytes: usize, freed: usize, size: u16) -> bool {
        self.chains += chains;
        self.bytes += bytes;
        if freed == 0 {
            return false;
        }
        let held = self.held.get_or_insert_default();
        held.descriptors += freed;
        // A guest that was out of room writes on while we are at the other half.
        let is_half = 2 * held.descriptors >= usize::from(size);
        let ask = is_half
            || match self.able {
                true => !self.flowing,
                false => self.rest > 0,
            };
        if !self.able {
            let chains = u16::try_from(chains).unwrap_or(u16::MAX);
            self.rest = self.rest.saturating_sub(chains);
        }
        if ask {
            self.held = None;
        }
        ask
    }

    /// The ring of `size` is empty.
    pub(super) fn empty(&mut self, size: u16) -> Verdict {
        let (chains, bytes) = (self.chains, self.bytes);
        (self.chains, self.bytes) = (0, 0);
        if !self.able {
            return self.hold(chains);
        }
        if self.flowing {
            self.go_on(chains, size.into());
        } else if self.rest > 0 {
            self.rest -= u16::from(chains > 0);
        } else {
            self.flowing = bytes >= MIN_BYTES;
            (self.pace, self.empty, self.lone) = (PACES[1], 0, 0);
        }
        Verdict {
            again: self.flowing.then_some(self.pace),
            ask: self.release(self.flowing && chains > 1),
            ask_after: None,
        }
    }

    /// The same of a ring that is always kicked.
    fn hold(&mut self, chains: usize) -> Verdict {
        let is_over = std::mem::take(&mut self.over);
        let Some(held) = &mut self.held else {
            return Verdict::default();
        };
        held.looks = held.looks.saturating_add(u8::from(chains > 0));
        if !is_over {
            return Verdict {
                ask_after: Some(HOLD),
                ..Verdict::default()
            };
        }
        // A driver that has gone on meanwhile waits for none.
        match held.looks {
            0 | 1 => self.lone += 1,
            _ => (self.lone, self.next_rest) = (0, REST.0),
        }
        if self.lone == MAX_LONE {
            (self.lone, self.rest) = (0, self.next_rest);
            self.next_rest = (2 * self.next_rest).min(HOLD_REST);
        }
        Verdict {
            ask: self.release(false),
            ..Verdict::default()
        }
    }

    /// The back end takes no more, and says when it does. If the guest has been told of all it has
    /// back there is no other reason to look.
    pub(super) fn full(&mut self, taken: usize) -> Verdict {
        let ask = self.release(self.flowing && taken > 0);
        Verdict {
            again: self.held.is_some().then_some(self.pace),
            ask,
            ask_after: None,
        }
    }

    /// Whether the guest is to be asked now because of what was held.
    pub(super) fn stop(&mut self) -> bool {
        self.release(false)
    }

    fn release(&mut self, hold: bool) -> bool {
        let Some(held) = &mut self.held else {
            return false;
        };
        held.looks += 1;
        if hold && held.looks < MAX_HELD {
            return false;
        }
        self.held = None;
        true
    }

    fn go_on(&mut self, chains: usize, size: usize) {
        if 4 * chains > size {
            self.pace = (self.pace / 2).max(PACES[0]);
        } else if chains > 0 && 8 * chains < size {
            self.pace = (2 * self.pace).min(PACES[2]);
        }
        match chains {
            0 => self.empty += 1,
            1 => (self.empty, self.lone) = (0, self.lone + 1),
            _ => {
                (self.empty, self.lone) = (0, 0);
                self.next_rest = REST.0;
            }
        }
        if self.lone == MAX_LONE {
            self.rest = self.next_rest;
            self.next_rest = (2 * self.next_rest).min(REST.1);
        }
        self.flowing = self.empty < MAX_EMPTY && self.lone < MAX_LONE;
    }
}
