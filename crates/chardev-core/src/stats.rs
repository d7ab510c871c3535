//! Counters of one chardev, with absolute byte offsets since it was created.

/// Why bytes were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Output: nobody was there, and the policy was to discard.
    Discarded,
    /// Output: a front end could neither hand it over nor hold it back.
    FrontEnd,
    /// Output: a ring or a history had no room for it, and nobody had read it.
    Overwritten,
    /// Output: a replaced back end's peer did not take it in time.
    Undrained,
    /// Input: a replaced back end's peer sent it after the change.
    InputLate,
    /// Input: a departed peer left more than is carried over.
    InputOverflowed,
}

impl DropReason {
    /// The names of all.
    pub const NAMES: [&str; 6] = {
        let mut names = [""; 6];
        let mut at = 0;
        while at < names.len() {
            names[at] = DropReason::ALL[at].as_str();
            at += 1;
        }
        names
    };

    /// All reasons.
    pub const ALL: [DropReason; 6] = [
        DropReason::Discarded,
        DropReason::FrontEnd,
        DropReason::Overwritten,
        DropReason::Undrained,
        DropReason::InputLate,
        DropReason::InputOverflowed,
    ];

    /// The name in queries and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            DropReason::Discarded => "discarded",
            DropReason::FrontEnd => "front-end",
            DropReason::Overwritten => "overwritten",
            DropReason::Undrained => "undrained",
            DropReason::InputLate => "input-late",
            DropReason::InputOverflowed => "input-overflowed",
        }
    }
}

impl Stats {
    /// All counters. To add one: a field, and a line here; schema and query follow.
    pub const COUNTERS: &[Counter] = &[
        Counter {
            name: "output-accepted",
            get: |stats| stats.output_accepted,
        },
        Counter {
            name: "output-spliced",
            get: |stats| stats.output_spliced,
        },
        Counter {
            name: "output-injected",
            get: |stats| stats.output_injected,
        },
        Counter {
            name: "output-delivered",
            get: |stats| stats.output_delivered,
        },
        Counter {
            name: "output-discarded",
            get: |stats| stats.output_discarded,
        },
        Counter {
            name: "output-dropped",
            get: |stats| stats.output_dropped,
        },
        Counter {
            name: "output-overwritten",
            get: |stats| stats.output_overwritten,
        },
        Counter {
            name: "output-undrained",
            get: |stats| stats.output_undrained,
        },
        Counter {
            name: "output-purged",
            get: |stats| stats.output_purged,
        },
        Counter {
            name: "input-delivered",
            get: |stats| stats.input_delivered,
        },
        Counter {
            name: "input-spliced",
            get: |stats| stats.input_spliced,
        },
        Counter {
            name: "input-late",
            get: |stats| stats.input_late,
        },
        Counter {
            name: "input-overflowed",
            get: |stats| stats.input_overflowed,
        },
        Counter {
            name: "input-purged",
            get: |stats| stats.input_purged,
        },
        Counter {
            name: "log-lost",
            get: |stats| stats.log_lost,
        },
        Counter {
            name: "log-holes",
            get: |stats| stats.log_holes,
        },
        Counter {
            name: "breaks-dropped",
            get: |stats| stats.breaks_dropped,
        },
        Counter {
            name: "changes",
            get: |stats| stats.changes,
        },
        Counter {
            name: "changes-failed",
            get: |stats| stats.changes_failed,
        },
    ];

    /// How many bytes were dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        match reason {
            DropReason::Discarded => self.output_discarded,
            DropReason::FrontEnd => self.output_dropped,
            DropReason::Overwritten => self.output_overwritten,
            DropReason::Undrained => self.output_undrained,
            DropReason::InputLate => self.input_late,
            DropReason::InputOverflowed => self.input_overflowed,
        }
    }
}

/// A counter with its name in queries.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    /// The name, which `x-query-chardev-stats` has.
    pub name: &'static str,
    /// Its value.
    pub get: fn(&Stats) -> u64,
}

/// What happened to bytes and back ends so far. Plain numbers; a copy is a snapshot.
///
/// Every output byte is in one place: accepted + injected = delivered + discarded + overwritten +
/// [`Chardev::output_pending`](crate::Chardev::output_pending), until the chardev is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Output bytes accepted from the front end: the absolute output offset.
    pub output_accepted: u64,
    /// Those of them that went from one chardev to another without being copied
    /// ([`FrontEnd::poll_pour`](crate::FrontEnd::poll_pour)).
    pub output_spliced: u64,
    /// Output bytes that came from elsewhere than the front end: put into a ring buffer from
    /// outside (`ringbuf-write`), or the answer to a command for a peer that a change kept.
    pub output_injected: u64,
    /// Output bytes handed to a back end, less those that a ring has overwritten since.
    pub output_delivered: u64,
    /// Output bytes dropped because nobody was there and the policy was `discard`.
    pub output_discarded: u64,
    /// Output bytes that a front end dropped because nobody took them and its device cannot wait.
    /// They were never accepted, so they are in no other count.
    pub output_dropped: u64,
    /// Output bytes that a ring overwrote before anybody read them.
    pub output_overwritten: u64,
    /// Output bytes a replaced back end's peer had not taken when the drain limit ran out. They had
    /// been handed to that back end, so `output_delivered` counts them too. Also what still waited
    /// for a peer when the chardev was removed.
    pub output_undrained: u64,
    /// Output bytes thrown away because a peer wanted it
    /// ([`FrontEnd::purge`](crate::FrontEnd::purge)): those that the device had not sent, which
    /// `output_delivered` counts too, and those that a front end still had in hand, which were
    /// never accepted.
    pub output_purged: u64,
    /// Input bytes read by the front end: the absolute input offset.
    pub input_delivered: u64,
    /// Those of them that the front end took without a copy
    /// ([`FrontEnd::poll_fill`](crate::FrontEnd::poll_fill)).
    pub input_spliced: u64,
    /// Input bytes that a replaced back end's peer sent after the change.
    pub input_late: u64,
    /// Input bytes of a departed peer that did not fit in the carry buffer.
    pub input_overflowed: u64,
    /// Input bytes that a peer wanted thrown away, and nobody has read.
    pub input_purged: u64,
    /// Output bytes that are missing in the log.
    pub log_lost: u64,
    /// The holes in the log that they make.
    pub log_holes: u64,
    /// Breaks that nobody was there to take, or that were left out because nobody took them and the
    /// input around them.
    pub breaks_dropped: u64,
    /// Changes that were committed.
    pub changes: u64,
    /// Changes that were refused or failed.
    pub changes_failed: u64,
}
