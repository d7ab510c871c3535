//! Waiting for the daemon: after a second it says, once, what it is waiting for and who is in the
//! way.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use chardev::text::shown;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::connect::{Address, Stream};
use super::holder::{Client, Sight, look};

/// How long a wait may take before it is spoken of.
const NOTICE: Duration = Duration::from_secs(1);
/// How many of a server's clients are named.
const NAMED: usize = 3;

/// How a command waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    /// Until when; for ever if there is no time-out.
    until: Option<(Instant, Duration)>,
    /// What the user can do meanwhile; `None` if nothing is said at all.
    escape: Option<String>,
}

impl Patience {
    /// Waits for `timeout` from now on, or for ever, and says so.
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Patience {
            until: timeout.map(|timeout| (Instant::now() + timeout, timeout)),
            escape: Some("Ctrl-C gives up".to_owned()),
        }
    }

    /// Waits for `timeout` from now on and says nothing.
    pub(super) fn silent(timeout: Duration) -> Self {
        Patience {
            until: Some((Instant::now() + timeout, timeout)),
            escape: None,
        }
    }

    /// The same, where the user can give up in other ways.
    pub(super) fn with_escape(mut self, escape: String) -> Self {
        self.escape = Some(escape);
        self
    }

    /// Counts from now on.
    pub(super) fn restart(&mut self) {
        if let Some((until, timeout)) = &mut self.until {
            *until = Instant::now() + *timeout;
        }
    }

    /// How long it waits altogether, if there is an end to it.
    pub(super) fn timeout(&self) -> Option<Duration> {
        Some(self.until?.1)
    }

    /// How much of the time is left, if it has an end.
    pub(super) fn left(&self) -> Option<Duration> {
        let (until, _) = self.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A connection.
    Connection,
    /// The monitor's first word.
    Greeting,
    /// What follows it.
    Answer,
}

/// One wait after the other for the same stream.
#[derive(Debug)]
pub(super) struct Wait {
    patience: Patience,
    /// Since when nothing has happened.
    since: Cell<Instant>,
    /// The last stage that was spoken of.
    told: Cell<Option<Stage>>,
    /// Whom the answer waits for, if that is not the daemon, and what can be done.
    peer: Option<(String, String)>,
}

impl Wait {
    /// Waits with `patience`.
    pub(super) fn new(patience: Patience) -> Self {
        Wait {
            patience,
            since: Cell::new(Instant::now()),
            told: Cell::new(None),
            peer: None,
        }
    }

    /// The answer waits for `peer`; what the user can do about it is `escape`.
    pub(super) fn answers_after(&mut self, peer: String, escape: String) {
        self.peer = Some((peer, escape));
    }

    /// Waits so long from now on.
    pub(super) fn give_up_after(&mut self, time: Duration) {
        self.patience.until = Some((Instant::now() + time, time));
    }

    /// Waits for something new.
    pub(super) fn restart(&mut self) {
        self.patience.restart();
        self.progress();
    }

    /// Something has happened.
    pub(super) fn progress(&self) {
        self.since.set(Instant::now());
    }

    /// Waits until `fd` is ready.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`], with a text for the user, when the time has passed.
    pub(super) fn until_ready(
        &self,
        fd: BorrowedFd<'_>,
        flags: PollFlags,
        stage: Stage,
        place: (&Address, Option<&Stream>),
    ) -> io::Result<()> {
        loop {
            let timeout = self.look_again_in(stage).map(timespec);
            match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], timeout.as_ref()) {
                Ok(0) => {}
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            self.look_at_the_clock(stage, place)?;
        }
    }

    /// Speaks of the wait if it is time to, and ends it if its time has passed.
    ///
    /// # Errors
    /// As [`until_ready`](Wait::until_ready).
    pub(super) fn look_at_the_clock(
        &self,
        stage: Stage,
        (address, own): (&Address, Option<&Stream>),
    ) -> io::Result<()> {
        if let Some((until, timeout)) = self.patience.until
            && until <= Instant::now()
        {
            let seconds = timeout.as_secs_f64();
            let text = self.text(stage, (address, own)).0;
            let text = format!("{text}; gave up after {seconds} s (--timeout)");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        if self.notice_in(stage) == Some(Duration::ZERO)
            && let Some(escape) = &self.patience.escape
        {
            self.told.set(Some(stage));
            let text = match self.text(stage, (address, own)) {
                (text, Some(escape)) => format!("{text}; {escape}"),
                (text, None) => format!("{text}; waiting ({escape})"),
            };
            // Who cannot hear it waits all the same, and must not keep the monitor by it.
            let text = shown(text);
            say(&format!("chardevctl: {text}\n"));
        }
        Ok(())
    }

    /// What is waited for, and what can be done if it is no daemon.
    fn text(
        &self,
        stage: Stage,
        (address, own): (&Address, Option<&Stream>),
    ) -> (String, Option<&str>) {
        let sight = look(address, own);
        let stopped = sight.server.as_ref().is_some_and(|server| server.stopped);
        match &self.peer {
            Some((peer, escape)) if stage == Stage::Answer && !stopped => {
                (format!("waiting for {peer}"), Some(escape))
            }
            _ => (describe(stage, address, &sight), None),
        }
    }

    /// How long until the clock must be looked at.
    pub(super) fn look_again_in(&self, stage: Stage) -> Option<Duration> {
        let times = [self.notice_in(stage), self.patience.left()];
        times.into_iter().flatten().min()
    }

    /// When the wait for `stage` is to be spoken of, if it is to be at all.
    fn notice_in(&self, stage: Stage) -> Option<Duration> {
        self.patience.escape.as_ref()?;
        let told = self.told.get() == Some(stage);
        (!told).then(|| NOTICE.saturating_sub(self.since.get().elapsed()))
    }
}

