//! Back ends: QEMU's spelling, or a table with the same words.

use chardev::spec::{KindSpec, LineRule, OptionType, OptionValue, Options, ParameterError};
use chardev_qapi::Device;
use chardev_qapi::backend::find_kind;
use chardev_qapi::cmdline::parse_backend_line;
use chardev_qapi::opts::{Opts, parse_opts};
use chardev_qapi::parse_device;

use super::errors::{Mistakes, Place, meant};
use super::values::{Data, Table, Value};

/// A back end as it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) options: Options,
    /// Whether a multiplexer is put on top.
    pub(super) mux: bool,
    /// Whether the front end waits for its first client.
    pub(super) waits: bool,
}

/// Reads back ends of these kinds.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) kinds: &'a [&'static KindSpec],
    pub(super) mistakes: &'a mut Mistakes,
}

impl Reader<'_> {
    /// A back end in QEMU's spelling, or a table with `kind`.
    pub(super) fn backend(&mut self, value: &Value) -> Option<Backend> {
        match &value.data {
            Data::Text(text) => self.backend_text(text, &value.place),
            Data::Table(table) => {
                let kind = self.kind_of(table, "kind", &value.place)?;
                self.backend_table(&kind, table, &value.place)
            }
            // Its shape has been refused.
            _ => None,
        }
    }

    /// A back end in the grammar of `-chardev`, or a device string such as `unix:PATH`.
    pub(super) fn backend_text(&mut self, text: &str, place: &Place) -> Option<Backend> {
        let first = text.split([',', '=']).next().unwrap_or_default();
        let line = if first.contains(':') || first.starts_with('/') {
            match parse_device(text, self.kinds) {
                Ok(Device::New(line)) => line,
                Ok(Device::Existing(id)) => {
                    let hint = "put a [chardev] of the kind mux or hub on it instead".to_owned();
                    let what = format!("'{text}' is chardev '{id}', which has its own place");
                    self.mistakes.add_hint(place, what, hint);
                    return None;
                }
                Err(error) => {
                    let hint = "write KIND,OPTION=VALUE,… as after -chardev".to_owned();
                    self.mistakes.add_hint(place, error.to_string(), hint);
                    return None;
                }
            }
        } else {
            text.to_owned()
        };
        self.line(&line, &|_| place.clone())
    }

    /// A back end of `kind` with the options of `table`.
    pub(super) fn backend_table(
        &mut self,
        kind: &str,
        table: &Table,
        place: &Place,
    ) -> Option<Backend> {
        let spec = self.spec(kind, place)?;
        let mut line = spec.name.to_owned();
        let mut lists = Vec::new();
        let mut good = true;
        for entry in table.0.iter().filter(|entry| entry.key != "kind") {
            let of_name = spec
                .option(&entry.key)
                .filter(|option| !option.cli.is_empty());
            let key = of_name.map_or(entry.key.as_str(), |option| option.cli);
            let list = spec.option(&entry.key).map(|option| option.ty);
            if let (Some(OptionType::StrList), Data::List(_)) = (list, &entry.value.data) {
                let texts = entry.value.texts().into_iter();
                let texts: Vec<String> = texts.map(|(text, _)| text.to_owned()).collect();
                for (at, text) in texts.iter().take(4).enumerate() {
                    line += &format!(",{}.{at}={}", entry.key, text.replace(',', ",,"));
                }
                lists.extend(spec.option(&entry.key).map(|option| (option.name, texts)));
                continue;
            }
            match plain(&entry.value) {
                Some(text) => line += &format!(",{key}={}", text.replace(',', ",,")),
                None => {
                    good = false;
                    let what = format!("'{}' is {}", entry.key, entry.value.kind());
                    self.mistakes.add(&entry.value.place, what);
                }
            }
        }
        let at = |name: &str| {
            let option = spec.all_options().find(|option| option.cli == name);
            let same = |key: &str| key == name || option.is_some_and(|option| key == option.name);
            let found = table.0.iter().find(|entry| same(&entry.key));
            found.map_or(place.clone(), |entry| entry.place.clone())
        };
        let mut backend = self.line(&line, &at).filter(|_| good)?;
        for (name, texts) in lists {
            backend.options.set(name, OptionValue::List(texts));
        }
        Some(backend)
    }

    /// A line of `-chardev` without an id. `at` says where a key was written.
    fn line(&mut self, line: &str, at: &dyn Fn(&str) -> Place) -> Option<Backend> {
        let opts = parse_opts(line, "backend");
        let spec = self.spec(opts.get("backend").unwrap_or_default(), &at("kind"))?;
        let known = keys_of(spec);
        let mut good = true;
        for (key, _) in &opts.pairs {
            let stem = key.split('.').next().unwrap_or(key);
            if !known.contains(&stem) && key != "backend" && key != "mux" {
                good = false;
                let what = format!("a {} has no option '{key}'", spec.name);
                let hint = meant(key, known.iter().copied());
                let help = format!("'chardevd --chardev {},help' lists its options", spec.name);
                self.mistakes.add_hint(&at(key), what, hint.or(Some(help)));
            }
        }
        let read = parse_backend_line(line, self.kinds).and_then(|parsed| {
            parsed.options.check(spec)?;
            parsed.options.policy()?;
            Ok(parsed)
        });
        match read {
            Ok(parsed) => Some(finished(&opts, parsed.options, parsed.mux)).filter(|_| good),
            // A key that nobody knows was told.
            Err(_) if !good => None,
            Err(error) => {
                self.mistakes
                    .add_hint(&at(error.name()), error.to_string(), hint(&error));
                None
            }
        }
    }

    fn spec(&mut self, kind: &str, place: &Place) -> Option<&'static KindSpec> {
        let found = find_kind(self.kinds, kind);
        if found.is_none() {
            let known = self.kinds.iter().map(|kind| kind.name);
            let what = format!("there is no kind of back end '{kind}'");
            let all = "'chardevd --chardev help' lists the kinds".to_owned();
            let hint = crate::ctl::nearest(kind, known);
            let hint = hint.map(|meant| format!("did you mean '{meant}'?"));
            self.mistakes.add_hint(place, what, hint.unwrap_or(all));
        }
        found
    }

    /// The word after `key` in a table that has to say its kind.
    pub(super) fn kind_of(&mut self, table: &Table, key: &str, place: &Place) -> Option<String> {
        let kind = table.text(key);
        if kind.is_none() {
            let hint = format!("add {key} = \"…\", or write a line instead of a table");
            self.mistakes
                .add_hint(place, format!("'{key}' is missing"), hint);
        }
        kind.map(str::to_owned)
    }
}

