//! Commands and events that the owner of a session adds to the tables.

use std::sync::Arc;

use chardev_qapi::schema::{Entry, Mismatch, ObjectType, Type};
use chardev_qapi::spec::KindSpec;
use chardev_qapi::{Json, Object, ParameterError, QmpError, check_arguments};

use crate::command::Command;
use crate::table::{Action, CommandSpec};

/// What a session has to know of a command of its owner's.
#[derive(Clone, Debug)]
pub struct OwnCommand {
    /// Its name.
    pub name: &'static str,
    /// Whether it may be run with `exec-oob`, ahead of what is queued.
    pub allow_oob: bool,
    /// What it takes and what it returns. Without this it is not in the schema, and the owner gets
    /// whatever arguments the client sends.
    pub schema: Option<(ObjectType, Type)>,
}

/// What the schema has to know of an event of the owner's.
#[derive(Clone, Debug)]
pub struct OwnEvent {
    /// Its name.
    pub name: &'static str,
    /// Its data.
    pub data: ObjectType,
}

/// All that an owner adds, for [`Session::with_own`](crate::Session::with_own).
#[derive(Clone, Debug, Default)]
pub struct Own {
    commands: Vec<Arc<OwnCommand>>,
    events: Vec<OwnEvent>,
}

impl Own {
    /// These commands and events.
    pub fn new(commands: impl IntoIterator<Item = OwnCommand>, events: Vec<OwnEvent>) -> Self {
        Own {
            commands: commands.into_iter().map(Arc::new).collect(),
            events,
        }
    }

    /// The command `name` with `arguments`, checked as a session does, for an owner who carries it
    /// out without one; these kinds of back end exist.
    ///
    /// # Errors
    /// There is none of that name that an owner carries out, or the arguments are wrong.
    pub fn command(
        &self,
        name: &str,
        arguments: Object,
        kinds: &[&'static KindSpec],
    ) -> Result<Command, QmpError> {
        let not_found =
            || QmpError::command_not_found(format!("The command {name} has not been found"));
        let known = Known::find(name, self).ok_or_else(not_found)?;
        match known.read(arguments, kinds)? {
            Action::External(command) => Ok(command),
            _ => Err(not_found()),
        }
    }

    /// The names of the commands.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.commands.iter().map(|command| command.name)
    }

    /// What has a schema, the commands first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let commands = self.commands.iter().filter_map(|command| command.entry());
        let events = self.events.iter().map(|event| Entry {
            name: event.name,
            arguments: event.data.clone(),
            returns: None,
            allow_oob: false,
            features: &[],
        });
        commands.chain(events).collect()
    }
}

impl OwnCommand {
    fn entry(&self) -> Option<Entry> {
        let (takes, returns) = self.schema.clone()?;
        Some(Entry {
            name: self.name,
            arguments: takes,
            returns: Some(returns),
            allow_oob: self.allow_oob,
            features: &[],
        })
    }
}

/// A command that there is, whoever brought it.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    Ours(&'static CommandSpec),
    Own(Arc<OwnCommand>),
}

impl Known {
    pub(crate) fn find(name: &str, own: &Own) -> Option<Known> {
        let found = own.commands.iter().find(|command| command.name == name);
        match found {
            Some(found) => Some(Known::Own(Arc::clone(found))),
            None => CommandSpec::find(name).map(Known::Ours),
        }
    }

    /// Its name, and whether it may be run out of band.
    pub(crate) fn allows_oob(&self) -> (&'static str, bool) {
        match self {
            Known::Ours(spec) => (spec.name, spec.allow_oob),
            Known::Own(own) => (own.name, own.allow_oob),
        }
    }

    /// Checks the arguments.
    pub(crate) fn read(
        &self,
        arguments: Object,
        kinds: &[&'static KindSpec],
    ) -> Result<Action, ParameterError> {
        match self {
            Known::Ours(spec) => spec.read(&arguments, kinds),
            Known::Own(own) => {
                if let Some((takes, _)) = &own.schema {
                    check_arguments(&arguments, takes)?;
                }
                let name = own.name;
                Ok(Action::External(Command::Own { name, arguments }))
            }
        }
    }

    /// What is wrong with an answer, if anything.
    pub(crate) fn check_answer(&self, result: &Result<Json, QmpError>) -> Result<(), Mismatch> {
        let (name, returns) = match self {
            Known::Ours(spec) => (spec.name, spec.returns()),
            Known::Own(own) => match &own.schema {
                Some((_, returns)) => (own.name, returns.clone()),
                None => return Ok(()),
            },
        };
        let Ok(value) = result else { return Ok(()) };
        let checked = returns.check(value);
        checked.map_err(|wrong| wrong.within(&format!("the answer of {name}")))
    }
}
