//! QEMU's short device strings, as `-serial`, `-qmp` and `-monitor` take them: `unix:PATH,…`,
//! `stdio` and so on. How a kind is spelled is in its table ([`KindSpec::short`]).

use std::fmt;

use crate::spec::{KindSpec, Short};

/// What a device string names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A chardev that exists (`chardev:ID`).
    Existing(String),
    /// A new one, in the grammar of `-chardev` without its id. `mon:` in front of a string asks
    /// for `mux=on`.
    New(String),
}

/// A device string that names nothing there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDevice(pub String);

impl fmt::Display for UnknownDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not a valid char driver", self.0)
    }
}

impl std::error::Error for UnknownDevice {}

/// Kinds of QEMU's that are asked for by their name alone and that nobody here need have: whether
/// there is such a kind is for the grammar to say.
const FOREIGN: [&str; 5] = ["msmouse", "wctablet", "braille", "testdev", "vc"];

/// Reads a device string.
///
/// # Errors
/// It is none that QEMU knows.
pub fn parse_device(text: &str, kinds: &[&KindSpec]) -> Result<Device, UnknownDevice> {
    if let Some(id) = text.strip_prefix("chardev:").filter(|id| !id.is_empty()) {
        return Ok(Device::Existing(id.to_owned()));
    }
    let line = match text.strip_prefix("mon:") {
        Some(inner) => line(inner, kinds).map(|line| shared(inner, &line, kinds)),
        None => line(text, kinds),
    };
    let line = line.ok_or_else(|| UnknownDevice(text.to_owned()))?;
    Ok(Device::New(line))
}

/// A person at a monitor that shares a terminal with a console may well press ^C.
fn shared(text: &str, line: &str, kinds: &[&KindSpec]) -> String {
    let kind = kinds.iter().find(|kind| kind.name == text);
    let extra = kind.and_then(|kind| {
        kind.short.iter().find_map(|short| match short {
            Short::Shared(options) => Some(*options),
            _ => None,
        })
    });
    match extra {
        Some(extra) => format!("{line},mux=on,{extra}"),
        None => format!("{line},mux=on"),
    }
}

fn line(text: &str, kinds: &[&KindSpec]) -> Option<String> {
    let all = kinds
        .iter()
        .flat_map(|kind| kind.short.iter().map(move |short| (kind.name, short)));
    let own = all.into_iter().find_map(|(name, short)| match short {
        Short::Name => (text == name).then(|| name.to_owned()),
        Short::Path => {
            let path = text.strip_prefix(name)?.strip_prefix(':')?;
            // The whole of the text is the path, commas and all.
            (!path.is_empty()).then(|| format!("{name},path={}", path.replace(',', ",,")))
        }
        Short::Text(read) => read(text),
        Short::Shared(_) => None,
    });
    own.or_else(|| foreign(text))
}

fn foreign(text: &str) -> Option<String> {
    if FOREIGN.contains(&text) {
        return Some(text.to_owned());
    }
    if text.starts_with("/dev/parport") || text.starts_with("/dev/ppi") {
        return Some(format!("parallel,path={}", text.replace(',', ",,")));
    }
    match text.split_once(':') {
        Some(("vc", size)) => vc(size),
        Some(_) => None,
        // QEMU does not look at what follows.
        None => text.starts_with("vc").then(|| "vc".to_owned()),
    }
}

/// `800x600` in pixels, `80Cx24C` in characters.
fn vc(size: &str) -> Option<String> {
    let (width, height) = size.split_once('x')?;
    let chars = width.strip_suffix('C').zip(height.strip_suffix('C'));
    let (width, height, keys) = match chars {
        Some((cols, rows)) => (cols, rows, ("cols", "rows")),
        None => (width, height, ("width", "height")),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(width) && is_number(height))
        .then(|| format!("vc,{}={width},{}={height}", keys.0, keys.1))
}
