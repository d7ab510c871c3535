//! `-chardev KIND,id=ID,…`: a command line to [`Options`].

use crate::backend::find_kind;
pub use crate::keys::parameters;
use crate::keys::{LIST_KEYS, check_keys};
use crate::opts::{Opts, is_identifier, parse_bool, parse_number, parse_opts, parse_size};
use crate::spec::{
    Expected, InetAddress, KindSpec, LineRule, OptionSpec, OptionType, OptionValue, Options,
    ParameterError, Problem, SocketAddress,
};
use crate::visit::pick_word;

/// A whole `-chardev` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChardevLine {
    /// The name of the new chardev.
    pub id: String,
    /// Its back end, with the command line's own defaults made explicit.
    pub options: Options,
    /// Whether a mux is to be put on top (`mux=on`): the back end is then `ID-base`.
    pub mux: bool,
    /// What to tell the user, if anything.
    pub warnings: Vec<String>,
}

/// A back end without a name, as in `chardev-change ID BACKEND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendLine {
    /// The back end, with the command line's own defaults made explicit.
    pub options: Options,
    /// See [`ChardevLine::mux`].
    pub mux: bool,
    /// What to tell the user, if anything.
    pub warnings: Vec<String>,
}

/// Whether the argument of `-chardev` asks for the list of kinds: `help` or `?`.
pub fn wants_help(text: &str) -> bool {
    let opts = parse_opts(text, "backend");
    opts.get("backend")
        .is_some_and(|kind| kind == "help" || kind == "?")
}

/// Checks what QEMU checks before it looks at what the options mean: keys, and the spelling of
/// their values.
///
/// # Errors
/// Shown for people, warnings first and the [`hint`] last: `Invalid parameter 'foo'`.
pub fn check_syntax(text: &str, kinds: &[&KindSpec]) -> Result<(), ParameterError> {
    let opts = parse_opts(text, "backend");
    let checked = check_id(&opts).and_then(|()| check_keys(&opts, kinds));
    checked.map_err(|error| {
        let warnings = opts.warnings.iter();
        let warnings: String = warnings.map(|text| format!("warning: {text}\n")).collect();
        let words = format!("{warnings}{error}{}", hint(&error));
        error.shown_as(words)
    })
}

/// What QEMU adds to an error for people, beginning with a new line; nothing to most.
pub fn hint(error: &ParameterError) -> &'static str {
    match error.problem() {
        Problem::Expects(Expected::Identifier) => {
            "\nIdentifiers consist of letters, digits, '-', '.', '_', starting with a letter."
        }
        Problem::Expects(Expected::Size) => {
            "\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n\
             and exabytes, respectively."
        }
        _ => "",
    }
}

/// Of several ids the first one counts, other than for all other keys.
fn first_id(opts: &Opts) -> Option<&str> {
    let mut pairs = opts.pairs.iter();
    pairs
        .find(|(key, _)| key == "id")
        .map(|(_, id)| id.as_str())
}

fn check_id(opts: &Opts) -> Result<(), ParameterError> {
    match first_id(opts) {
        Some(id) if !is_identifier(id) => Err(ParameterError::expects("id", Expected::Identifier)),
        _ => Ok(()),
    }
}

/// Parses the argument of `-chardev`.
///
/// Where the defaults of the command line differ from QMP's the options say so: `server` is
/// always set, and `wait` is set to true for a server that does not mention it.
///
/// # Errors
/// QEMU's texts, for example `'nosuch' is not a valid char driver name`.
pub fn parse_chardev(text: &str, kinds: &[&KindSpec]) -> Result<ChardevLine, ParameterError> {
    let opts = parse_opts(text, "backend");
    check_id(&opts)?;
    check_keys(&opts, kinds)?;
    let id = first_id(&opts).map(str::to_owned);
    let missing = |name: &str, words| ParameterError::missing(name).shown_as(words);
    let id = id.ok_or_else(|| missing("id", "chardev: no id specified".to_owned()))?;
    let kind = opts.get("backend");
    let no_kind = || missing("backend", format!("chardev: \"{id}\" missing backend"));
    let kind = kind.ok_or_else(no_kind)?;
    let (options, mux) = build(&opts, kind, kinds)?;
    Ok(ChardevLine {
        id,
        options,
        mux,
        warnings: opts.warnings,
    })
}

