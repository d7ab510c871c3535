//! The commands: one table, from which dispatch, `query-commands` and `query-qmp-schema` derive.
//!
//! To add a command:
//!
//! 1. a variant of [`Command`], with its arguments in the types the owner wants;
//! 2. a row in `qemu.rs` or `ours.rs`: the name; what it returns, as a function that makes a
//!    [`Type`]; and a function that asks its [`Reader`] for every argument, in schema order, and
//!    makes the variant. The schema comes from running that very function on a reader that only
//!    notes what it is asked for, so it must ask for the same arguments whatever their values are
//!    (a tag that decides about others is read with [`Reader::tagged`], a list of objects with
//!    [`Reader::objects`], a back end with [`Reader::backend`]);
//! 3. an arm where the owner carries commands out (`chardev-monitor`: `commands/`).
//!
//! Names of our own start with `x-`. Debug builds hold every answer against the declared type. An
//! event is added in the table of `event.rs`.

mod arguments;
mod ours;
mod qemu;

use chardev_qapi::schema::{Entry, ObjectType, Type, introspect};
use chardev_qapi::spec::KindSpec;
use chardev_qapi::visit::Reader;
use chardev_qapi::{Json, Object, ParameterError};

use crate::command::Command;
use crate::event::EVENTS;
use crate::own::Own;

pub(crate) use arguments::read_yank_instance;

/// What a command asks for.
#[derive(Debug)]
pub(crate) enum Action {
    /// Something for the owner of the session.
    External(Command),
    /// `qmp_capabilities`, with the capabilities to enable.
    Negotiate(Vec<&'static str>),
    QueryCommands,
    QueryVersion,
    QueryQmpSchema,
    /// `x-error-kinds`: whether errors say of which kind they are.
    TellKinds(bool),
}

/// The kinds of back end there are.
type Kinds<'a> = &'a [&'static KindSpec];

/// One row of the table.
#[derive(Debug)]
pub(crate) struct CommandSpec {
    pub(crate) name: &'static str,
    /// Whether it may be run with `exec-oob`, ahead of what is queued.
    pub(crate) allow_oob: bool,
    features: &'static [&'static str],
    returns: fn() -> Type,
    read: fn(&mut Reader<'_>, Kinds<'_>) -> Result<Action, ParameterError>,
}

/// All commands, QEMU's first.
fn commands() -> impl Iterator<Item = &'static CommandSpec> {
    qemu::COMMANDS.iter().chain(ours::COMMANDS)
}

/// The names of all commands, in the order of `query-commands`.
pub fn command_names() -> impl Iterator<Item = &'static str> {
    commands().map(|spec| spec.name)
}

/// What `query-commands` returns to a client of somebody with commands of `own`.
pub(crate) fn query_commands(own: &Own) -> Json {
    let names = command_names().chain(own.names());
    let names = names.map(|name| Object::new().with("name", name));
    names.collect::<Vec<_>>().into()
}

/// What `query-qmp-schema` returns where these kinds of back end exist.
pub fn query_qmp_schema(kinds: &[&'static KindSpec]) -> Json {
    schema_with(kinds, &Own::default())
}

/// The same with commands and events of somebody's own.
pub(crate) fn schema_with(kinds: &[&'static KindSpec], own: &Own) -> Json {
    let commands = commands().map(|spec| Entry {
        name: spec.name,
        arguments: spec.arguments(kinds),
        returns: Some((spec.returns)()),
        allow_oob: spec.allow_oob,
        features: spec.features,
    });
    let events = EVENTS.iter().map(|event| Entry {
        name: event.name,
        arguments: (event.data)(),
        returns: None,
        allow_oob: false,
        features: &[],
    });
    let mut entries: Vec<Entry> = commands.chain(events).collect();
    entries.extend(own.entries());
    introspect(&entries)
}

impl CommandSpec {
    pub(crate) fn find(name: &str) -> Option<&'static CommandSpec> {
        commands().find(|spec| spec.name == name)
    }

    /// Checks the arguments; anything that is not in the schema is an error.
    pub(crate) fn read(
        &self,
        arguments: &Object,
        kinds: Kinds<'_>,
    ) -> Result<Action, ParameterError> {
        let mut reader = Reader::new(arguments, "");
        let action = (self.read)(&mut reader, kinds)?;
        reader.finish().map(|()| action)
    }

    /// The type of the answer.
    pub(crate) fn returns(&self) -> Type {
        (self.returns)()
    }

    fn arguments(&self, kinds: Kinds<'_>) -> ObjectType {
        let mut reader = Reader::describing();
        // It has nothing to read, so nothing in it can be wrong; a test sees to that.
        let _ = (self.read)(&mut reader, kinds);
        reader.described()
    }
}

const fn plain(
    name: &'static str,
    returns: fn() -> Type,
    read: fn(&mut Reader<'_>, Kinds<'_>) -> Result<Action, ParameterError>,
) -> CommandSpec {
    CommandSpec {
        name,
        allow_oob: false,
        features: &[],
        returns,
        read,
    }
}

fn external(command: Command) -> Result<Action, ParameterError> {
    Ok(Action::External(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_can_be_described() {
        for spec in commands() {
            let mut reader = Reader::describing();
            let read = (spec.read)(&mut reader, &[]);
            // Only a back end needs kinds to choose from.
            let needs_kinds =
                matches!(&read, Err(error) if *error == ParameterError::missing("type"));
            assert!(read.is_ok() || needs_kinds, "{}: {read:?}", spec.name);
        }
    }

    #[test]
    fn names_are_unique_and_the_schema_is_of_its_own_type() {
        let mut sorted: Vec<_> = command_names().collect();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), commands().count());
        assert_eq!(
            crate::answers::qapi::schema().check(&query_qmp_schema(&[])),
            Ok(())
        );
    }
}
