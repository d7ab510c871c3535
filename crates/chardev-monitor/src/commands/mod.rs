//! Carries out the commands of a monitor's client, in QEMU's words.
//!
//! Each file has the commands that are its own, and gives back the others. `output.rs`, the last
//! one that is asked, names those, so that the compiler finds a command that nobody has.

#[cfg(feature = "tokens")]
pub(crate) mod authenticate;
mod chardevs;
mod descriptors;
mod export;
#[cfg(feature = "input")]
mod input;
mod marks;
#[cfg(feature = "tls")]
pub(crate) mod objects;
mod output;
mod program;
#[cfg(feature = "vc")]
pub(crate) mod screens;
mod tasks;
mod tunnel;
mod typing;

use std::error::Error;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev::Info;
use chardev::back::FdSource;
use chardev_qapi::{ErrorKind, Json, Object, QmpError};
use chardev_qmp::Command;

use crate::access::{Need, Role, audit};
use crate::caller::Caller;
use crate::own::{Answer, OwnCommand};

/// Commands of ours that are made like a program's own: types and work in one file. To add one,
/// write its file and name it here.
pub(crate) fn ours() -> Vec<OwnCommand> {
    let ours = vec![
        export::command(),
        tasks::command(),
        typing::command(),
        marks::command(),
    ];
    let ours = [ours, tunnel::commands().into()].concat();
    #[cfg(feature = "tls")]
    let ours = [ours, objects::commands().into()].concat();
    #[cfg(feature = "tokens")]
    let ours = [ours, vec![authenticate::command()]].concat();
    #[cfg(feature = "vc")]
    let ours = [ours, screens::commands().into()].concat();
    #[cfg(feature = "input")]
    let ours = [ours, vec![input::command()]].concat();
    ours
}

/// What a command comes to; or the command, for the next file to try.
type Tried = Result<Answer, Command>;

impl Caller {
    /// Carries out `command`. `sent` is the descriptor that came with it, if any.
    ///
    /// May wait for as long as opening a back end takes; dropping the future gives the command up.
    /// `quit` only answers: ending is for the caller.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn run(self, command: Command, sent: Option<OwnedFd>) -> Answer {
        let need = self.permit(&command)?;
        let answer = self.carry_out(command, sent).await?;
        Ok(self.visible(&need, answer))
    }

    /// What `command` needs, of a client that has it.
    ///
    /// # Errors
    /// It has not.
    pub(crate) fn permit(&self, command: &Command) -> Result<Need, QmpError> {
        let need = self.need(command);
        let permitted = self.service.access.check(&self.client, &need);
        audit(self, command, &need, permitted.is_ok());
        permitted.map(|()| need)
    }

    async fn carry_out(&self, command: Command, sent: Option<OwnedFd>) -> Answer {
        let command = match self.try_descriptors(command, sent) {
            Ok(answer) => return answer,
            Err(command) => command,
        };
        let command = match self.try_program(command).await {
            Ok(answer) => return answer,
            Err(command) => command,
        };
        let command = match self.try_chardevs(command).await {
            Ok(answer) => return answer,
            Err(command) => command,
        };
        let tried = self.try_output(command);
        tried.unwrap_or_else(|command| Err(format!("no handler for {command:?}").into()))
    }

    /// What of an answer the client may see.
    fn visible(&self, need: &Need, answer: Json) -> Json {
        let sees_all = || self.service.access.allows(&self.client, Role::View, None);
        match answer {
            Json::Array(mut list) if *need == Need::List && !sees_all() => {
                list.retain(|part| self.service.access.shows(&self.client, part));
                Json::Array(list)
            }
            answer => answer,
        }
    }

    fn source(&self) -> Arc<dyn FdSource> {
        Arc::clone(&self.fds) as Arc<dyn FdSource>
    }
}

fn chardev_return(info: &Info) -> Json {
    match &info.pty {
        Some(pty) => Object::new().with("pty", pty.as_str()).into(),
        None => Json::empty(),
    }
}

pub(crate) fn not_found(id: &str) -> QmpError {
    QmpError::generic(format!("Chardev '{id}' not found")).of_kind(ErrorKind::NotFound)
}

fn generic(error: impl Error + Send + Sync + 'static) -> QmpError {
    QmpError::because(error)
}

/// The answer to a command that returns nothing.
fn done<E: Error + Send + Sync + 'static>(result: Result<(), E>) -> Answer {
    result.map(|()| Json::empty()).map_err(generic)
}
