//! QAPI `ChardevBackend` to and from [`Options`], driven by the tables of the kinds.

use crate::json::{Json, Object};
use crate::schema::Word;
use crate::spec::{
    InetAddress, KindSpec, OptionSpec, OptionType, OptionValue, Options, ParameterError,
    SocketAddress,
};
use crate::visit::Reader;

/// Reads QAPI `ChardevBackend`, that is `{"type": KIND, "data": {…}}`.
///
/// `path` is the name of the value, `backend` in the commands QEMU has. A kind that is not in
/// `kinds` does not exist.
///
/// # Errors
/// QEMU's texts, the first one in schema order; what is unexpected comes last.
pub fn parse_backend(
    value: &Json,
    path: &str,
    kinds: &[&'static KindSpec],
) -> Result<Options, ParameterError> {
    let mut backend = Reader::from_value(value, path)?;
    let options = read_backend(&mut backend, kinds)?;
    backend.finish()?;
    Ok(options)
}

/// What QEMU says should no longer be used: the kind `memory`, the socket's `reconnect`.
const DEPRECATED: [&str; 2] = ["memory", "reconnect"];

/// The members of QAPI `ChardevBackend`.
pub(crate) fn read_backend(
    backend: &mut Reader<'_>,
    kinds: &[&'static KindSpec],
) -> Result<Options, ParameterError> {
    let word = |spec: &&'static KindSpec| Word {
        name: spec.name,
        deprecated: DEPRECATED.contains(&spec.name),
    };
    let words: Vec<Word> = kinds.iter().map(word).collect();
    backend.tagged("type", &words, |backend, kind| {
        backend.object("data", |data| {
            let mut options = Options::new(kind);
            let spec = find_kind(kinds, kind);
            for option in spec.into_iter().flat_map(KindSpec::all_options) {
                if let Some(value) = read_option(data, option)? {
                    options.set(option.name, value);
                }
            }
            Ok(options)
        })
    })
}

/// Writes QAPI `ChardevBackend`; the reverse of [`parse_backend`].
///
/// Options that the kind's table does not have are left out.
pub fn backend_to_json(options: &Options, kinds: &[&KindSpec]) -> Json {
    let mut data = Object::new();
    if let Some(spec) = find_kind(kinds, options.kind()) {
        for option in spec.all_options() {
            if let Some(value) = options.get(option.name) {
                data.insert(option.name, value_to_json(value));
            }
        }
    }
    Json::Object(
        Object::new()
            .with("type", options.kind())
            .with("data", data),
    )
}

/// The table of the kind with this name.
pub fn find_kind<'a>(kinds: &[&'a KindSpec], name: &str) -> Option<&'a KindSpec> {
    kinds.iter().copied().find(|spec| spec.name == name)
}

fn read_option(
    data: &mut Reader<'_>,
    option: &'static OptionSpec,
) -> Result<Option<OptionValue>, ParameterError> {
    let name = option.name;
    let value = match option.ty {
        OptionType::Bool => data.optional(name)?.map(OptionValue::Bool),
        OptionType::Int | OptionType::Size => data.optional(name)?.map(OptionValue::Int),
        OptionType::Str => data.optional(name)?.map(OptionValue::Str),
        OptionType::Enum(words) => data
            .optional_enum(name, words)?
            .map(|word| OptionValue::Str(word.to_owned())),
        OptionType::StrList => data.optional_strings(name)?.map(OptionValue::List),
        OptionType::Address => data
            .optional_object(name, read_address)?
            .map(OptionValue::Address),
    };
    if DEPRECATED.contains(&name) {
        data.mark_deprecated();
    }
    if option.required {
        data.mark_required();
    }
    match value {
        None if option.required && !data.describes() => Err(data.missing(name)),
        value => Ok(value),
    }
}

/// Reads QAPI `SocketAddressLegacy`.
fn read_address(address: &mut Reader<'_>) -> Result<SocketAddress, ParameterError> {
    let kinds = ["inet", "unix", "vsock", "fd"].map(Word::new);
    address.tagged("type", &kinds, |address, kind| {
        address.object("data", |data| {
            Ok(match kind {
                "inet" => SocketAddress::Inet(read_inet(data)?),
                "unix" => SocketAddress::Unix {
                    path: data.required("path")?,
                    abstract_name: data.optional("abstract")?.unwrap_or(false),
                    tight: data.optional("tight")?.unwrap_or(true),
                },
                "vsock" => SocketAddress::Vsock {
                    cid: data.required("cid")?,
                    port: data.required("port")?,
                },
                _ => SocketAddress::Fd(data.required("str")?),
            })
        })
    })
}

fn read_inet(data: &mut Reader<'_>) -> Result<InetAddress, ParameterError> {
    Ok(InetAddress {
        host: data.required("host")?,
        port: data.required("port")?,
        numeric: data.optional("numeric")?.unwrap_or(false),
        to: data.optional_u16("to")?,
        ipv4: data.optional("ipv4")?,
        ipv6: data.optional("ipv6")?,
        keep_alive: data.optional("keep-alive")?.unwrap_or(false),
        mptcp: data.optional("mptcp")?.unwrap_or(false),
    })
}

fn value_to_json(value: &OptionValue) -> Json {
    match value {
        OptionValue::Bool(value) => Json::Bool(*value),
        OptionValue::Int(value) => Json::Int(*value),
        OptionValue::Str(value) => Json::from(value.as_str()),
        OptionValue::List(values) => Json::from(values.clone()),
        OptionValue::Address(address) => address_to_json(address),
    }
}

fn address_to_json(address: &SocketAddress) -> Json {
    let (kind, data) = match address {
        SocketAddress::Inet(inet) => ("inet", inet_to_json(inet)),
        SocketAddress::Unix {
            path,
            abstract_name,
            tight,
        } => {
            let mut data = Object::new().with("path", path.as_str());
            if *abstract_name {
                data.insert("abstract", true);
            }
            if !*tight {
                data.insert("tight", false);
            }
            ("unix", data)
        }
        SocketAddress::Vsock { cid, port } => (
            "vsock",
            Object::new()
                .with("cid", cid.as_str())
                .with("port", port.as_str()),
        ),
        SocketAddress::Fd(name) => ("fd", Object::new().with("str", name.as_str())),
    };
    Json::Object(Object::new().with("type", kind).with("data", data))
}

fn inet_to_json(inet: &InetAddress) -> Object {
    let mut data = Object::new()
        .with("host", inet.host.as_str())
        .with("port", inet.port.as_str());
    if let Some(to) = inet.to {
        data.insert("to", to);
    }
    let switches = [
        ("numeric", inet.numeric.then_some(true)),
        ("ipv4", inet.ipv4),
        ("ipv6", inet.ipv6),
        ("keep-alive", inet.keep_alive.then_some(true)),
        ("mptcp", inet.mptcp.then_some(true)),
    ];
    for (name, value) in switches {
        if let Some(value) = value {
            data.insert(name, value);
        }
    }
    data
}
