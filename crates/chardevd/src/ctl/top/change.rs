//! A change that was asked for with a key, over a link of its own: a server may wait for its first
//! client (`wait=on`) for ever, and the screen does not.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use chardev::text::shown;
use rustix::net::Shutdown;

use crate::ctl::backend::{backend_json, first_client_at};
use crate::ctl::connect::Target;
use crate::ctl::failure::Failure;
use crate::ctl::waiting::Patience;

/// Most changes are done by then.
const SHORT: Duration = Duration::from_millis(300);
/// How long the daemon may take to tell what became of one that is given up.
const LAST: Duration = Duration::from_secs(1);

/// A change that has begun.
#[derive(Debug)]
pub(super) struct Changing {
    id: String,
    /// Where a first client is waited for.
    place: Option<String>,
    /// The link, whose end gives the change up.
    link: OwnedFd,
    outcome: Receiver<Result<String, String>>,
}

impl Changing {
    /// Asks for `line` as the back end of chardev `id`.
    ///
    /// # Errors
    /// What is wrong with the line, or the daemon cannot be asked.
    pub(super) fn begin(target: &Target, id: &str, line: &str) -> Result<Self, Failure> {
        let backend = backend_json(line, target.address.directory().as_deref())?;
        let place = first_client_at(&backend);
        // It says nothing by itself, which would be in the middle of the screen.
        let target = Target {
            patience: Patience::default(),
            ..target.clone()
        };
        let mut monitor = target.private(|_| Ok(()))?;
        let failed = |error: io::Error| Failure::from(format!("cannot ask for a change: {error}"));
        let link = monitor.stream().as_fd().try_clone_to_owned();
        let link = link.map_err(failed)?;
        let (told, outcome) = channel();
        let changed = id.to_owned();
        let ask = move || {
            let outcome = monitor.chardev_change(&changed, backend);
            let outcome = match outcome {
                Ok(Some(pty)) => Ok(format!("changed to {}", shown(pty))),
                Ok(None) => Ok("changed".to_owned()),
                Err(error) => Err(target.failed(&error).to_string()),
            };
            // Nobody wants to know who has left.
            let _ = told.send(outcome);
        };
        std::thread::Builder::new().spawn(ask).map_err(failed)?;
        Ok(Changing {
            id: shown(id).to_string(),
            place,
            link,
            outcome,
        })
    }

    /// What became of it, if that is known a moment from now.
    pub(super) fn soon(&self) -> Option<String> {
        self.told(self.outcome.recv_timeout(SHORT).ok()?)
    }

    /// What became of it, if that is known.
    pub(super) fn now(&self) -> Option<String> {
        self.told(self.outcome.try_recv().ok()?)
    }

    fn told(&self, outcome: Result<String, String>) -> Option<String> {
        let text = outcome.unwrap_or_else(|error| error.replace('\n', "; "));
        Some(format!("{}: {text}", self.id))
    }

    /// What is waited for, and what can be done about it.
    pub(super) fn waits(&self) -> String {
        let id = &self.id;
        match &self.place {
            Some(place) => format!(
                "{id}: waits for the first client at {place}; Esc gives up (wait=off goes on without)"
            ),
            None => format!("{id}: being changed; Esc gives up"),
        }
    }

    /// Gives it up, and tells what became of it: it may have been done just now.
    pub(super) fn give_up(self) -> String {
        // It fails only if the link has ended by itself.
        let _ = rustix::net::shutdown(&self.link, Shutdown::Both);
        match self.outcome.recv_timeout(LAST) {
            Ok(Ok(text)) => format!("{}: {text}", self.id),
            _ => format!("{}: given up", self.id),
        }
    }
}