/// Says something on standard error, if that takes it at once.
fn say(text: &str) {
    let stderr = io::stderr();
    let now = timespec(Duration::ZERO);
    let ready = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&now));
    if ready.is_ok_and(|count| count > 0) {
        let _ = stderr.lock().write_all(text.as_bytes());
    }
}

/// Why the monitor at `address` may be silent.
fn describe(stage: Stage, address: &Address, sight: &Sight) -> String {
    let daemon = match &sight.server {
        Some(server) if server.stopped => {
            return format!(
                "{server}, which serves {address}, is stopped; 'kill -CONT {}' resumes it",
                server.pid
            );
        }
        Some(server) => server.to_string(),
        None => "the server".to_owned(),
    };
    match stage {
        Stage::Answer => format!("{daemon} at {address} has not answered yet"),
        _ if sight.accepted => {
            format!("{daemon} at {address} accepted the connection but did not send a QMP greeting")
        }
        _ => match &sight.clients[..] {
            [one] => {
                format!(
                    "the monitor at {address} serves one client at a time, and {one} is connected"
                )
            }
            [] if stage == Stage::Connection => {
                format!("{daemon} at {address} has not accepted the connection yet")
            }
            [] => format!(
                "{daemon} at {address} has not sent a greeting; another client may be connected"
            ),
            all => format!(
                "the monitor at {address} cannot serve more clients than it has: {}",
                name_all(all)
            ),
        },
    }
}

fn name_all(clients: &[Client]) -> String {
    let named: Vec<String> = clients.iter().take(NAMED).map(Client::to_string).collect();
    let named = named.join(", ");
    match clients.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// For `poll`.
pub(super) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// Reads the option `--timeout`.
pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "give seconds, such as 5 or 0.5".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        // Later than any clock can say is never.
        Ok(time) if !time.is_zero() => Ok(time.min(Duration::from_secs(u32::MAX.into()))),
        _ => Err("give a number of seconds above 0, such as 5 or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::holder::Process;

    fn process(name: &str, pid: u32, stopped: bool) -> Process {
        Process {
            pid,
            name: name.to_owned(),
            stopped,
        }
    }

    #[test]
    fn a_silent_monitor_is_explained() {
        let address = Address::Tcp("h:1".to_owned());
        let told = |stage, server: Option<Process>, accepted, clients: Vec<Client>| {
            let sight = Sight {
                server,
                accepted,
                clients,
            };
            describe(stage, &address, &sight)
        };
        let daemon = || Some(process("chardevd", 7, false));
        let virsh = || Client::Process(process("virtqemud", 8, false));
        for (text, stage, server, accepted, clients) in [
            (
                "chardevd (pid 7), which serves h:1, is stopped; 'kill -CONT 7' resumes it",
                Stage::Answer,
                Some(process("chardevd", 7, true)),
                false,
                vec![],
            ),
            (
                "the monitor at h:1 serves one client at a time, and virtqemud (pid 8) is connected",
                Stage::Greeting,
                daemon(),
                false,
                vec![virsh()],
            ),
            (
                "the monitor at h:1 cannot serve more clients than it has: another client, a client at 192.0.2.1:5, virtqemud (pid 8) and 1 more",
                Stage::Connection,
                None,
                false,
                vec![
                    Client::Unknown,
                    Client::Remote("192.0.2.1:5".parse().expect("valid")),
                    virsh(),
                    virsh(),
                ],
            ),
            (
                "chardevd (pid 7) at h:1 accepted the connection but did not send a QMP greeting",
                Stage::Greeting,
                daemon(),
                true,
                vec![virsh()],
            ),
            (
                "the server at h:1 has not sent a greeting; another client may be connected",
                Stage::Greeting,
                None,
                false,
                vec![],
            ),
            (
                "chardevd (pid 7) at h:1 has not answered yet",
                Stage::Answer,
                daemon(),
                true,
                vec![],
            ),
        ] {
            assert_eq!(told(stage, server, accepted, clients), text);
        }
    }

    #[test]
    fn a_time_out_is_some_seconds() {
        assert_eq!(parse_timeout("0.25"), Ok(Duration::from_millis(250)));
        assert!(parse_timeout("1e300").is_err() && parse_timeout("1e12").is_ok());
        for text in ["0", "-1", "nan", "inf", "5s", ""] {
            assert!(parse_timeout(text).is_err(), "{text:?}");
        }
    }
}
