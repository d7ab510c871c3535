//! From options back to the argument of `-chardev` that means the same.

use crate::backend::find_kind;
use crate::spec::{
    InetAddress, KindSpec, LineRule, OptionSpec, OptionType, OptionValue, Options, ParameterError,
    Problem, SocketAddress,
};

/// The argument of `-chardev` that makes chardev `id` with these options: [`parse_chardev`] reads
/// it as the same.
///
/// [`parse_chardev`]: crate::parse_chardev
///
/// # Errors
/// What cannot be said on the command line, such as an address of a virtio socket.
pub fn chardev_line(
    id: &str,
    options: &Options,
    kinds: &[&KindSpec],
) -> Result<String, ParameterError> {
    let name = options.kind();
    let kind = find_kind(kinds, name).ok_or_else(|| ParameterError::no_kind(name))?;
    let options = explicit(options, kinds);
    let mut line = Line(format!("{name},id={}", doubled(id)));
    for option in kind.all_options() {
        if let Some(value) = options.get(option.name) {
            line.add(option, value)?;
        }
    }
    Ok(line.0)
}

/// The options with what QMP means where nothing is said, if the command line would mean something
/// else.
pub fn explicit(options: &Options, kinds: &[&KindSpec]) -> Options {
    let mut options = options.clone();
    let rules = find_kind(kinds, options.kind()).map_or(&[] as &[_], |kind| kind.line);
    for rule in rules {
        let LineRule::Implied {
            option,
            value,
            when,
        } = *rule
        else {
            continue;
        };
        let applies = when.is_none_or(|when| options.bool_or(when, false));
        if applies && options.get(option).is_none() {
            options.set(option, OptionValue::Bool(!value));
        }
    }
    options
}

struct Line(String);

impl Line {
    fn text(&mut self, key: &str, value: &str) {
        self.0.push_str(&format!(",{key}={}", doubled(value)));
    }

    fn switch(&mut self, key: &str, value: bool) {
        self.text(key, if value { "on" } else { "off" });
    }

    fn add(&mut self, option: &OptionSpec, value: &OptionValue) -> Result<(), ParameterError> {
        match value {
            OptionValue::Bool(value) => self.switch(option.cli, *value),
            // Here the size 0 stands for the default, which it is over QMP where 0 is allowed.
            OptionValue::Int(0) if option.ty == OptionType::Size => {}
            OptionValue::Int(value) => self.text(option.cli, &value.to_string()),
            OptionValue::Str(value) => self.text(option.cli, value),
            OptionValue::List(items) => {
                let stem = option.cli.split('.').next().unwrap_or(option.cli);
                if items.len() > crate::keys::LIST_KEYS {
                    let (count, limit) = (items.len(), crate::keys::LIST_KEYS);
                    let name = option.name;
                    let words = format!(
                        "'{name}' has {count} elements, but the command line takes at most {limit}"
                    );
                    return Err(unspeakable(name, words));
                }
                for (at, item) in items.iter().enumerate() {
                    self.text(&format!("{stem}.{at}"), item);
                }
            }
            OptionValue::Address(address) if option.name == "local" => self.local(address)?,
            OptionValue::Address(address) => self.address(address)?,
        }
        Ok(())
    }

    fn address(&mut self, address: &SocketAddress) -> Result<(), ParameterError> {
        match address {
            SocketAddress::Unix {
                path,
                abstract_name,
                tight,
            } => {
                self.text("path", path);
                if *abstract_name {
                    self.switch("abstract", true);
                    self.switch("tight", *tight);
                }
            }
            SocketAddress::Fd(fd) => self.text("fd", fd),
            SocketAddress::Vsock { cid, port } => {
                self.text("x-cid", cid);
                self.text("port", port);
            }
            SocketAddress::Inet(inet) => self.inet(inet)?,
        }
        Ok(())
    }

    fn inet(&mut self, inet: &InetAddress) -> Result<(), ParameterError> {
        if inet.numeric {
            let words = "'numeric' cannot be given on the command line";
            return Err(unspeakable("addr", words));
        }
        self.text("host", &inet.host);
        self.text("port", &inet.port);
        if let Some(to) = inet.to {
            self.text("to", &to.to_string());
        }
        for (key, value) in [("ipv4", inet.ipv4), ("ipv6", inet.ipv6)] {
            if let Some(value) = value {
                self.switch(key, value);
            }
        }
        if inet.keep_alive {
            self.switch("keep-alive", true);
        }
        if inet.mptcp {
            self.switch("mptcp", true);
        }
        Ok(())
    }

    fn local(&mut self, address: &SocketAddress) -> Result<(), ParameterError> {
        let SocketAddress::Inet(inet) = address else {
            return Err(unspeakable("local", "'local' is not an Internet address"));
        };
        self.text("localaddr", &inet.host);
        self.text("localport", &inet.port);
        Ok(())
    }
}

/// Option `name` has a value that the command line has no spelling for.
fn unspeakable(name: &str, words: impl Into<String>) -> ParameterError {
    ParameterError::new(name, Problem::Unsupported).shown_as(words)
}

/// A comma in a value is written twice.
fn doubled(text: &str) -> String {
    text.replace(',', ",,")
}
