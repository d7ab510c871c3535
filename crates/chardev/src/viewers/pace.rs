//! front → [chardev: scrollback] → viewers: how much of the machine they may have.
//!
//! Low priority alone does not bound what viewers cost, since whoever reads what they are sent has
//! a priority of its own. So their thread rests between its rounds. With CPUs to spare it rests
//! just long enough for small pieces to come in one wake-up, and not at all while there is more to
//! send. The kernel says whether there are any to spare: a thread of the lowest priority waits for
//! its CPU as soon as somebody else wants it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The shortest rest once everybody has everything.
const REST: Duration = Duration::from_millis(2);
/// On a busy machine a rest is at least this many times as long as the round before it.
const REST_FACTOR: u32 = 3;
/// The machine is busy if, of the time of a round, more than one part in this many was spent on
/// waiting for a CPU.
const SPARE: u64 = 8;

/// How long the thread that made it is to rest.
#[derive(Debug)]
pub(super) struct Pace {
    /// Two numbers of the calling thread (`proc_pid_schedstat`): nanoseconds on a CPU, and waiting
    /// for one. A kernel without it is taken to be busy.
    schedstat: Option<File>,
    ran: u64,
    waited: u64,
    busy: bool,
}

impl Pace {
    /// To be made on the thread it is for.
    pub(super) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "procfs waits for no disk")]
        let schedstat = File::open("/proc/thread-self/schedstat").ok();
        let mut pace = Pace {
            schedstat,
            ran: 0,
            waited: 0,
            busy: true,
        };
        pace.judge(pace.look());
        pace
    }

    /// The rest after a round of this length; `more` if not everybody has got what there is.
    pub(super) fn rest(&mut self, round: Duration, more: bool) -> Duration {
        self.judge(self.look());
        match (self.busy, more) {
            (true, _) => REST.max(round * REST_FACTOR),
            (false, true) => Duration::ZERO,
            (false, false) => REST,
        }
    }

    fn look(&self) -> Option<(u64, u64)> {
        let mut buf = [0; 64];
        let count = self.schedstat.as_ref()?.read_at(&mut buf, 0).ok()?;
        parse(&buf[..count])
    }

    fn judge(&mut self, numbers: Option<(u64, u64)>) {
        let Some((ran, waited)) = numbers else {
            self.busy = true;
            return;
        };
        let newly_ran = ran.saturating_sub(self.ran);
        let newly_waited = waited.saturating_sub(self.waited);
        self.busy = newly_waited * SPARE > newly_ran + newly_waited;
        (self.ran, self.waited) = (ran, waited);
    }
}

fn parse(text: &[u8]) -> Option<(u64, u64)> {
    let mut numbers = std::str::from_utf8(text).ok()?.split_whitespace();
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// What `schedstat` says from one look to the next, and whether the machine is busy then.
    #[test]
    fn who_waits_for_a_cpu_is_on_a_busy_machine() {
        let mut pace = Pace {
            schedstat: None,
            ran: 0,
            waited: 0,
            busy: true,
        };
        for (says, busy) in [
            ("1000000 0 1\n", false),
            ("2000000 100000 2\n", false),
            ("3000000 1100000 3\n", true),
            ("3000000 1100000 3\n", false),
            ("4000000 2100000 4\n", true),
            ("9000000 2100000 5\n", false),
            ("nonsense", true),
        ] {
            pace.judge(parse(says.as_bytes()));
            assert_eq!(pace.busy, busy, "{says}");
        }
        let (none, round) = (Duration::ZERO, Duration::from_millis(10));
        for more in [true, false] {
            assert_eq!(pace.rest(round, more), round * 3);
            assert_eq!(pace.rest(none, more), REST);
        }
    }

    #[test]
    fn this_kernel_says_how_long_a_thread_waits() {
        let mut pace = Pace::new();
        assert!(pace.schedstat.is_some(), "no /proc/thread-self/schedstat");
        let (began, before) = (Instant::now(), pace.ran);
        while pace.ran == before {
            pace.judge(pace.look());
            assert!(began.elapsed() < Duration::from_secs(20));
        }
    }
}
