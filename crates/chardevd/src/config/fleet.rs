//! `[fleet]`: which servers the host's consoles are sent to, and how their stream is kept.

use std::path::Path;

use super::check::check_table;
use super::errors::Mistakes;
use super::keys::FLEET;
use super::values::Value;
use crate::fleet::Settings;

/// What the section says.
pub(super) fn settings(value: &Value, mistakes: &mut Mistakes) -> Option<Settings> {
    check_table(value, &[FLEET], "[fleet]", mistakes);
    #[cfg(feature = "fleet")]
    return present::read(value, mistakes);
    #[cfg(not(feature = "fleet"))]
    {
        let hint = "leave [fleet] out, or build it with the feature fleet".to_owned();
        mistakes.add_hint(&value.place, crate::fleet::LACKS, hint);
        None
    }
}

/// The same with relative paths that start at `directory`.
pub(super) fn within(settings: Settings, directory: &Path) -> Settings {
    #[cfg(feature = "fleet")]
    return settings.within(directory);
    #[cfg(not(feature = "fleet"))]
    {
        let _ = directory;
        settings
    }
}

#[cfg(feature = "fleet")]
mod present {
    use std::time::Duration;

    use chardev_fleet::{Settings, StreamSettings};
    use chardev_monitor::Role;

    use super::super::errors::Mistakes;
    use super::super::keys::size;
    use super::super::values::{Data, Table, Value};

    pub(super) fn read(value: &Value, mistakes: &mut Mistakes) -> Option<Settings> {
        let table = value.table()?;
        let servers = table.get("servers").map_or(Vec::new(), Value::texts);
        if servers.is_empty() {
            let hint = "add servers = [\"nats://HOST:4222\"]".to_owned();
            mistakes.add_hint(&value.place, "nothing says where the servers are", hint);
        }
        for (server, place) in &servers {
            if let Err(why) = Settings::check_server(server) {
                mistakes.add(place, why);
            }
        }
        let text = |name| table.text(name).map(str::to_owned);
        let cluster = text("cluster").unwrap_or_else(|| "default".to_owned());
        let host = text("host").unwrap_or_else(|| {
            let name = rustix::system::uname();
            name.nodename().to_string_lossy().into_owned()
        });
        let path = |name| table.text(name).map(Into::into);
        Some(Settings {
            stream: stream(table.get("stream"), &cluster, mistakes),
            servers: servers.iter().map(|(it, _)| (*it).to_owned()).collect(),
            cluster,
            host,
            credentials: path("credentials"),
            nkey: path("nkey"),
            reader_credentials: path("reader-credentials"),
            reader_nkey: path("reader-nkey"),
            ca: path("ca"),
            qmp: role(table.get("qmp"), mistakes),
            presence: presence(table, mistakes),
        })
    }

    /// After how long a host counts as down.
    fn presence(table: &Table, mistakes: &mut Mistakes) -> Duration {
        let usual = Settings::default().presence;
        let Some(said) = table.get("presence") else {
            return usual;
        };
        said.text().and_then(age).unwrap_or_else(|| {
            let hint = "write one such as \"30s\" or \"2m\", or \"0s\" for none".to_owned();
            mistakes.add_hint(&said.place, "'presence' is no time", hint);
            usual
        })
    }

    /// The name of a role.
    fn role(value: Option<&Value>, mistakes: &mut Mistakes) -> Option<String> {
        let (text, place) = (value?.text()?, &value?.place);
        match text.parse::<Role>() {
            Ok(role) => Some(role.name().to_owned()),
            Err(why) => {
                mistakes.add(place, why);
                None
            }
        }
    }

    /// What may be said of the stream: its name alone, or a table.
    fn stream(value: Option<&Value>, cluster: &str, mistakes: &mut Mistakes) -> StreamSettings {
        let mut stream = StreamSettings {
            name: StreamSettings::usual_name(cluster),
            ..StreamSettings::default()
        };
        let Some(value) = value else { return stream };
        let empty = Table(Vec::new());
        let table = value.table().unwrap_or(&empty);
        if let Some(name) = value.text().or(table.text("name")) {
            let is_odd = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
            if name.is_empty() || name.contains(is_odd) {
                let what = format!("'{name}' is no name of a stream");
                let hint = "write letters, digits, - and _".to_owned();
                mistakes.add_hint(&value.place, what, hint);
            }
            name.clone_into(&mut stream.name);
        }
        let switch = |name| table.get(name).and_then(Value::switch);
        stream.create = switch("create").unwrap_or(stream.create);
        stream.compress = switch("compress").unwrap_or(stream.compress);
        let tags = table.get("tags").map_or(Vec::new(), Value::texts);
        stream.tags = tags.iter().map(|(tag, _)| (*tag).to_owned()).collect();
        if let Some(said) = table.get("max-age") {
            match said.text().and_then(age) {
                Some(age) => stream.max_age = age,
                None => mistakes.add_hint(
                    &said.place,
                    "'max-age' is no time",
                    "write one such as \"12h\" or \"30d\", or \"0s\" for ever".to_owned(),
                ),
            }
        }
        stream.max_bytes = table.get("max-bytes").and_then(|said| match &said.data {
            Data::Text(text) => u64::try_from(size(text)?).ok(),
            Data::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        });
        if let Some(said) = table.get("replicas") {
            match said.number().and_then(|it| usize::try_from(it).ok()) {
                Some(count @ (1 | 3 | 5)) => stream.replicas = count,
                _ => mistakes.add(&said.place, "'replicas' has to be 1, 3 or 5"),
            }
        }
        stream
    }

    /// A number and the letter of its unit.
    fn age(text: &str) -> Option<Duration> {
        let unit = text.chars().last()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            'w' => 7 * 24 * 3600,
            _ => return None,
        };
        let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
        // More than a server can count in nanoseconds is no time.
        let seconds = number
            .checked_mul(seconds)
            .filter(|it| *it <= 9_000_000_000)?;
        Some(Duration::from_secs(seconds))
    }
}
