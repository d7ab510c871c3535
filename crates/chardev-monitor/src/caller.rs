//! The client a command is carried out for, and what came with the command.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev::Chardevs;
use chardev::back::FdSource;
use chardev_qapi::{Json, Object, QmpError};
use chardev_qmp::Command;

use crate::access::{Access, Identity, Role};
use crate::client::Client;
use crate::events::Events;
use crate::fds::NamedFds;
use crate::own::Answer;
use crate::run::RunState;
use crate::service::Service;
use crate::stop::Stop;

/// A client of a monitor, or the program itself: what a command is carried out for.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(crate) service: Service,
    /// The descriptors of the monitor.
    pub(crate) fds: Arc<NamedFds>,
    pub(crate) client: Arc<Client>,
}

impl Caller {
    /// The chardevs of the program.
    pub fn chardevs(&self) -> &Chardevs {
        &self.service.chardevs
    }

    /// Where events are told.
    pub fn events(&self) -> &Events {
        &self.service.events
    }

    /// The wish to end.
    pub fn stop(&self) -> &Stop {
        &self.service.stop
    }

    /// Whether devices run.
    pub fn run_state(&self) -> &RunState {
        &self.service.run
    }

    /// The descriptor that the client has sent and called `name` with `getfd`. It is the caller's
    /// from here on.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn take_fd(&self, name: &str) -> Result<OwnedFd, QmpError> {
        Ok(self.fds.take(name)?)
    }

    /// Who asks, for people: `chardevctl (pid 4711, uid 0)`, or what is known of that.
    pub fn who(&self) -> String {
        self.client.title()
    }

    /// Who may what, and the tokens there are.
    pub fn access(&self) -> &Access {
        &self.service.access
    }

    /// Who asks, as far as they have proven it.
    pub fn identity(&self) -> Identity {
        self.client.identity()
    }

    /// Whether they have `role` for chardev `id`, or for all of them.
    pub fn may(&self, role: Role, id: Option<&str>) -> bool {
        self.service.access.allows(&self.client, role, id)
    }

    /// Waits until they have not (any more) `role` for chardev `id`: for what goes on after the
    /// command that began it.
    pub async fn lost(&self, role: Role, id: &str) {
        self.service.access.lost(&self.identity(), role, id).await;
    }

    /// Whether they may know of what `told` is about: the data of an event, or a part of an answer.
    pub fn sees(&self, told: &Json) -> bool {
        self.service.access.shows(&self.client, told)
    }

    /// Carries out the command `name`, as for a client that sends it.
    ///
    /// # Errors
    /// What the client would be told; also if it is a command that concerns only the session.
    pub async fn execute(self, name: &str, arguments: Object) -> Answer {
        let kinds = self.service.chardevs.kinds();
        let command = self.service.own.command(name, arguments, &kinds)?;
        self.run(command, None).await
    }

    /// Holds what `command` needs against what the client may, as [`Caller::run`] does, and tells
    /// the log of it: for a program that does itself what the command stands for.
    ///
    /// # Errors
    /// What is missing, in the words for the client.
    pub fn check(&self, command: &Command) -> Result<(), QmpError> {
        self.permit(command).map(drop)
    }

    /// The same client with no descriptors, for when its monitor is no more.
    #[must_use]
    pub fn apart(&self) -> Caller {
        Caller {
            fds: Arc::new(NamedFds::new(self.service.fdsets.clone())),
            ..self.clone()
        }
    }
}
