//! What a kind of back end looks like from outside: its name and its options, as data.
//!
//! One back end declares one [`KindSpec`]. The wire parser, the `-chardev` grammar, the help
//! lists and the documentation are all derived from these tables, so an option is written down
//! exactly once. Parsed values travel as [`Options`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::text;

/// One kind of back end: `file`, `pty`, `socket` …
#[derive(Debug)]
pub struct KindSpec {
    /// The QAPI name, for example `ringbuf`.
    pub name: &'static str,
    /// One line for help lists.
    pub summary: &'static str,
    /// The options that only this kind takes; [`COMMON_OPTIONS`] come on top.
    pub options: &'static [OptionSpec],
    /// The shorter ways to spell it, as QEMU's `-serial` and `-qmp` take them.
    pub short: &'static [Short],
    /// What the command line means where QMP would mean something else.
    pub line: &'static [LineRule],
    /// Its type's parent in QEMU's object model (`qom-list-types`).
    pub parent: &'static str,
    /// The properties of its objects with their QAPI types (`qom-list`), beside `type`.
    pub properties: &'static [(&'static str, &'static str)],
}

/// A shorter way to spell a kind and its options.
#[derive(Clone, Copy, Debug)]
pub enum Short {
    /// The name of the kind alone.
    Name,
    /// `NAME:PATH`, where the path may hold commas.
    Path,
    /// `mon:NAME`: options for one that a monitor and a console share, in the grammar of `-chardev`.
    Shared(&'static str),
    /// Anything else; gives the line in the grammar of `-chardev`, or `None` for what is not its.
    Text(fn(&str) -> Option<String>),
}

/// A difference between the command line and QMP, which has other defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRule {
    /// The option is set to this where it is not given, if the option `when` is on or there is none.
    Implied {
        /// The option.
        option: &'static str,
        /// Its value.
        value: bool,
        /// The option that has to be on.
        when: Option<&'static str>,
    },
    /// A key that means the opposite of an option; both at once are an error.
    Inverse {
        /// The key.
        key: &'static str,
        /// The option.
        option: &'static str,
    },
}

impl KindSpec {
    /// A kind with nothing but a name, a line for help lists, and options.
    pub const fn new(
        name: &'static str,
        summary: &'static str,
        options: &'static [OptionSpec],
    ) -> Self {
        KindSpec {
            name,
            summary,
            options,
            short: &[],
            line: &[],
            parent: "chardev",
            properties: &[],
        }
    }

    /// With these shorter ways to spell it.
    pub const fn spelled(mut self, short: &'static [Short]) -> Self {
        self.short = short;
        self
    }

    /// With this parent in QEMU's object model.
    pub const fn derived_from(mut self, parent: &'static str) -> Self {
        self.parent = parent;
        self
    }

    /// Looks an option up by its QMP name, common options included.
    pub fn option(&self, name: &str) -> Option<&'static OptionSpec> {
        self.all_options().find(|spec| spec.name == name)
    }

    /// The options of this kind in QAPI order: the common ones first, as in QEMU's base struct.
    pub fn all_options(&self) -> impl Iterator<Item = &'static OptionSpec> + use<> {
        COMMON_OPTIONS.iter().chain(self.options)
    }
}

/// One option of a kind.
#[derive(Debug)]
pub struct OptionSpec {
    /// The QMP member name inside `backend.data`.
    pub name: &'static str,
    /// The `-chardev` key; empty where the command line has none (an address is spelled in parts).
    pub cli: &'static str,
    /// What a value must be.
    pub ty: OptionType,
    /// Whether QMP refuses the kind without it.
    pub required: bool,
    /// QEMU's words on the command line when a required option is missing.
    pub missing: &'static str,
    /// One line for help and documentation, with the default.
    pub help: &'static str,
}

impl OptionSpec {
    /// An option that is spelled the same everywhere and need not be given.
    pub const fn new(name: &'static str, ty: OptionType, help: &'static str) -> Self {
        OptionSpec {
            name,
            cli: name,
            ty,
            required: false,
            missing: "",
            help,
        }
    }

    /// One that has to be given.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// The type of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionType {
    /// `true`/`false` on the wire, `on`/`off` on the command line.
    Bool,
    /// A signed 64-bit integer.
    Int,
    /// An integer that takes `k`, `M`, `G` … suffixes on the command line.
    Size,
    /// Text.
    Str,
    /// One of a fixed set of words.
    Enum(&'static [&'static str]),
    /// QAPI `SocketAddressLegacy`.
    Address,
    /// A list of strings.
    StrList,
}

