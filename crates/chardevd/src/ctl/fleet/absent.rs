//! What a build without fleets says of them.

use std::time::Duration;

use super::Options;
use crate::ctl::failure::{Failure, Status};
use crate::ctl::{list, watch};

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

pub(super) fn names(_options: &Options, _limit: Duration) -> Vec<String> {
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