/// The keys that a back end of this kind takes, in a table and on the command line.
pub(crate) fn keys_of(spec: &KindSpec) -> Vec<&'static str> {
    let mut keys = Vec::new();
    for option in spec.all_options() {
        match (option.ty, option.name) {
            (OptionType::Address, "remote") => keys.extend(["host", "port", "ipv4", "ipv6"]),
            (OptionType::Address, "local") => keys.extend(["localaddr", "localport"]),
            (OptionType::Address, _) => keys.extend([
                "path",
                "abstract",
                "tight",
                "host",
                "port",
                "to",
                "ipv4",
                "ipv6",
                "keep-alive",
                "fd",
                "x-cid",
            ]),
            (OptionType::StrList, name) => keys.push(name),
            _ if option.cli.is_empty() => keys.push(option.name),
            _ => keys.push(option.cli),
        }
    }
    keys.extend(spec.line.iter().filter_map(|rule| match rule {
        LineRule::Inverse { key, .. } => Some(*key),
        LineRule::Implied { .. } => None,
    }));
    keys
}

/// A console serves whether or not somebody has come: only who says `wait=on` waits, and then its
/// device does.
fn finished(opts: &Opts, mut options: Options, mux: bool) -> Backend {
    let serves = options.bool_or("server", false) && options.bool_or("wait", false);
    if serves {
        options.set("wait", OptionValue::Bool(false));
    }
    Backend {
        options,
        mux,
        waits: serves && opts.get("wait").is_some(),
    }
}

fn hint(error: &ParameterError) -> Option<String> {
    let more = chardev_qapi::cmdline::hint(error).trim();
    (!more.is_empty()).then(|| more.replace('\n', " "))
}

/// A value as the command line has it.
pub(super) fn plain(value: &Value) -> Option<String> {
    match &value.data {
        Data::Text(text) => Some(text.clone()),
        Data::Number(number) => Some(number.to_string()),
        Data::Switch(true) => Some("on".to_owned()),
        Data::Switch(false) => Some("off".to_owned()),
        Data::List(_) | Data::Table(_) | Data::Other(_) => None,
    }
}
