//! A console's output for whoever waits for something in it, and the end of its program.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use chardev::text::shown;
use chardev_qapi::Object;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::scan::Scanner;
use crate::ctl::attach::{Reason, what_is_behind};
use crate::ctl::connect::{Monitor, Target};
use crate::ctl::failure::{Failure, Status};
use crate::ctl::frames::{Frame, Frames};
use crate::ctl::waiting::timespec;
use crate::ctl::watch::{revoked, view};

/// How long the last output of a program may take that has ended.
const SILENCE: Duration = Duration::from_millis(200);

/// See the [module](self).
pub(super) struct Source {
    id: String,
    viewer: UnixStream,
    frames: Frames,
    /// For events.
    monitor: Monitor,
    /// The user named the offset at which it begins, and nothing has come yet.
    strict: bool,
    /// Nothing more is to be expected, for this reason.
    over: Option<Reason>,
}

impl Source {
    /// The output of chardev `id` from an offset on, and that offset.
    ///
    /// # Errors
    /// There is none, or the offset has not been reached.
    pub(super) fn open(
        target: &Target,
        id: &str,
        from: Option<i64>,
    ) -> Result<(Source, u64), Failure> {
        let mut monitor = target.private(|_| Ok(()))?;
        let failed = |error| target.failed(&error);
        let events = Object::new().with("enable", true);
        monitor
            .execute("x-chardev-events", events)
            .map_err(failed)?;
        let (viewer, offset) = view(target, &mut monitor, id, from, false)?;
        viewer
            .set_nonblocking(true)
            .map_err(|error| format!("socket pair: {error}"))?;
        let mut source = Source {
            id: id.to_owned(),
            viewer,
            frames: Frames::default(),
            strict: from.is_none_or(|from| from >= 0),
            over: what_is_behind(&mut monitor, id).1,
            monitor,
        };
        source.take_events();
        Ok((source, offset))
    }

    /// Waits for more output; `false` when the time has come.
    ///
    /// # Errors
    /// Output is missing, or no more is to come.
    pub(super) fn read(
        &mut self,
        until: Option<Instant>,
        scanner: &mut Scanner,
    ) -> Result<bool, Failure> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.viewer.read(&mut buffer) {
                Ok(0) => return Err(self.gone()),
                Ok(count) => {
                    self.take(&buffer[..count], scanner)?;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(self.gone()),
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            let silence = self.over.as_ref().map(|_| SILENCE);
            let least = [left, silence].into_iter().flatten().min();
            if !self.wait(least)? && silence.is_some() && least == silence {
                return Err(self.ended());
            }
        }
    }

    /// Fails if nobody is left who would read what is typed.
    pub(super) fn check_reader(&mut self) -> Result<(), Failure> {
        self.wait(Some(Duration::ZERO))?;
        match self.over {
            Some(_) => Err(self.ended()),
            None => Ok(()),
        }
    }

    /// Waits for output or an event; `false` when the time has passed.
    fn wait(&mut self, time: Option<Duration>) -> Result<bool, Failure> {
        let stream = self.monitor.stream();
        let mut fds = vec![PollFd::new(&self.viewer, PollFlags::IN)];
        if self.over.is_none() {
            fds.push(PollFd::new(stream, PollFlags::IN));
        }
        match poll(&mut fds, time.map(timespec).as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(format!("poll: {error}").into()),
        }
        let heard = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        if heard {
            match self.monitor.next_event() {
                Ok(event) => self.over = Reason::of_event(&event, &self.id),
                Err(_) => self.over = Some(Reason::Daemon),
            }
            self.take_events();
        }
        Ok(true)
    }

    fn take_events(&mut self) {
        for event in self.monitor.take_events() {
            if self.over.is_none() {
                self.over = Reason::of_event(&event, &self.id);
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], scanner: &mut Scanner) -> Result<(), Failure> {
        let id = shown(&self.id).to_string();
        while let Some(frame) = self.frames.next(&mut bytes)? {
            match frame {
                Frame::Data(data) => {
                    scanner.push(data);
                    self.strict = true;
                }
                Frame::Gap(from, to) if self.strict => return Err(missing(&id, from, to)),
                Frame::Gap(_, to) => {
                    scanner.skip_to(to);
                    self.strict = true;
                }
                Frame::TooSlow(behind) => {
                    return Err(format!("{id}: {behind} bytes were not looked at in time").into());
                }
                Frame::Revoked => return Err(revoked(&self.id)),
                Frame::Removed => {
                    return Err(Failure::new(Status::Removed, format!("{id} was removed")));
                }
            }
        }
        Ok(())
    }

    fn gone(&self) -> Failure {
        let id = shown(&self.id);
        Failure::new(Status::NoDaemon, format!("{id}: the daemon is gone"))
    }

    fn ended(&self) -> Failure {
        let ended = self.over.as_ref().map(|reason| reason.result(&self.id));
        match ended {
            Some(Err(failure)) => failure,
            _ => self.gone(),
        }
    }
}

fn missing(id: &str, from: u64, to: u64) -> Failure {
    let text = format!(
        "{id}: the output from offset {from} to {to} is no longer kept\nkeep more with the option x-history=SIZE, now by: chardevctl qmp x-chardev-set '{{\"id\": \"{id}\", \"x-history\": 1048576}}'"
    );
    text.into()
}