/// Parses a back end without an id; otherwise as [`parse_chardev`].
///
/// # Errors
/// As for [`parse_chardev`]; `Unexpected 'id' parameter`.
pub fn parse_backend_line(text: &str, kinds: &[&KindSpec]) -> Result<BackendLine, ParameterError> {
    let opts = parse_opts(text, "backend");
    if opts.get("id").is_some() {
        let unexpected = ParameterError::new("id", Problem::Unexpected);
        return Err(unexpected.shown_as("Unexpected 'id' parameter"));
    }
    check_keys(&opts, kinds)?;
    let kind = opts.get("backend");
    let kind = kind.ok_or_else(|| ParameterError::missing("backend"))?;
    let (options, mux) = build(&opts, kind, kinds)?;
    Ok(BackendLine {
        options,
        mux,
        warnings: opts.warnings,
    })
}

fn build(opts: &Opts, kind: &str, kinds: &[&KindSpec]) -> Result<(Options, bool), ParameterError> {
    let mux = switch(opts, "mux")?.unwrap_or(false);
    let spec = find_kind(kinds, kind).ok_or_else(|| ParameterError::no_kind(kind))?;
    let mut options = Options::new(spec.name);
    for option in spec.all_options() {
        match read_option(opts, option, kind)? {
            Some(value) => options.set(option.name, value),
            None if option.required => return Err(missing(option)),
            None => {}
        }
    }
    for rule in spec.line {
        apply_rule(opts, rule, &mut options)?;
    }
    Ok((options, mux))
}

fn missing(option: &OptionSpec) -> ParameterError {
    match (option.missing, option.cli) {
        ("", "") => ParameterError::missing(option.name),
        ("", cli) => ParameterError::missing(cli),
        (words, _) => ParameterError::missing(option.name).shown_as(words),
    }
}

fn read_option(
    opts: &Opts,
    option: &'static OptionSpec,
    kind: &str,
) -> Result<Option<OptionValue>, ParameterError> {
    match (option.ty, option.name) {
        (OptionType::Address, "remote") => return remote_address(opts, kind).map(wrap_address),
        (OptionType::Address, "local") => return local_address(opts).map(wrap_address),
        (OptionType::Address, _) if option.required || names_an_address(opts) => {
            return stream_address(opts, kind).map(wrap_address);
        }
        (OptionType::Address, _) => return Ok(None),
        (OptionType::StrList, _) => return Ok(list(opts, option)),
        _ => {}
    }
    let (key, text) = match opts.get(option.cli) {
        Some(text) if !option.cli.is_empty() => (option.cli, text),
        _ => return Ok(None),
    };
    let value = match option.ty {
        OptionType::Bool => OptionValue::Bool(parse_bool(key, text)?),
        OptionType::Int => OptionValue::Int(parse_number(key, text)?),
        // Here, other than over QMP, the size 0 stands for the default. Of a history it means none.
        OptionType::Size => match parse_size(key, text)? {
            0 if option.cli != "x-history" => return Ok(None),
            size => OptionValue::Int(size),
        },
        OptionType::Enum(words) => OptionValue::Str(pick_word(key, text, words)?.to_owned()),
        _ => OptionValue::Str(text.to_owned()),
    };
    Ok(Some(value))
}

fn wrap_address(address: Option<SocketAddress>) -> Option<OptionValue> {
    address.map(OptionValue::Address)
}

/// The list `key.0`, `key.1` …, up to the first gap.
fn list(opts: &Opts, option: &OptionSpec) -> Option<OptionValue> {
    let stem = if option.cli.is_empty() {
        option.name
    } else {
        option.cli
    };
    let stem = stem.split('.').next().unwrap_or(stem);
    let items: Vec<String> = (0..LIST_KEYS)
        .map_while(|at| opts.get(&format!("{stem}.{at}")).map(str::to_owned))
        .collect();
    (!items.is_empty()).then_some(OptionValue::List(items))
}

fn names_an_address(opts: &Opts) -> bool {
    ["path", "host", "fd", "x-cid"]
        .into_iter()
        .any(|key| opts.get(key).is_some())
}

