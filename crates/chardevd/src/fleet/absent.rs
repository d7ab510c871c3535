//! What a build has that takes no part in fleets: words for those who ask for it.

use std::convert::Infallible;

use chardev::back::OpenContext;
use chardev::{Backend, Chardevs, OpenError};
use chardev_monitor::{OwnCommand, Server};

use super::Gauges;
use crate::config::Table;
use crate::kinds::Called;

/// What it lacks.
pub(crate) const LACKS: &str = "this chardevd was built without fleets";

/// There are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings(Infallible);

/// In no fleet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Membership(());

impl Membership {
    pub(crate) fn open(&self, _server: &Server, _table: &Table) {}

    pub(crate) fn expect(&self, _wanted: Option<&Settings>) {}

    pub(crate) fn set(&self, _wanted: Option<Settings>) {}

    pub(crate) fn finish(&self) {}

    pub(crate) fn gauges(&self, _chardevs: &Chardevs) -> Option<Gauges> {
        None
    }

    pub(crate) fn commands(&self) -> [OwnCommand; 3] {
        let lacks = || std::future::ready(Err(LACKS.into()));
        super::commands(|_| Err(LACKS.into()), move |_| lacks(), move |_, _| lacks())
    }
}

/// There are no peers either.
pub(crate) async fn open(
    _called: Option<Called>,
    _context: &OpenContext,
) -> Result<Box<dyn Backend>, OpenError> {
    Err(LACKS.into())
}
