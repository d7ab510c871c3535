//! The commands: one table, from which dispatch, `query-commands` and `query-qmp-schema` derive.
//!
//! To add a command:
//!
//! 1. a variant of [`Command`], with its arguments in the types the owner wants;
//! 2. a row in [`COMMANDS`]: the name; what it returns, as a function that makes a [`Type`]; and a
//!    function that asks its [`Reader`] for every argument, in schema order, and makes the variant.
//!    The schema comes from running that very function on a reader that only notes what it is
//!    asked for, so it must ask for the same arguments whatever their values are (a tag that decides
//!    about others is read with [`Reader::tagged`], a list of objects with [`Reader::objects`], a
//!    back end with [`Reader::backend`]);
//! 3. an arm where the owner carries commands out (`chardevd`: `commands.rs`).
//!
//! Names of our own start with `x-`. Debug builds hold every answer against the declared type. An
//! event is added in the table of `event.rs`.

use chardev_qapi::QmpError;
use chardev_qapi::schema::{Entry, ObjectType, Type, Word, introspect, optional, required};
use chardev_qapi::spec::{KindSpec, OptionValue, Options};
use chardev_qapi::visit::Reader;
use chardev_qapi::{Json, Object};

use crate::answers;
use crate::command::{ChardevAction, Command, Join, YankInstance};
use crate::event::{DROP_REASONS, EVENTS};
use crate::ringbuf::{Format, decode};

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
    read: fn(&mut Reader<'_>, Kinds<'_>) -> Result<Action, String>,
}