/// The address of a `socket`: one of `path`, `host`, `fd` and `x-cid`.
fn stream_address(opts: &Opts, kind: &str) -> Result<Option<SocketAddress>, ParameterError> {
    let port = || {
        let words = format!("chardev: {kind}: no port given");
        let missing = || ParameterError::missing("port").shown_as(words);
        opts.get("port").ok_or_else(missing)
    };
    if let Some(cid) = opts.get("x-cid") {
        if let Some(other) = ["path", "host", "fd"]
            .into_iter()
            .find(|key| opts.get(key).is_some())
        {
            let words = format!("'x-cid' cannot be used with '{other}'");
            return Err(ParameterError::new("x-cid", Problem::Conflict).shown_as(words));
        }
        let (cid, port) = (cid.to_owned(), port()?.to_owned());
        return Ok(Some(SocketAddress::Vsock { cid, port }));
    }
    match (opts.get("path"), opts.get("host"), opts.get("fd")) {
        (Some(path), None, None) => Ok(Some(SocketAddress::Unix {
            path: path.to_owned(),
            abstract_name: switch(opts, "abstract")?.unwrap_or(false),
            tight: switch(opts, "tight")?.unwrap_or(true),
        })),
        (None, Some(host), None) => {
            let address = inet(opts, host, port()?)?;
            Ok(Some(SocketAddress::Inet(address)))
        }
        (None, None, Some(fd)) => Ok(Some(SocketAddress::Fd(fd.to_owned()))),
        // No descriptor has this name, and whoever is asked for it has the words for that.
        (None, None, None) => Ok(Some(SocketAddress::Fd(String::new()))),
        _ => {
            let words = "None or one of 'path', 'fd' or 'host' option required.";
            Err(ParameterError::new("path", Problem::Conflict).shown_as(words))
        }
    }
}

/// Where a `udp` sends to.
fn remote_address(opts: &Opts, kind: &str) -> Result<Option<SocketAddress>, ParameterError> {
    let host = opts
        .get("host")
        .filter(|host| !host.is_empty())
        .unwrap_or("localhost");
    let port = opts.get("port").filter(|port| !port.is_empty());
    let words = || format!("chardev: {kind}: remote port not specified");
    let port = port.ok_or_else(|| ParameterError::missing("port").shown_as(words()))?;
    let address = InetAddress {
        to: None,
        keep_alive: false,
        mptcp: false,
        ..inet(opts, host, port)?
    };
    Ok(Some(SocketAddress::Inet(address)))
}

/// Where a `udp` receives; nothing if neither address nor port was given.
fn local_address(opts: &Opts) -> Result<Option<SocketAddress>, ParameterError> {
    let (host, port) = (opts.get("localaddr"), opts.get("localport"));
    if host.is_none() && port.is_none() {
        return Ok(None);
    }
    Ok(Some(SocketAddress::Inet(InetAddress {
        host: host.unwrap_or_default().to_owned(),
        port: port
            .filter(|port| !port.is_empty())
            .unwrap_or("0")
            .to_owned(),
        ..InetAddress::default()
    })))
}

fn inet(opts: &Opts, host: &str, port: &str) -> Result<InetAddress, ParameterError> {
    let to = opts
        .get("to")
        .map(|text| parse_number("to", text))
        .transpose()?;
    let too_large = |_| ParameterError::expects("to", Expected::Other("uint16_t"));
    Ok(InetAddress {
        host: host.to_owned(),
        port: port.to_owned(),
        to: to.map(u16::try_from).transpose().map_err(too_large)?,
        ipv4: switch(opts, "ipv4")?,
        ipv6: switch(opts, "ipv6")?,
        keep_alive: switch(opts, "keep-alive")?.unwrap_or(false),
        mptcp: switch(opts, "mptcp")?.unwrap_or(false),
        ..InetAddress::default()
    })
}

/// Spells out what the command line means where QMP would mean something else.
fn apply_rule(opts: &Opts, rule: &LineRule, options: &mut Options) -> Result<(), ParameterError> {
    match *rule {
        LineRule::Implied {
            option,
            value,
            when,
        } => {
            let applies = when.is_none_or(|when| options.bool_or(when, false));
            if applies && options.get(option).is_none() {
                options.set(option, OptionValue::Bool(value));
            }
        }
        LineRule::Inverse { key, option } => {
            let Some(value) = switch(opts, key)? else {
                return Ok(());
            };
            if opts.get(option).is_some() {
                let words = format!("'{key}' and '{option}' are mutually exclusive");
                return Err(ParameterError::new(key, Problem::Conflict).shown_as(words));
            }
            options.set(option, OptionValue::Bool(!value));
        }
    }
    Ok(())
}

fn switch(opts: &Opts, key: &str) -> Result<Option<bool>, ParameterError> {
    opts.get(key).map(|text| parse_bool(key, text)).transpose()
}
