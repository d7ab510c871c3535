//! Options with their values, as a parser gives them to a back end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{COMMON_OPTIONS, KindSpec, OptionType, ParameterError, Problem, common};
use crate::policy::PolicyChange;
use crate::text;

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

/// How a value is kept: most are flags.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Flag(bool),
    Other(Box<OptionValue>),
}

impl Value {
    const FLAGS: [&'static OptionValue; 2] = [&OptionValue::Bool(false), &OptionValue::Bool(true)];

    fn get(&self) -> &OptionValue {
        match self {
            Value::Flag(flag) => Value::FLAGS[usize::from(*flag)],
            Value::Other(value) => value,
        }
    }
}

impl From<OptionValue> for Value {
    fn from(value: OptionValue) -> Self {
        match value {
            OptionValue::Bool(flag) => Value::Flag(flag),
            value => Value::Other(Box::new(value)),
        }
    }
}

/// A kind of back end and the options it was given, checked against its [`KindSpec`].
///
/// The parser has checked names and types; a back end checks meaning when it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    kind: &'static str,
    /// By name. They are few, and as many as there are chardevs are kept.
    values: Box<[(&'static str, Value)]>,
    /// Where relative paths start. There are many chardevs, and mostly one such directory.
    directory: Option<Arc<Path>>,
}

impl Options {
    /// Options for `kind` with nothing set.
    pub fn new(kind: &'static str) -> Self {
        Options {
            kind,
            values: Box::default(),
            directory: None,
        }
    }

    /// Says where relative paths start, whatever becomes of the process's directory later. The
    /// first word counts.
    pub fn start_paths_at(&mut self, directory: impl Into<Arc<Path>>) {
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
        let value = Value::from(value);
        match self.find(name) {
            Ok(at) => self.values[at].1 = value,
            Err(at) => {
                let mut values = std::mem::take(&mut self.values).into_vec();
                values.reserve_exact(1);
                values.insert(at, (name, value));
                self.values = values.into();
            }
        }
    }

    /// Takes option `name` out, if it was given.
    pub fn unset(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            let mut values = std::mem::take(&mut self.values).into_vec();
            values.remove(at);
            self.values = values.into();
        }
    }

    /// Where option `name` is, or would be.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.values.binary_search_by_key(&name, |(name, _)| name)
    }

    /// Sets option `name` and returns the options, for building them in one expression.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: OptionValue) -> Self {
        self.set(name, value);
        self
    }

    /// Checks that `kind` has these options, and that each has a value of its type.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self, kind: &KindSpec) -> Result<(), ParameterError> {
        for (name, value) in &self.values {
            let option = kind.option(name);
            let unexpected = || ParameterError::new(*name, Problem::Unexpected);
            let option = option.ok_or_else(unexpected)?;
            let wanted = match (option.ty, value.get()) {
                (OptionType::Bool, OptionValue::Bool(_))
                | (OptionType::Int | OptionType::Size, OptionValue::Int(_))
                | (OptionType::Str, OptionValue::Str(_))
                | (OptionType::Address, OptionValue::Address(_))
                | (OptionType::StrList, OptionValue::List(_)) => continue,
                (OptionType::Enum(words), OptionValue::Str(word)) => {
                    if words.contains(&word.as_str()) {
                        continue;
                    }
                    return Err(ParameterError::not_one_of(*name, word, words));
                }
                (OptionType::Bool, _) => "boolean",
                (OptionType::Int | OptionType::Size, _) => "integer",
                (OptionType::Str | OptionType::Enum(_), _) => "string",
                (OptionType::Address, _) => "object",
                (OptionType::StrList, _) => "array",
            };
            return Err(ParameterError::new(*name, Problem::WrongType(wanted)));
        }
        Ok(())
    }

    /// The value of option `name`, if it was given.
    pub fn get(&self, name: &str) -> Option<&OptionValue> {
        self.find(name).ok().map(|at| self.values[at].1.get())
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

    /// Makes the relative paths among them, which `kind` tells, start at `directory`. An abstract
    /// socket's name is none.
    pub fn make_paths_absolute(&mut self, kind: &KindSpec, directory: &Path) {
        for (name, value) in &mut self.values {
            let is_path = kind.option(name).is_some_and(|option| option.is_path);
            let Value::Other(value) = value else { continue };
            match &mut **value {
                OptionValue::Str(path) if is_path => absolute(path, directory),
                OptionValue::Address(SocketAddress::Unix {
                    path,
                    abstract_name: false,
                    ..
                }) => absolute(path, directory),
                _ => {}
            }
        }
    }

    /// What those of [`COMMON_OPTIONS`](super::COMMON_OPTIONS) that were given say about the
    /// policy.
    ///
    /// # Errors
    /// An option's value is out of its range.
    pub fn policy(&self) -> Result<PolicyChange, ParameterError> {
        let mut policy = PolicyChange::default();
        for option in COMMON_OPTIONS {
            if let (Some(set), Some(value)) = (option.policy, self.get(option.name)) {
                set(value, &mut policy)?;
            }
        }
        Ok(policy)
    }

    /// Those that a policy was changed to are so from here on.
    pub(crate) fn keep_policy(&mut self, change: PolicyChange) {
        for (name, value) in common::of_policy(change) {
            self.set(name, value);
        }
    }

    /// These options of a back end that replaces one that was made with `former`: what they do not
    /// say about the chardev itself is as it was.
    #[must_use]
    pub(crate) fn after(mut self, former: Option<&Options>) -> Self {
        // Whether a peer is kept concerns one change alone.
        self.unset("x-handover");
        let names_log = self.get("logfile").is_some();
        let elsewhere = former.and_then(Options::directory);
        let elsewhere = elsewhere.filter(|former| self.directory() != Some(former));
        let elsewhere = elsewhere.map(Path::to_owned);
        for option in COMMON_OPTIONS {
            let value = former.and_then(|former| former.get(option.name));
            let is_kept = match option.policy {
                Some(_) => self.get(option.name).is_none(),
                None => !names_log && option.name != "x-handover",
            };
            match value {
                // It is where it was, though these start their paths elsewhere.
                Some(OptionValue::Str(path)) if is_kept && option.is_path => {
                    let mut path = path.clone();
                    if let Some(directory) = &elsewhere {
                        absolute(&mut path, directory);
                    }
                    self.set(option.name, OptionValue::Str(path));
                }
                Some(value) if is_kept => self.set(option.name, value.clone()),
                // Without a log of its own nothing else about one means anything.
                None if is_kept && option.policy.is_none() => self.unset(option.name),
                _ => {}
            }
        }
        self
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

fn absolute(path: &mut String, directory: &Path) {
    let place = text::to_path(path, Some(directory));
    *path = text::from_os(place.as_os_str()).to_string();
}

impl From<&Options> for Options {
    fn from(options: &Options) -> Self {
        options.clone()
    }
}