/// All commands.
pub(crate) const COMMANDS: &[CommandSpec] = &[
    plain("qmp_capabilities", nothing, |args, _| {
        let enable = args.optional_enums("enable", &["oob"])?;
        Ok(Action::Negotiate(enable.unwrap_or_default()))
    }),
    plain("query-commands", names, |_, _| Ok(Action::QueryCommands)),
    plain("query-version", version, |_, _| Ok(Action::QueryVersion)),
    plain("query-qmp-schema", answers::schema, |_, _| {
        Ok(Action::QueryQmpSchema)
    }),
    plain("chardev-add", chardev_return, |args, kinds| {
        external(Command::ChardevAdd {
            id: args.required("id")?,
            options: args.backend("backend", kinds)?,
        })
    }),
    plain("chardev-change", chardev_return, |args, kinds| {
        external(Command::ChardevChange {
            id: args.required("id")?,
            options: args.backend("backend", kinds)?,
        })
    }),
    plain("chardev-remove", nothing, |args, _| {
        external(Command::ChardevRemove {
            id: args.required("id")?,
        })
    }),
    plain("chardev-send-break", nothing, |args, _| {
        external(Command::ChardevSendBreak {
            id: args.required("id")?,
        })
    }),
    plain("query-chardev", chardev_infos, |_, _| {
        external(Command::QueryChardev)
    }),
    plain("query-chardev-backends", names, |_, _| {
        external(Command::QueryChardevBackends)
    }),
    plain("ringbuf-read", text, |args, _| {
        external(Command::RingbufRead {
            device: args.required("device")?,
            size: args.required("size")?,
            format: read_format(args)?,
        })
    }),
    plain("ringbuf-write", nothing, |args, _| {
        let device = args.required("device")?;
        let text: &str = args.required("data")?;
        let format = read_format(args)?;
        external(Command::RingbufWrite {
            device,
            data: decode(text, format)?,
        })
    }),
    plain("getfd", nothing, |args, _| {
        external(Command::GetFd {
            fdname: args.required("fdname")?,
        })
    }),
    plain("closefd", nothing, |args, _| {
        external(Command::CloseFd {
            fdname: args.required("fdname")?,
        })
    }),
    plain("add-fd", add_fd_info, |args, _| {
        external(Command::AddFd {
            fdset_id: args.optional("fdset-id")?,
            opaque: args.optional("opaque")?,
        })
    }),
    plain("remove-fd", nothing, |args, _| {
        external(Command::RemoveFd {
            fdset_id: args.required("fdset-id")?,
            fd: args.optional("fd")?,
        })
    }),
    plain("query-fdsets", fdset_infos, |_, _| {
        external(Command::QueryFdsets)
    }),
    plain("add_client", nothing, |args, _| {
        let (protocol, fdname) = (args.required("protocol")?, args.required("fdname")?);
        // They say how a display is to treat the client, and mean nothing for a chardev.
        let _: [Option<bool>; 2] = [args.optional("skipauth")?, args.optional("tls")?];
        external(Command::AddClient { protocol, fdname })
    }),
    CommandSpec {
        allow_oob: true,
        ..plain("yank", nothing, |args, _| {
            external(Command::Yank {
                instances: args.objects("instances", read_yank_instance)?,
            })
        })
    },
    CommandSpec {
        allow_oob: true,
        ..plain("query-yank", yank_instances, |_, _| {
            external(Command::QueryYank)
        })
    },
    plain("query-status", status_info, |_, _| {
        external(Command::QueryStatus)
    }),
    plain("stop", nothing, |_, _| external(Command::Stop)),
    plain("cont", nothing, |_, _| external(Command::Cont)),
    plain("qom-list", property_infos, |args, _| {
        external(Command::QomList {
            path: args.required("path")?,
        })
    }),
    plain("qom-list-types", type_infos, |args, _| {
        external(Command::QomListTypes {
            implements: args.optional("implements")?,
            with_abstract: args.optional("abstract")?.unwrap_or(false),
        })
    }),
    plain("query-command-line-options", cli_options, |args, _| {
        external(Command::QueryCommandLineOptions {
            option: args.optional("option")?,
        })
    }),
    CommandSpec {
        features: &["savevm-monitor-nodes"],
        ..plain("human-monitor-command", text, |args, _| {
            external(Command::HumanMonitorCommand {
                command_line: args.required("command-line")?,
                cpu_index: args.optional("cpu-index")?,
            })
        })
    },
    plain("query-name", name_info, |_, _| external(Command::QueryName)),
    plain("quit", nothing, |_, _| external(Command::Quit)),
    plain("x-chardev-attach", nothing, |args, _| {
        external(Command::XChardevAttach {
            id: args.required("id")?,
            fdname: args.required("fdname")?,
            join: read_join(args)?,
        })
    }),
    plain("x-chardev-set-winsize", nothing, |args, _| {
        external(Command::XChardevSetWinsize {
            id: args.required("id")?,
            cols: args.required_u16("cols")?,
            rows: args.required_u16("rows")?,
        })
    }),
    plain("x-chardev-watch", watch_return, |args, _| {
        external(Command::XChardevWatch {
            id: args.required("id")?,
            fdname: args.required("fdname")?,
            from: args.optional("from")?,
            drop_when_slow: args.optional_enum("slow", &["skip", "drop"])? == Some("drop"),
            framed: args.optional("framed")?.unwrap_or(false),
        })
    }),
    plain("x-chardev-history", history, |args, _| {
        external(Command::XChardevHistory {
            id: args.required("id")?,
            from: args.optional("from")?,
            size: args.optional("size")?,
            format: read_format(args)?,
        })
    }),
    plain("x-chardev-transaction", chardev_returns, |args, kinds| {
        external(Command::XChardevTransaction {
            actions: args.objects("actions", |action| read_action(action, kinds))?,
        })
    }),
    plain("x-chardev-set", nothing, |args, _| {
        let id = args.required("id")?;
        let mut policy = Options::new("policy");
        if let Some(closed) = args.optional_enum("x-closed", &CLOSED)? {
            policy.set("x-closed", OptionValue::Str(closed.to_owned()));
        }
        if let Some(full) = args.optional_enum("x-log-full", &LOG_FULL)? {
            policy.set("x-log-full", OptionValue::Str(full.to_owned()));
        }
        for name in ["x-history", "x-drain-ms"] {
            if let Some(number) = args.optional(name)? {
                policy.set(name, OptionValue::Int(number));
            }
        }
        external(Command::XChardevSet { id, policy })
    }),
    plain("x-chardev-hub-add", nothing, |args, _| {
        external(Command::XChardevHubAdd {
            id: args.required("id")?,
            chardev: args.required("chardev")?,
        })
    }),
    plain("x-chardev-hub-remove", nothing, |args, _| {
        external(Command::XChardevHubRemove {
            id: args.required("id")?,
            chardev: args.required("chardev")?,
        })
    }),
    plain("x-chardev-reopen-log", nothing, |args, _| {
        external(Command::XChardevReopenLog {
            id: args.optional("id")?,
        })
    }),
    plain("x-chardev-events", nothing, |args, _| {
        external(Command::XChardevEvents {
            enable: args.required("enable")?,
        })
    }),
    plain("x-monitor-add", nothing, |args, _| {
        external(Command::XMonitorAdd {
            fdname: args.required("fdname")?,
        })
    }),
    plain("x-query-monitors", answers::monitors, |_, _| {
        external(Command::XQueryMonitors)
    }),
    plain("x-query-devices", answers::devices, |_, _| {
        external(Command::XQueryDevices)
    }),
    plain("x-device-restart", nothing, |args, _| {
        external(Command::XDeviceRestart {
            id: args.required("id")?,
        })
    }),
    plain("x-query-chardev-stats", chardev_stats, |args, _| {
        external(Command::XQueryChardevStats {
            id: args.optional("id")?,
        })
    }),
];

