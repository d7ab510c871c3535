//! Who asks for a command, and with what.

use std::sync::Arc;

use crate::fds::NamedFds;
use crate::monitors::Client;
use crate::service::Service;

/// A client of a monitor, or the program itself: what a command is carried out for.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(crate) service: Service,
    /// The descriptors of the monitor.
    pub(crate) fds: Arc<NamedFds>,
    pub(crate) client: Arc<Client>,
}
