//! What a kind of back end looks like from outside: its name and its options, as data.
//!
//! One back end declares one [`KindSpec`]. The wire parser, the `-chardev` grammar, the help
//! lists and the documentation are all derived from these tables, so an option is written down
//! exactly once. Parsed values travel as [`Options`].

mod common;
mod error;
mod options;

use crate::policy::PolicyChange;

pub use common::COMMON_OPTIONS;
pub use error::{Expected, ParameterError, Problem};
pub use options::{InetAddress, OptionValue, Options, SocketAddress};

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
    /// `mon:NAME`: options for one that a monitor and a console share, in the grammar of
    /// `-chardev`.
    Shared(&'static str),
    /// Anything else; gives the line in the grammar of `-chardev`, or `None` for what is not its.
    Text(fn(&str) -> Option<String>),
}

/// A difference between the command line and QMP, which has other defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRule {
    /// The option is set to this where it is not given, if the option `when` is on or there is
    /// none.
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
#[derive(Clone, Copy, Debug)]
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
    /// What it makes of a chardev's policy, for an option that `x-chardev-set` may set.
    pub policy: Option<SetPolicy>,
    /// Whether its text is a path of the host.
    pub is_path: bool,
}

/// Puts an option's value into a change of a policy.
///
/// # Errors
/// What the value has to be.
pub type SetPolicy = fn(&OptionValue, &mut PolicyChange) -> Result<(), ParameterError>;

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
            policy: None,
            is_path: false,
        }
    }

    /// With another key on the command line; none if it is empty.
    pub const fn key(mut self, cli: &'static str) -> Self {
        self.cli = cli;
        self
    }

    /// One that has to be given.
    pub const fn required(self) -> Self {
        self.required_or("")
    }

    /// One that has to be given, with QEMU's words for the command line where it is not.
    pub const fn required_or(mut self, missing: &'static str) -> Self {
        self.required = true;
        self.missing = missing;
        self
    }

    /// One whose text is a path of the host.
    pub const fn path(mut self) -> Self {
        self.is_path = true;
        self
    }

    /// One that `x-chardev-set` may set.
    const fn sets(mut self, policy: SetPolicy) -> Self {
        self.policy = Some(policy);
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
