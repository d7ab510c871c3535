//! The monitor connection beside an attached terminal: commands without waiting, and events of the
//! console.
//!
//! A monitor may take one client at a time, and an attached terminal must not keep it. So we have
//! one of our own, over a socket pair that was handed to the daemon.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use chardev_qapi::{Json, Object};
use chardev_qmp::client::{ClientError, Event};

use crate::ctl::connect::Monitor;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Link {
    monitor: Monitor,
    /// What the command under way is called.
    asked: Option<&'static str>,
    gone: bool,
}

/// What came from the monitor.
#[derive(Debug)]
pub(super) enum Heard {
    /// An event.
    Event(Event),
    /// A command has been answered, by what it is called.
    Answer(&'static str, Json),
    /// A command failed, by what it is called, and what to say about that.
    Failed(&'static str, String),
    /// The daemon is gone.
    Gone,
}

impl Link {
    /// Over a negotiated monitor.
    pub(super) fn new(mut monitor: Monitor) -> Self {
        monitor.stream_mut().never_wait();
        Link {
            monitor,
            asked: None,
            gone: false,
        }
    }

    /// What to poll for input, as long as anything may come.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.gone).then(|| self.monitor.stream().as_fd())
    }

    /// Whether it takes a command.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_none() && !self.gone
    }

    /// Sends a command, if [idle](Link::is_idle), that is called `what` if it fails.
    pub(super) fn ask(&mut self, what: &'static str, command: &str, arguments: Object) {
        if self.is_idle() {
            // One command is smaller than any socket's buffer; an error is seen when reading.
            let sent = self.monitor.send(command, arguments);
            self.asked = sent.is_ok().then_some(what);
        }
    }

    /// Whether the daemon is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// What has come.
    pub(super) fn take_news(&mut self) -> Vec<Heard> {
        let mut news = Vec::new();
        while !self.gone {
            let result = match self.asked {
                Some(what) => self
                    .monitor
                    .receive()
                    .map(|answer| news.push(Heard::Answer(what, answer))),
                None => self
                    .monitor
                    .next_event()
                    .map(|event| news.push(Heard::Event(event))),
            };
            news.extend(self.monitor.take_events().into_iter().map(Heard::Event));
            match (result, self.asked) {
                (Err(ClientError::Io(error)), _) if error.kind() == ErrorKind::WouldBlock => break,
                (Err(ClientError::Command(error)), Some(what)) => {
                    news.push(Heard::Failed(what, format!("{what} failed: {error}")));
                    self.asked = None;
                }
                (Err(_), _) => {
                    self.gone = true;
                    news.push(Heard::Gone);
                }
                (Ok(()), _) => self.asked = None,
            }
        }
        news
    }
}
