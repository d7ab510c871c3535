//! `chardevctl events`: what happens to the consoles, as it happens.

use chardev::text::shown;
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Event;

use super::commands::print_bytes;
use super::complete;
use super::connect::Target;
use super::failure::{Failure, Status};
use super::time::utc;

/// Prints what happens to consoles, as it happens, until Ctrl-C
///
/// A line is the time (UTC), the event, the chardev or device, and what else is known. With
/// --fleet, it is what happens on all hosts of the cluster, with HOST/CONSOLE, or HOST alone for
/// what concerns no console. Of what was missed, because the connection was lost for example, a
/// line on standard error says how much that was, as far as that is known.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Only of these chardevs and devices; with --fleet, of these consoles (HOST/CONSOLE) and hosts
    #[arg(add = complete::ids())]
    pub(super) id: Vec<String>,
    /// Print QMP's events, one JSON object a line; with --fleet, each with its host and console
    #[arg(long)]
    pub(super) json: bool,
}

/// Prints them until nobody reads, or the daemon is gone.
pub(super) fn run(target: &Target, args: &Args) -> Result<(), Failure> {
    let mut monitor = target.private(|_| Ok(()))?;
    let enable = Object::new().with("enable", true);
    let heard = monitor.execute("x-chardev-events", enable);
    heard.map_err(|error| target.failed(&error))?;
    loop {
        let event = match monitor.next_event() {
            Ok(event) => event,
            Err(_) => return Err(Failure::new(Status::NoDaemon, "the daemon is gone")),
        };
        let id = event.data.get("id").and_then(Json::as_str).unwrap_or("-");
        let text = match args.json {
            true => format!("{}\n", Json::Object(object(&event))),
            false => line(&event, id),
        };
        if is_about(&event, &args.id) && !print_bytes(text.as_bytes())? {
            return Ok(());
        }
        if event.name == "SHUTDOWN" {
            return Err(Failure::new(Status::NoDaemon, "the daemon has ended"));
        }
    }
}

fn is_about(event: &Event, ids: &[String]) -> bool {
    let named = |name| {
        let id = event.data.get(name).and_then(Json::as_str);
        id.is_some_and(|id| ids.iter().any(|wanted| wanted == id))
    };
    ids.is_empty() || named("id") || named("chardev")
}

/// The event as QMP has it.
pub(super) fn object(event: &Event) -> Object {
    let (seconds, micros) = (event.timestamp.as_secs(), event.timestamp.subsec_micros());
    let time = Object::new()
        .with("seconds", seconds)
        .with("microseconds", micros);
    Object::new()
        .with("event", event.name.as_str())
        .with("data", event.data.clone())
        .with("timestamp", time)
}

/// The event as people read it, with where it was.
pub(super) fn line(event: &Event, place: &str) -> String {
    let name = event.name.strip_prefix("X_").unwrap_or(&event.name);
    let name = name.to_lowercase().replace('_', "-");
    let (name, place) = (shown(&name), shown(place));
    let mut text = format!("{} {name} {place}", utc(event.timestamp));
    let data = event.data.as_object();
    for (name, value) in data.into_iter().flat_map(Object::iter) {
        // A person needs no number to tell one life from the next; --json has it.
        if name != "id" && name != "epoch" {
            let value = match value.as_str() {
                Some(text) => shown(text).to_string(),
                None => shown(value.to_string()).to_string(),
            };
            text += &format!(" {}={value}", shown(name));
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::{is_about, line, object};
    use chardev_qapi::Json;
    use chardev_qmp::client::Event;
    use std::time::Duration;

    #[test]
    fn an_event_is_a_line() {
        let event = Event {
            name: "X_CHARDEV_CHANGED".to_owned(),
            data: Json::parse("{'id': 'con0', 'epoch': '1f', 'kind': 'pty', 'offset': 7}")
                .expect("valid"),
            timestamp: Duration::new(951_782_400, 5_000_000),
        };
        let expected = "2000-02-29T00:00:00.005Z chardev-changed con0 kind=pty offset=7\n";
        assert_eq!(line(&event, "con0"), expected);
        let json = object(&event);
        assert_eq!(
            json.get("event").and_then(Json::as_str),
            Some("X_CHARDEV_CHANGED")
        );
        assert!(is_about(&event, &[]) && is_about(&event, &["con0".to_owned()]));
        assert!(!is_about(&event, &["kind".to_owned(), "pty".to_owned()]));
    }
}
