//! When the next token expires, by the clock of the host: also if that is set, or stood still.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;

use chardev::async_fd;
use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use super::{Tokens, seconds};

/// A timer of the kernel's that goes by the time of day (`timerfd_create(2)`).
#[derive(Debug)]
pub(crate) struct Clock(OwnedFd);

impl Clock {
    /// # Errors
    /// The process is out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Clock(timerfd_create(TimerfdClockId::Realtime, flags)?))
    }
}

impl Tokens {
    /// Has all who live by a token look at their rights whenever one may have expired, for as long
    /// as the runtime runs.
    pub(crate) async fn tell_expiry(self, clock: Clock) {
        let mut changed = self.changed.subscribe();
        // A timer can be polled.
        let Ok(clock) = async_fd(clock.0) else {
            return;
        };
        let mut told = seconds();
        loop {
            // A clock that was wrong may have been set back while there was nothing to wait for.
            told = told.min(seconds());
            let ends = self.list();
            let ends = ends.iter().filter_map(|token| token.expires);
            // What ended since was not told, even if it is over by now.
            set(&clock, ends.filter(|end| *end > told).min());
            tokio::select! {
                // We have the sender, so it is there.
                _ = changed.changed() => {}
                () = due(&clock) => {
                    told = seconds();
                    self.changed.send_replace(());
                }
            }
        }
    }
}

/// To be due at `end`, and as soon as the clock is set; never without an end.
fn set(clock: &AsyncFd<OwnedFd>, end: Option<u64>) {
    let none = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let at = |end| Timespec {
        tv_sec: i64::try_from(end).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let spec = Itimerspec {
        it_interval: none,
        it_value: end.map_or(none, at),
    };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    // Its one error is that the clock was set meanwhile, which `due` tells as well.
    let _ = timerfd_settime(clock, flags, &spec);
}

async fn due(clock: &AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut ready) = clock.readable().await else {
            return pending().await;
        };
        match read(clock, &mut [0; 8]) {
            Err(Errno::AGAIN) => ready.clear_ready(),
            // One error is that the clock was set.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::Role;
    use crate::tokens::{Digest, Token};

    #[test]
    fn each_end_is_told_when_it_has_come_and_not_before() {
        let token = |number: u8, expires| Token {
            name: format!("t{number}"),
            digest: Digest([number; 32]),
            role: Role::View,
            consoles: None,
            created: 0,
            expires,
        };
        let now = seconds();
        let all = [Some(now + 3), None, Some(now + 1), Some(now - 1)];
        let tokens = Tokens::default();
        tokens.set((0..).zip(all).map(|(at, end)| token(at, end)).collect());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let clock = Clock::new().unwrap();
            let mut changed = tokens.changed.subscribe();
            tokio::spawn(tokens.clone().tell_expiry(clock));
            for end in [now + 1, now + 3] {
                let limit = Duration::from_secs(20);
                let told = tokio::time::timeout(limit, changed.changed()).await;
                told.expect("it is told").unwrap();
                assert!(seconds() >= end, "{end} has not come");
            }
        });
    }
}