/// The names of all commands, in the order of `query-commands`.
pub fn command_names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|spec| spec.name)
}

/// What `query-commands` returns.
pub(crate) fn query_commands() -> Json {
    let names = command_names().map(|name| Object::new().with("name", name));
    names.collect::<Vec<_>>().into()
}

/// What `query-qmp-schema` returns where these kinds of back end exist.
pub fn query_qmp_schema(kinds: &[&'static KindSpec]) -> Json {
    let commands = COMMANDS.iter().map(|spec| Entry {
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
    introspect(&commands.chain(events).collect::<Vec<_>>())
}

impl CommandSpec {
    pub(crate) fn find(name: &str) -> Option<&'static CommandSpec> {
        COMMANDS.iter().find(|spec| spec.name == name)
    }

    /// Checks the arguments; anything that is not in the schema is an error.
    pub(crate) fn read(&self, arguments: &Object, kinds: Kinds<'_>) -> Result<Action, String> {
        let mut reader = Reader::new(arguments, "");
        let action = (self.read)(&mut reader, kinds)?;
        reader.finish().map(|()| action)
    }

    /// What is wrong with an answer, if anything.
    pub(crate) fn check_answer(&self, result: &Result<Json, QmpError>) -> Result<(), String> {
        let Ok(value) = result else { return Ok(()) };
        let checked = (self.returns)().check(value);
        checked.map_err(|error| format!("the answer of {}{error}", self.name))
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
    read: fn(&mut Reader<'_>, Kinds<'_>) -> Result<Action, String>,
) -> CommandSpec {
    CommandSpec {
        name,
        allow_oob: false,
        features: &[],
        returns,
        read,
    }
}

fn external(command: Command) -> Result<Action, String> {
    Ok(Action::External(command))
}

fn read_format(args: &mut Reader<'_>) -> Result<Format, String> {
    Ok(match args.optional_enum("format", &["utf8", "base64"])? {
        Some("base64") => Format::Base64,
        _ => Format::Utf8,
    })
}

fn read_join(args: &mut Reader<'_>) -> Result<Join, String> {
    let wanted = [
        (args.optional("force")?, Join::Force),
        (args.optional("share")?, Join::Share),
        (args.optional("read-only")?, Join::ReadOnly),
    ];
    let mut wanted = wanted.iter().filter(|(given, _)| *given == Some(true));
    match (wanted.next(), wanted.next()) {
        (_, Some(_)) => Err("'force', 'share' and 'read-only' are mutually exclusive".to_owned()),
        (Some((_, join)), None) => Ok(*join),
        (None, None) => Ok(Join::Alone),
    }
}

/// What `x-closed` takes.
const CLOSED: [&str; 3] = ["discard", "hold", "history"];

/// What `x-log-full` takes.
const LOG_FULL: [&str; 2] = ["hole", "hold"];

const ACTIONS: [Word; 3] = [
    Word::new("chardev-add"),
    Word::new("chardev-change"),
    Word::new("chardev-remove"),
];

/// One action, shaped as those of QEMU's `transaction`.
fn read_action(action: &mut Reader<'_>, kinds: Kinds<'_>) -> Result<ChardevAction, String> {
    action.tagged("type", &ACTIONS, |action, word| {
        action.object("data", |data| {
            let id = data.required("id")?;
            Ok(match word {
                "chardev-add" => ChardevAction::Add {
                    id,
                    options: data.backend("backend", kinds)?,
                },
                "chardev-change" => ChardevAction::Change {
                    id,
                    options: data.backend("backend", kinds)?,
                },
                _ => ChardevAction::Remove { id },
            })
        })
    })
}

const YANK_TYPES: [Word; 3] = [
    Word::new("block-node"),
    Word::new("chardev"),
    Word::new("migration"),
];

fn read_yank_instance(args: &mut Reader<'_>) -> Result<YankInstance, String> {
    args.tagged("type", &YANK_TYPES, |args, word| {
        Ok(match word {
            "block-node" => YankInstance::BlockNode(args.required("node-name")?),
            "chardev" => YankInstance::Chardev(args.required("id")?),
            _ => YankInstance::Migration,
        })
    })
}

fn nothing() -> Type {
    Type::object([])
}

fn text() -> Type {
    Type::Str
}

/// QAPI `CommandInfo`, `ChardevBackendInfo`
fn names() -> Type {
    Type::list(Type::object([required("name", Type::Str)]))
}

/// QAPI `VersionInfo`
fn version() -> Type {
    let number = |name| required(name, Type::Int);
    let numbers = [number("major"), number("minor"), number("micro")];
    Type::object([
        required("qemu", Type::object(numbers)),
        required("package", Type::Str),
    ])
}

/// QAPI `NameInfo`
fn name_info() -> Type {
    Type::object([optional("name", Type::Str)])
}

/// QAPI `ChardevReturn`
fn chardev_return() -> Type {
    Type::object([optional("pty", Type::Str)])
}

fn chardev_returns() -> Type {
    Type::list(chardev_return())
}

/// QAPI `ChardevInfo`
fn chardev_infos() -> Type {
    Type::list(Type::object([
        required("label", Type::Str),
        required("filename", Type::Str),
        required("frontend-open", Type::Bool),
    ]))
}

/// Where a viewer begins.
fn watch_return() -> Type {
    Type::object([required("offset", Type::Int)])
}

/// A piece of output: `contents` is what stands from `start` up to `next`.
fn history() -> Type {
    let offsets = ["start", "next", "oldest", "end"];
    let mut members = vec![required("contents", Type::Str)];
    members.extend(offsets.map(|name| required(name, Type::Int)));
    Type::object(members)
}

fn chardev_stats() -> Type {
    let mut members = vec![
        required("label", Type::Str),
        required("kind", Type::Str),
        required("open", Type::Bool),
        required("frontend-open", Type::Bool),
    ];
    let counters = [
        "output-accepted",
        "output-delivered",
        "output-discarded",
        "output-dropped",
        "output-overwritten",
        "output-undrained",
        "input-delivered",
        "input-late",
        "input-overflowed",
        "breaks-dropped",
        "changes",
        "changes-failed",
        "viewers",
    ];
    members.extend(counters.map(|name| required(name, Type::Int)));
    members.extend([
        optional("peer", Type::Str),
        optional("attached", answers::attached()),
        required("output-offset", Type::Int),
        required("output-oldest", Type::Int),
        required("input-offset", Type::Int),
        required("output-pending", Type::Int),
        required("input-pending", Type::Int),
        required("log-pending", Type::Int),
        required("log-lost", Type::Int),
        required("log-holes", Type::Int),
        optional("log-trouble", Type::Str),
        optional("ring-unread", Type::Int),
        required(
            "dropped",
            Type::object(DROP_REASONS.map(|reason| required(reason, Type::Int))),
        ),
        optional(
            "change-times",
            Type::object(["last-us", "p50-us", "p99-us"].map(|name| required(name, Type::Int))),
        ),
    ]);
    Type::list(Type::object(members))
}

/// QAPI `AddfdInfo`
fn add_fd_info() -> Type {
    Type::object([required("fdset-id", Type::Int), required("fd", Type::Int)])
}

/// QAPI `FdsetInfo`
fn fdset_infos() -> Type {
    let fd = [required("fd", Type::Int), optional("opaque", Type::Str)];
    Type::list(Type::object([
        required("fdset-id", Type::Int),
        required("fds", Type::list(Type::object(fd))),
    ]))
}

/// QAPI `YankInstance`: what is read is also what is returned.
fn yank_instances() -> Type {
    let mut reader = Reader::describing();
    // It has nothing to read, so nothing in it can be wrong.
    let _ = read_yank_instance(&mut reader);
    Type::list(Type::Object(reader.described()))
}

/// QAPI `StatusInfo`
fn status_info() -> Type {
    let states = [
        "debug",
        "inmigrate",
        "internal-error",
        "io-error",
        "paused",
        "postmigrate",
        "prelaunch",
        "finish-migrate",
        "restore-vm",
        "running",
        "save-vm",
        "shutdown",
        "suspended",
        "watchdog",
        "guest-panicked",
        "colo",
    ];
    Type::object([
        required("running", Type::Bool),
        required("status", Type::words(&states)),
    ])
}

/// QAPI `ObjectPropertyInfo`
fn property_infos() -> Type {
    Type::list(Type::object([
        required("name", Type::Str),
        required("type", Type::Str),
        optional("description", Type::Str),
        optional("default-value", Type::Any),
    ]))
}

/// QAPI `ObjectTypeInfo`
fn type_infos() -> Type {
    Type::list(Type::object([
        required("name", Type::Str),
        optional("abstract", Type::Bool),
        optional("parent", Type::Str),
    ]))
}

/// QAPI `CommandLineOptionInfo`
fn cli_options() -> Type {
    let types = ["string", "boolean", "number", "size"];
    let parameter = [
        required("name", Type::Str),
        required("type", Type::words(&types)),
        optional("help", Type::Str),
        optional("default", Type::Str),
    ];
    Type::list(Type::object([
        required("option", Type::Str),
        required("parameters", Type::list(Type::object(parameter))),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_can_be_described() {
        for spec in COMMANDS {
            let mut reader = Reader::describing();
            let read = (spec.read)(&mut reader, &[]);
            // Only a back end needs kinds to choose from.
            let needs_kinds = matches!(&read, Err(error) if error == "Parameter 'type' is missing");
            assert!(read.is_ok() || needs_kinds, "{}: {read:?}", spec.name);
        }
    }

    #[test]
    fn names_are_unique_and_the_schema_is_of_its_own_type() {
        let mut sorted: Vec<_> = command_names().collect();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), COMMANDS.len());
        assert_eq!(answers::schema().check(&query_qmp_schema(&[])), Ok(()));
    }
}
