//! The flat table of keys that `-chardev` accepts, whatever the kind.

use crate::opts::{Opts, parse_bool, parse_number, parse_size};
use crate::spec::{COMMON_OPTIONS, KindSpec, OptionType, ParameterError};

/// How many elements a list can have on the command line.
pub(crate) const LIST_KEYS: usize = 4;

/// Checks every key against one flat table: an option of another kind is ignored, as in QEMU.
pub(crate) fn check_keys(opts: &Opts, kinds: &[&KindSpec]) -> Result<(), ParameterError> {
    for (key, value) in &opts.pairs {
        match spelling(key, kinds) {
            None => return Err(ParameterError::invalid(key)),
            Some(Spelling::Text) => {}
            Some(Spelling::Switch) => _ = parse_bool(key, value)?,
            Some(Spelling::Number) => _ = parse_number(key, value)?,
            Some(Spelling::Size) => _ = parse_size(key, value)?,
        }
    }
    Ok(())
}

/// The keys of `-chardev` with the types that `query-command-line-options` gives them: `string`,
/// `boolean`, `number` or `size`. Those of the given kinds that QEMU lacks come first.
pub fn parameters(kinds: &[&KindSpec]) -> Vec<(String, &'static str)> {
    let known = QEMU_KEYS.iter().rev().map(|(key, _)| (*key).to_owned());
    let mut keys: Vec<String> = Vec::new();
    let own = kinds.iter().flat_map(|kind| kind.options);
    for option in own.chain(COMMON_OPTIONS) {
        let is_known = QEMU_KEYS.iter().any(|(key, _)| *key == option.cli);
        let is_list = matches!(option.ty, OptionType::StrList);
        if !option.cli.is_empty() && !is_known && !is_list && !keys.iter().any(|k| k == option.cli)
        {
            keys.push(option.cli.to_owned());
        }
    }
    keys.extend(known.filter(|key| key != "id"));
    let typed = keys.into_iter().map(|key| {
        let ty = match spelling(&key, kinds) {
            Some(Spelling::Switch) => "boolean",
            Some(Spelling::Number) => "number",
            Some(Spelling::Size) => "size",
            Some(Spelling::Text) | None => "string",
        };
        (key, ty)
    });
    typed.collect()
}

/// How the value of a key is spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Text,
    Switch,
    Number,
    Size,
}

/// The keys of QEMU's table, which are good whether or not a kind here has them, and three parts of
/// addresses that QEMU has in QMP only: `keep-alive`, `mptcp`, and vsock's `cid`.
const QEMU_KEYS: &[(&str, Spelling)] = &[
    ("backend", Spelling::Text),
    ("id", Spelling::Text),
    ("mux", Spelling::Switch),
    ("path", Spelling::Text),
    ("input-path", Spelling::Text),
    ("host", Spelling::Text),
    ("port", Spelling::Text),
    ("fd", Spelling::Text),
    ("x-cid", Spelling::Text),
    ("localaddr", Spelling::Text),
    ("localport", Spelling::Text),
    ("to", Spelling::Number),
    ("ipv4", Spelling::Switch),
    ("ipv6", Spelling::Switch),
    ("keep-alive", Spelling::Switch),
    ("mptcp", Spelling::Switch),
    ("tight", Spelling::Switch),
    ("abstract", Spelling::Switch),
    ("wait", Spelling::Switch),
    ("server", Spelling::Switch),
    ("delay", Spelling::Switch),
    ("nodelay", Spelling::Switch),
    ("reconnect", Spelling::Number),
    ("reconnect-ms", Spelling::Number),
    ("telnet", Spelling::Switch),
    ("tn3270", Spelling::Switch),
    ("tls-creds", Spelling::Text),
    ("tls-authz", Spelling::Text),
    ("websocket", Spelling::Switch),
    ("width", Spelling::Number),
    ("height", Spelling::Number),
    ("cols", Spelling::Number),
    ("rows", Spelling::Number),
    ("signal", Spelling::Switch),
    ("name", Spelling::Text),
    ("debug", Spelling::Number),
    ("size", Spelling::Size),
    ("chardev", Spelling::Text),
    ("append", Spelling::Switch),
    ("logfile", Spelling::Text),
    ("logappend", Spelling::Switch),
    ("mouse", Spelling::Switch),
    ("clipboard", Spelling::Switch),
    ("chardevs.0", Spelling::Text),
    ("chardevs.1", Spelling::Text),
    ("chardevs.2", Spelling::Text),
    ("chardevs.3", Spelling::Text),
];

fn spelling(key: &str, kinds: &[&KindSpec]) -> Option<Spelling> {
    if let Some((_, spelling)) = QEMU_KEYS.iter().find(|(name, _)| *name == key) {
        return Some(*spelling);
    }
    let own = kinds
        .iter()
        .flat_map(|kind| kind.options)
        .chain(COMMON_OPTIONS);
    own.filter(|option| !option.cli.is_empty())
        .find_map(|option| match option.ty {
            OptionType::StrList => (0..LIST_KEYS)
                .any(|at| key == format!("{}.{at}", option.cli))
                .then_some(Spelling::Text),
            _ if option.cli != key => None,
            OptionType::Bool => Some(Spelling::Switch),
            OptionType::Int => Some(Spelling::Number),
            OptionType::Size => Some(Spelling::Size),
            OptionType::Str | OptionType::Enum(_) | OptionType::Address => Some(Spelling::Text),
        })
}
