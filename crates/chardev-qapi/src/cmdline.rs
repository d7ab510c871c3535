//! `-chardev KIND,id=ID,…`: a command line to [`Options`].

use crate::backend::find_kind;
pub use crate::keys::parameters;
use crate::keys::{LIST_KEYS, check_keys};
use crate::opts::{Opts, is_identifier, parse_bool, parse_number, parse_opts, parse_size};
use crate::spec::{
    InetAddress, KindSpec, LineRule, OptionSpec, OptionType, OptionValue, Options, SocketAddress,
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
/// QEMU's texts for people, warnings first: `Invalid parameter 'foo'`, perhaps over several lines.
pub fn check_syntax(text: &str, kinds: &[&KindSpec]) -> Result<(), String> {
    let opts = parse_opts(text, "backend");
    let checked = check_id(&opts).and_then(|()| check_keys(&opts, kinds));
    checked.map_err(|error| {
        let warnings = opts.warnings.iter();
        let warnings: String = warnings.map(|text| format!("warning: {text}\n")).collect();
        format!("{warnings}{error}{}", hint(&error))
    })
}

/// What QEMU adds to an error for people, beginning with a new line; nothing to most.
pub fn hint(error: &str) -> &'static str {
    if error.ends_with("expects an identifier") {
        "\nIdentifiers consist of letters, digits, '-', '.', '_', starting with a letter."
    } else if error.ends_with("number below 2^64") {
        "\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n\
         and exabytes, respectively."
    } else {
        ""
    }
}

/// Of several ids the first one counts, other than for all other keys.
fn first_id(opts: &Opts) -> Option<&str> {
    let mut pairs = opts.pairs.iter();
    pairs
        .find(|(key, _)| key == "id")
        .map(|(_, id)| id.as_str())
}

fn check_id(opts: &Opts) -> Result<(), String> {
    match first_id(opts) {
        Some(id) if !is_identifier(id) => Err("Parameter 'id' expects an identifier".to_owned()),
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
pub fn parse_chardev(text: &str, kinds: &[&KindSpec]) -> Result<ChardevLine, String> {
    let opts = parse_opts(text, "backend");
    check_id(&opts)?;
    check_keys(&opts, kinds)?;
    let id = first_id(&opts).map(str::to_owned);
    let id = id.ok_or("chardev: no id specified")?;
    let kind = opts
        .get("backend")
        .ok_or_else(|| format!("chardev: \"{id}\" missing backend"))?;
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
pub fn parse_backend_line(text: &str, kinds: &[&KindSpec]) -> Result<BackendLine, String> {
    let opts = parse_opts(text, "backend");
    if opts.get("id").is_some() {
        return Err("Unexpected 'id' parameter".to_owned());
    }
    check_keys(&opts, kinds)?;
    let kind = opts
        .get("backend")
        .ok_or("Parameter 'backend' is missing")?;
    let (options, mux) = build(&opts, kind, kinds)?;
    Ok(BackendLine {
        options,
        mux,
        warnings: opts.warnings,
    })
}

fn build(opts: &Opts, kind: &str, kinds: &[&KindSpec]) -> Result<(Options, bool), String> {
    let mux = switch(opts, "mux")?.unwrap_or(false);
    let not_valid = || format!("'{kind}' is not a valid char driver name");
    let spec = find_kind(kinds, kind).ok_or_else(not_valid)?;
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

fn missing(option: &OptionSpec) -> String {
    match (option.missing, option.cli) {
        ("", "") => format!("Parameter '{}' is missing", option.name),
        ("", cli) => format!("Parameter '{cli}' is missing"),
        (words, _) => words.to_owned(),
    }
}

fn read_option(
    opts: &Opts,
    option: &'static OptionSpec,
    kind: &str,
) -> Result<Option<OptionValue>, String> {
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
        // Here, other than over QMP, the size 0 stands for the default.
        OptionType::Size => match parse_size(key, text)? {
            0 => return Ok(None),
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
    ["path", "host", "fd"]
        .into_iter()
        .any(|key| opts.get(key).is_some())
}

/// The address of a `socket`: one of `path`, `host` and `fd`.
fn stream_address(opts: &Opts, kind: &str) -> Result<Option<SocketAddress>, String> {
    match (opts.get("path"), opts.get("host"), opts.get("fd")) {
        (Some(path), None, None) => Ok(Some(SocketAddress::Unix {
            path: path.to_owned(),
            abstract_name: switch(opts, "abstract")?.unwrap_or(false),
            tight: switch(opts, "tight")?.unwrap_or(true),
        })),
        (None, Some(host), None) => {
            let port = opts
                .get("port")
                .ok_or_else(|| format!("chardev: {kind}: no port given"))?;
            Ok(Some(SocketAddress::Inet(inet(opts, host, port)?)))
        }
        (None, None, Some(fd)) => Ok(Some(SocketAddress::Fd(fd.to_owned()))),
        // No descriptor has this name, and whoever is asked for it has the words for that.
        (None, None, None) => Ok(Some(SocketAddress::Fd(String::new()))),
        _ => Err("None or one of 'path', 'fd' or 'host' option required.".to_owned()),
    }
}

/// Where a `udp` sends to.
fn remote_address(opts: &Opts, kind: &str) -> Result<Option<SocketAddress>, String> {
    let host = opts
        .get("host")
        .filter(|host| !host.is_empty())
        .unwrap_or("localhost");
    let port = opts.get("port").filter(|port| !port.is_empty());
    let port = port.ok_or_else(|| format!("chardev: {kind}: remote port not specified"))?;
    let address = InetAddress {
        to: None,
        keep_alive: false,
        ..inet(opts, host, port)?
    };
    Ok(Some(SocketAddress::Inet(address)))
}

/// Where a `udp` receives; nothing if neither address nor port was given.
fn local_address(opts: &Opts) -> Result<Option<SocketAddress>, String> {
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

fn inet(opts: &Opts, host: &str, port: &str) -> Result<InetAddress, String> {
    let to = opts
        .get("to")
        .map(|text| parse_number("to", text))
        .transpose()?;
    let too_large = |_| "Parameter 'to' expects uint16_t".to_owned();
    Ok(InetAddress {
        host: host.to_owned(),
        port: port.to_owned(),
        to: to.map(u16::try_from).transpose().map_err(too_large)?,
        ipv4: switch(opts, "ipv4")?,
        ipv6: switch(opts, "ipv6")?,
        keep_alive: switch(opts, "keep-alive")?.unwrap_or(false),
        ..InetAddress::default()
    })
}

/// Spells out what the command line means where QMP would mean something else.
fn apply_rule(opts: &Opts, rule: &LineRule, options: &mut Options) -> Result<(), String> {
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
                return Err(format!("'{key}' and '{option}' are mutually exclusive"));
            }
            options.set(option, OptionValue::Bool(!value));
        }
    }
    Ok(())
}

fn switch(opts: &Opts, key: &str) -> Result<Option<bool>, String> {
    opts.get(key).map(|text| parse_bool(key, text)).transpose()
}
