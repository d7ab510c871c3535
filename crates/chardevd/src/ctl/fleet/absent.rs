//! What a build without fleets says of them.

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::PollFlags;

use super::Options;
use crate::ctl::failure::{Failure, Status};
use crate::ctl::tls::Plain;
use crate::ctl::{events, list, play, watch};

/// What waits for sessions: there are none.
#[derive(Debug)]
pub(crate) enum Driver {}

impl Driver {
    pub(in crate::ctl) fn poll(
        &mut self,
        _wanted: &[(BorrowedFd<'_>, PollFlags)],
        _timeout: Option<Duration>,
    ) -> io::Result<Vec<PollFlags>> {
        match *self {}
    }
}

/// A host of a fleet: there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {}

impl Place {
    pub(super) fn new(
        _options: &Options,
        _host: &str,
        _timeout: Option<Duration>,
    ) -> Result<Place, Failure> {
        Err(lacks())
    }

    pub(in crate::ctl) fn connect(&self) -> io::Result<Plain> {
        match *self {}
    }

    pub(in crate::ctl) fn join(
        &self,
        _key: &str,
        _half_close: bool,
    ) -> Result<UnixStream, Failure> {
        match *self {}
    }

    pub(in crate::ctl) fn failure(&self, _error: &io::Error) -> Option<Failure> {
        match *self {}
    }

    pub(in crate::ctl) fn arguments(&self) -> Vec<OsString> {
        match *self {}
    }

    pub(in crate::ctl) fn leave_on_signals(&self) {
        match *self {}
    }

    pub(in crate::ctl) fn drive(&self) -> Option<Driver> {
        match *self {}
    }

    pub(in crate::ctl) fn finish(&self) {
        match *self {}
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

pub(super) fn list(
    _options: &Options,
    _timeout: Option<Duration>,
    _args: &list::Args,
) -> Result<(), Failure> {
    Err(lacks())
}

pub(super) fn watch(
    _options: &Options,
    _timeout: Option<Duration>,
    _args: &watch::Args,
) -> Result<(), Failure> {
    Err(lacks())
}

pub(super) fn history(
    _options: &Options,
    _timeout: Option<Duration>,
    _args: &watch::HistoryArgs,
) -> Result<(), Failure> {
    Err(lacks())
}

pub(super) fn events(
    _options: &Options,
    _timeout: Option<Duration>,
    _args: &events::Args,
) -> Result<(), Failure> {
    Err(lacks())
}

pub(super) fn play(
    _options: &Options,
    _timeout: Option<Duration>,
    _args: &play::Args,
    _written: &str,
) -> Result<(), Failure> {
    Err(lacks())
}

pub(super) fn connect(
    _options: &Options,
    _timeout: Option<Duration>,
    _written: &str,
) -> Result<(), Failure> {
    Err(lacks())
}

pub(super) fn names(_options: &Options, _limit: Duration) -> Vec<(String, String)> {
    Vec::new()
}

fn lacks() -> Failure {
    let text = "this chardevctl was built without fleets, which --fleet and CHARDEV_FLEET name";
    Failure::new(Status::Usage, text)
        .with_hint("build one that has them: cargo build --release --features chardevd/fleet")
}

#[cfg(test)]
mod tests {
    use super::lacks;

    #[test]
    fn a_build_without_fleets_says_how_to_get_one() {
        let said = lacks().to_string();
        assert!(said.contains("built without fleets"), "{said}");
        assert!(said.contains("--features chardevd/fleet"), "{said}");
    }
}
