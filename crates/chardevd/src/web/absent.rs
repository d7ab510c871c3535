//! What a build has that is without the page: words for those who ask for it.

use std::convert::Infallible;

use chardev_monitor::{OwnCommand, Server};

/// What it lacks.
pub(crate) const LACKS: &str = "this chardevd was built without the web page";

/// There are none.
pub(crate) type Settings = Infallible;

/// No page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page;

impl Page {
    pub(crate) fn open(&self, _server: &Server) {}

    pub(crate) fn settle(&self) {}

    pub(crate) async fn prepare(&self, _wanted: Option<Settings>) -> Result<(), String> {
        Ok(())
    }

    pub(crate) fn set(&self, _prepared: ()) {}

    pub(crate) fn finish(&self) {}

    pub(crate) fn commands(&self) -> [OwnCommand; 1] {
        [OwnCommand::new("x-web-link", |_, _| Err(LACKS.into())).open_to_everybody()]
    }
}
