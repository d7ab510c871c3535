//! Back ends that users move.

use chardev_core::spec::Options;

use super::{Msmouse, Wctablet};

impl Msmouse {
    /// The back end `msmouse`.
    #[allow(clippy::new_without_default, reason = "as with the others")]
    pub fn new() -> Self {
        Msmouse(Options::new("msmouse"))
    }
}

impl Wctablet {
    /// The back end `wctablet`.
    #[allow(clippy::new_without_default, reason = "as with the others")]
    pub fn new() -> Self {
        Wctablet(Options::new("wctablet"))
    }
}
