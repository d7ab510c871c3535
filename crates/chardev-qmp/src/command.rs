//! The commands: one table, from which dispatch and `query-commands` are derived.

use chardev_qapi::spec::{KindSpec, Options};
use chardev_qapi::visit::Reader;
use chardev_qapi::{Json, Object, QmpError, parse_backend};

use crate::ringbuf::{Format, decode};

/// A command whose arguments were checked, for the owner of the session to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `chardev-add`: create a chardev. Returns `{}` or `{"pty": PATH}`.
    ChardevAdd {
        /// Its name.
        id: String,
        /// Its back end.
        options: Options,
    },
    /// `chardev-change`: give a chardev another back end. Returns as for `chardev-add`.
    ChardevChange {
        /// The chardev.
        id: String,
        /// Its new back end.
        options: Options,
    },
    /// `chardev-remove`
    ChardevRemove {
        /// The chardev.
        id: String,
    },
    /// `chardev-send-break`
    ChardevSendBreak {
        /// The chardev.
        id: String,
    },
    /// `query-chardev`: a list of `{label, filename, frontend-open}`.
    QueryChardev,
    /// `query-chardev-backends`: a list of `{name}`.
    QueryChardevBackends,
    /// `ringbuf-read`; build the answer with [`encode`](crate::ringbuf::encode).
    RingbufRead {
        /// The chardev.
        device: String,
        /// How many bytes at most; not checked, QEMU looks for the device first.
        size: i64,
        /// How to answer.
        format: Format,
    },
    /// `ringbuf-write`
    RingbufWrite {
        /// The chardev.
        device: String,
        /// The bytes, decoded.
        data: Vec<u8>,
    },
    /// `getfd`: name the descriptor that came with this command.
    GetFd {
        /// The name; see [`check_fdname`].
        fdname: String,
    },
    /// `closefd`
    CloseFd {
        /// The name.
        fdname: String,
    },
    /// `query-name`: `{}` or `{"name": NAME}`.
    QueryName,
    /// `quit`
    Quit,
    /// `x-chardev-attach`: make a descriptor a chardev's back end for as long as it is open.
    XChardevAttach {
        /// The chardev.
        id: String,
        /// The name the descriptor was given by `getfd`.
        fdname: String,
    },
    /// `x-chardev-set-winsize`: tell the front end how large the terminal is.
    XChardevSetWinsize {
        /// The chardev.
        id: String,
        /// Width in characters.
        cols: u16,
        /// Height in characters.
        rows: u16,
    },
    /// `x-query-chardev-stats`: offsets, queues and drop counters.
    XQueryChardevStats {
        /// One chardev, or all of them.
        id: Option<String>,
    },
}

/// What a command asks for.
#[derive(Debug)]
pub(crate) enum Action {
    /// Something for the owner of the session.
    External(Command),
    /// `qmp_capabilities`, with the capabilities to enable.
    Negotiate(Vec<String>),
    QueryCommands,
    QueryVersion,
}