/// The options every kind takes (QAPI `ChardevCommon`, and ours under `x-`).
pub const COMMON_OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "logfile",
        cli: "logfile",
        ty: OptionType::Str,
        required: false,
        missing: "",
        help: "file that gets a copy of all output",
    },
    OptionSpec {
        name: "logappend",
        cli: "logappend",
        ty: OptionType::Bool,
        required: false,
        missing: "",
        help: "append to the log file instead of truncating it (default off)",
    },
    OptionSpec {
        name: "x-logsize",
        cli: "x-logsize",
        ty: OptionType::Size,
        required: false,
        missing: "",
        help: "size at which the log file is rotated to <logfile>.1, .2 and so on; it is never larger",
    },
    OptionSpec {
        name: "x-logcount",
        cli: "x-logcount",
        ty: OptionType::Int,
        required: false,
        missing: "",
        help: "how many old log files stay (default 1); 0 empties the file instead",
    },
    OptionSpec {
        name: "x-logindex",
        cli: "x-logindex",
        ty: OptionType::Str,
        required: false,
        missing: "",
        help: "file that gets a line for each line of the log: absolute offset, time, place in the log file",
    },
    OptionSpec {
        name: "x-log-full",
        cli: "x-log-full",
        ty: OptionType::Enum(&["hole", "hold"]),
        required: false,
        missing: "",
        help: "output while the log cannot be written: hole (it is missing there, counted and marked in the index; the default) or hold (the front end waits)",
    },
    OptionSpec {
        name: "x-closed",
        cli: "x-closed",
        ty: OptionType::Enum(&["discard", "hold", "history"]),
        required: false,
        missing: "",
        help: "output while nobody is there to take it: discard (counted; the default), hold (the front end waits) or history (the newest bytes are kept for the next peer)",
    },
    OptionSpec {
        name: "x-history",
        cli: "x-history",
        ty: OptionType::Size,
        required: false,
        missing: "",
        help: "bytes of output kept for viewers and x-chardev-history, and by x-closed=history for the next peer; up to 1 GiB (default: none, 1M with x-closed=history)",
    },
    OptionSpec {
        name: "x-drain-ms",
        cli: "x-drain-ms",
        ty: OptionType::Int,
        required: false,
        missing: "",
        help: "after a change, how long the old peer may take nothing before the rest of what it was given is counted as lost (default 30000)",
    },
    OptionSpec {
        name: "x-handover",
        cli: "x-handover",
        ty: OptionType::Bool,
        required: false,
        missing: "",
        help: "in a change: keep the connected peer, if the transport is the same and only options differ (default off)",
    },
];

/// A socket address as QAPI's `SocketAddress` spells it, nothing resolved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketAddress {
    /// TCP or UDP over IPv4 or IPv6.
    Inet(InetAddress),
    /// A Unix domain socket.
    Unix {
        /// The path, or the abstract name.
        path: String,
        /// Linux abstract name space.
        abstract_name: bool,
        /// Whether an abstract name's length is exact (`true`) or padded with NULs.
        tight: bool,
    },
    /// A virtio socket.
    Vsock {
        /// Context id, as text.
        cid: String,
        /// Port, as text.
        port: String,
    },
    /// A descriptor given by `getfd` name, or a number before any monitor exists.
    Fd(String),
}

/// The inet form of [`SocketAddress`] (QAPI `InetSocketAddress`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InetAddress {
    /// Host name or address; empty means any when listening.
    pub host: String,
    /// Port number or service name.
    pub port: String,
    /// Last port of a range to try when listening.
    pub to: Option<u16>,
    /// Whether IPv4 is wanted (`None`: whatever resolves).
    pub ipv4: Option<bool>,
    /// Whether IPv6 is wanted (`None`: whatever resolves).
    pub ipv6: Option<bool>,
    /// TCP keep-alive (client).
    pub keep_alive: bool,
    /// Only numeric host and port are accepted.
    pub numeric: bool,
    /// Multipath TCP.
    pub mptcp: bool,
}

/// The value of one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// See [`OptionType::Bool`].
    Bool(bool),
    /// See [`OptionType::Int`] and [`OptionType::Size`].
    Int(i64),
    /// See [`OptionType::Str`] and [`OptionType::Enum`].
    Str(String),
    /// See [`OptionType::Address`].
    Address(SocketAddress),
    /// See [`OptionType::StrList`].
    List(Vec<String>),
}

/// A kind of back end and the options it was given, checked against its [`KindSpec`].
///
/// The parser has checked names and types; a back end checks meaning when it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    kind: &'static str,
    values: BTreeMap<&'static str, OptionValue>,
    /// Where relative paths start.
    directory: Option<PathBuf>,
}

impl Options {
    /// Options for `kind` with nothing set.
    pub fn new(kind: &'static str) -> Self {
        Options {
            kind,
            values: BTreeMap::new(),
            directory: None,
        }
    }

    /// Says where relative paths start, whatever becomes of the process's directory later. The
    /// first word counts.
    pub fn start_paths_at(&mut self, directory: impl Into<PathBuf>) {
        self.directory.get_or_insert_with(|| directory.into());
    }

    /// Where relative paths start, if that was said.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The kind's QAPI name.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Sets option `name`, replacing an earlier value.
    pub fn set(&mut self, name: &'static str, value: OptionValue) {
        self.values.insert(name, value);
    }

    /// Sets option `name` and returns the options, for building them in one expression.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: OptionValue) -> Self {
        self.set(name, value);
        self
    }

    /// The value of option `name`, if it was given.
    pub fn get(&self, name: &str) -> Option<&OptionValue> {
        self.values.get(name)
    }

    /// The boolean `name`, or `default` where it was not given.
    pub fn bool_or(&self, name: &str, default: bool) -> bool {
        match self.get(name) {
            Some(OptionValue::Bool(value)) => *value,
            _ => default,
        }
    }

    /// The integer `name`, if it was given.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(OptionValue::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// The text `name`, if it was given.
    pub fn str(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(OptionValue::Str(value)) => Some(value),
            _ => None,
        }
    }

    /// The path `name`, if it was given; what people are told is [`Options::str`].
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let given = self.str(name)?;
        Some(text::to_path(given, self.directory()))
    }

    /// The address `name`, if it was given.
    pub fn address(&self, name: &str) -> Option<&SocketAddress> {
        match self.get(name) {
            Some(OptionValue::Address(value)) => Some(value),
            _ => None,
        }
    }

    /// The list `name`; empty where it was not given.
    pub fn list(&self, name: &str) -> &[String] {
        match self.get(name) {
            Some(OptionValue::List(value)) => value,
            _ => &[],
        }
    }
}
