//! What all monitors of a server share.

use std::ops::Deref;
use std::sync::Arc;

use chardev::Chardevs;
use chardev_qmp::{Own, Version};

use crate::access::Access;
use crate::attached::Attached;
use crate::devices::Devices;
use crate::event_forwarder::Forwarder;
use crate::events::Events;
use crate::fds::FdSets;
use crate::monitors::Monitors;
use crate::options::CommandLineOption;
use crate::own::OwnCommand;
use crate::run::RunState;
use crate::stop::Stop;
use crate::tunnels::Tunnels;

/// Clones share everything: each command that is carried out has one. It keeps no thread alive:
/// that is for the server.
#[derive(Clone, Debug)]
pub(crate) struct Service(Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) chardevs: Chardevs,
    /// What `query-name` answers.
    pub(crate) name: Option<String>,
    pub(crate) version: Version,
    /// What the program adds to the commands and events.
    pub(crate) own_commands: Arc<[OwnCommand]>,
    /// The same as sessions want it.
    pub(crate) own: Arc<Own>,
    pub(crate) options: &'static [CommandLineOption],
    pub(crate) events: Events,
    /// What tells them of the chardevs.
    pub(crate) forwarder: Arc<Forwarder>,
    pub(crate) access: Access,
    pub(crate) attached: Attached,
    pub(crate) stop: Stop,
    pub(crate) run: RunState,
    pub(crate) fdsets: FdSets,
    pub(crate) monitors: Monitors,
    pub(crate) tunnels: Tunnels,
    pub(crate) devices: Arc<dyn Devices>,
}

impl From<Parts> for Service {
    fn from(parts: Parts) -> Self {
        Service(Arc::new(parts))
    }
}

impl Deref for Service {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