/// One row of the table.
pub(crate) struct CommandSpec {
    pub(crate) name: &'static str,
    /// Whether it may be run with `exec-oob`, ahead of what is queued.
    pub(crate) allow_oob: bool,
    read: fn(&mut Reader<'_>, &[&KindSpec]) -> Result<Action, String>,
}

/// All commands.
pub(crate) const COMMANDS: &[CommandSpec] = &[
    plain("qmp_capabilities", |args, _| {
        Ok(Action::Negotiate(read_enable(args)?))
    }),
    plain("query-commands", |_, _| Ok(Action::QueryCommands)),
    plain("query-version", |_, _| Ok(Action::QueryVersion)),
    plain("chardev-add", |args, kinds| {
        let (id, options) = read_id_and_backend(args, kinds)?;
        external(Command::ChardevAdd { id, options })
    }),
    plain("chardev-change", |args, kinds| {
        let (id, options) = read_id_and_backend(args, kinds)?;
        external(Command::ChardevChange { id, options })
    }),
    plain("chardev-remove", |args, _| {
        external(Command::ChardevRemove {
            id: args.required("id")?,
        })
    }),
    plain("chardev-send-break", |args, _| {
        external(Command::ChardevSendBreak {
            id: args.required("id")?,
        })
    }),
    plain("query-chardev", |_, _| external(Command::QueryChardev)),
    plain("query-chardev-backends", |_, _| {
        external(Command::QueryChardevBackends)
    }),
    plain("ringbuf-read", |args, _| {
        external(Command::RingbufRead {
            device: args.required("device")?,
            size: args.required("size")?,
            format: read_format(args)?,
        })
    }),
    plain("ringbuf-write", |args, _| {
        let device = args.required("device")?;
        let text: &str = args.required("data")?;
        let format = read_format(args)?;
        external(Command::RingbufWrite {
            device,
            data: decode(text, format)?,
        })
    }),
    plain("getfd", |args, _| {
        external(Command::GetFd {
            fdname: args.required("fdname")?,
        })
    }),
    plain("closefd", |args, _| {
        external(Command::CloseFd {
            fdname: args.required("fdname")?,
        })
    }),
    plain("query-name", |_, _| external(Command::QueryName)),
    plain("quit", |_, _| external(Command::Quit)),
    plain("x-chardev-attach", |args, _| {
        let (id, fdname) = (args.required("id")?, args.required("fdname")?);
        external(Command::XChardevAttach { id, fdname })
    }),
    plain("x-chardev-set-winsize", |args, _| {
        external(Command::XChardevSetWinsize {
            id: args.required("id")?,
            cols: args.required_u16("cols")?,
            rows: args.required_u16("rows")?,
        })
    }),
    plain("x-query-chardev-stats", |args, _| {
        external(Command::XQueryChardevStats {
            id: args.optional("id")?,
        })
    }),
];

/// The names of all commands, in the order of `query-commands`.
pub fn command_names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|spec| spec.name)
}

/// Checks the name a client gives a descriptor with `getfd`.
///
/// QEMU checks it only after it knows that a descriptor came with the command.
///
/// # Errors
/// `Parameter 'fdname' expects a name not starting with a digit`
pub fn check_fdname(fdname: &str) -> Result<(), QmpError> {
    if fdname.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("Parameter 'fdname' expects a name not starting with a digit".into());
    }
    Ok(())
}

impl CommandSpec {
    pub(crate) fn find(name: &str) -> Option<&'static CommandSpec> {
        COMMANDS.iter().find(|spec| spec.name == name)
    }

    /// Checks the arguments; anything that is not in the schema is an error.
    pub(crate) fn read(&self, arguments: &Object, kinds: &[&KindSpec]) -> Result<Action, String> {
        let mut reader = Reader::new(arguments, "");
        let action = (self.read)(&mut reader, kinds);
        match action {
            Ok(action) => reader.finish().map(|()| action),
            Err(error) => Err(error),
        }
    }
}

const fn plain(
    name: &'static str,
    read: fn(&mut Reader<'_>, &[&KindSpec]) -> Result<Action, String>,
) -> CommandSpec {
    CommandSpec {
        name,
        allow_oob: false,
        read,
    }
}

fn external(command: Command) -> Result<Action, String> {
    Ok(Action::External(command))
}

fn read_id_and_backend(
    args: &mut Reader<'_>,
    kinds: &[&KindSpec],
) -> Result<(String, Options), String> {
    let id = args.required("id")?;
    let backend: &Json = args.required_value("backend")?;
    Ok((id, parse_backend(backend, "backend", kinds)?))
}

fn read_format(args: &mut Reader<'_>) -> Result<Format, String> {
    Ok(match args.optional_enum("format", &["utf8", "base64"])? {
        Some("base64") => Format::Base64,
        _ => Format::Utf8,
    })
}

/// Reads the list `enable` of `qmp_capabilities`; QEMU calls its elements 'null' when it refuses them.
fn read_enable(args: &mut Reader<'_>) -> Result<Vec<String>, String> {
    let words = args.optional_strings("enable")?.unwrap_or_default();
    for word in &words {
        chardev_qapi::visit::pick_word("null", word, &["oob"])?;
    }
    Ok(words)
}
