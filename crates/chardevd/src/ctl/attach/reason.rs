//! Why an attachment ended, in words and as an exit status.

use chardev::text::shown;
use chardev_qapi::Json;
use chardev_qmp::client::Event;

use crate::ctl::failure::{Failure, Status};

/// Why an attachment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ctl) enum Reason {
    /// The user has left, or standard input has ended.
    Left,
    /// A signal is to end us.
    Signal(i32),
    /// Somebody else has taken the console.
    Taken(Option<String>),
    /// The chardev has another back end now.
    Moved(Option<String>),
    /// The chardev was removed.
    Removed,
    /// We may not be attached any more.
    Revoked,
    /// The program behind the console has ended.
    Program(String),
    /// The daemon ends, or has ended.
    Daemon,
    /// The console's end came without a word.
    Unknown,
}

impl Reason {
    /// What the event says about chardev `id`, if it ends an attachment to it.
    pub(in crate::ctl) fn of_event(event: &Event, id: &str) -> Option<Reason> {
        let text = |name| event.data.get(name).and_then(Json::as_str);
        let owned = |name| text(name).map(str::to_owned);
        match event.name.as_str() {
            "SHUTDOWN" => Some(Reason::Daemon),
            "X_CHARDEV_DETACHED" if text("id") == Some(id) => Some(match text("reason") {
                Some("taken") => Reason::Taken(owned("by")),
                Some("moved") => Reason::Moved(destination(&event.data)),
                Some("removed") => Reason::Removed,
                Some("revoked") => Reason::Revoked,
                _ => Reason::Unknown,
            }),
            "X_DEVICE_ENDED" if text("chardev") == Some(id) && !restarts(&event.data) => {
                Some(Reason::Program(how_it_ended(&event.data)))
            }
            _ => None,
        }
    }

    /// The words for it.
    pub(super) fn describe(&self, id: &str) -> String {
        match self {
            Reason::Left => "left".to_owned(),
            Reason::Signal(signal) => format!("ended by signal {signal}"),
            Reason::Taken(Some(by)) => format!("taken by {by}"),
            Reason::Taken(None) => "taken by somebody else".to_owned(),
            Reason::Moved(Some(to)) => format!("moved to {to}"),
            Reason::Moved(None) => "moved to another back end".to_owned(),
            Reason::Removed => format!("{id} was removed"),
            Reason::Revoked => "you may not be attached to it any more".to_owned(),
            Reason::Program(how) => {
                format!("{how}; 'chardevctl restart {id}' starts it again")
            }
            Reason::Daemon => "the daemon is gone".to_owned(),
            Reason::Unknown => "the console ended".to_owned(),
        }
    }

    /// What the command comes to.
    pub(in crate::ctl) fn result(&self, id: &str) -> Result<(), Failure> {
        let status = match self {
            Reason::Left => return Ok(()),
            Reason::Signal(_) | Reason::Revoked => Status::Failed,
            Reason::Daemon => Status::NoDaemon,
            Reason::Taken(_) => Status::Taken,
            Reason::Moved(_) | Reason::Unknown => Status::Moved,
            Reason::Program(_) => Status::Program,
            Reason::Removed => Status::Removed,
        };
        Err(Failure::new(
            status,
            format!("{}: {}", shown(id), shown(self.describe(id))),
        ))
    }
}

/// Whether the program of a device is started again by itself.
pub(super) fn restarts(data: &Json) -> bool {
    data.get("restart").and_then(Json::as_bool) == Some(true)
}

/// How the program of a device ended, by what an event or `x-query-devices` says.
pub(in crate::ctl) fn how_it_ended(data: &Json) -> String {
    let number = |name| data.get(name).and_then(Json::as_u64);
    if let Some(error) = data.get("error").and_then(Json::as_str) {
        return format!("the program did not start: {error}");
    }
    match (number("signal"), number("status")) {
        (Some(signal), _) => format!("the program ended, signal {signal}"),
        (None, Some(status)) => format!("the program ended, status {status}"),
        (None, None) => "the program ended".to_owned(),
    }
}

/// Where a chardev goes, as people call it.
fn destination(data: &Json) -> Option<String> {
    let filename = data.get("filename").and_then(Json::as_str)?;
    Some(filename.strip_prefix("pty:").unwrap_or(filename).to_owned())
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use chardev_qapi::Json;
    use chardev_qmp::client::Event;
    use std::time::Duration;

    #[test]
    fn every_end_has_its_reason() {
        for (name, data, expected) in [
            ("SHUTDOWN", "{'guest': false}", Some("the daemon is gone")),
            (
                "X_CHARDEV_DETACHED",
                "{'id': 'a', 'reason': 'taken', 'by': 'sh (pid 3)'}",
                Some("taken by sh (pid 3)"),
            ),
            (
                "X_CHARDEV_DETACHED",
                "{'id': 'a', 'reason': 'moved', 'filename': 'pty:/dev/pts/8'}",
                Some("moved to /dev/pts/8"),
            ),
            (
                "X_CHARDEV_DETACHED",
                "{'id': 'a', 'reason': 'removed'}",
                Some("a was removed"),
            ),
            (
                "X_CHARDEV_DETACHED",
                "{'id': 'b', 'reason': 'removed'}",
                None,
            ),
            (
                "X_DEVICE_ENDED",
                "{'chardev': 'a', 'restart': false, 'status': 3}",
                Some("the program ended, status 3; 'chardevctl restart a' starts it again"),
            ),
            (
                "X_DEVICE_ENDED",
                "{'chardev': 'a', 'restart': false, 'signal': 9}",
                Some("the program ended, signal 9; 'chardevctl restart a' starts it again"),
            ),
            (
                "X_DEVICE_ENDED",
                "{'chardev': 'a', 'restart': true, 'status': 3}",
                None,
            ),
            ("STOP", "{}", None),
        ] {
            let event = Event {
                name: name.to_owned(),
                data: Json::parse(data).expect("valid"),
                timestamp: Duration::ZERO,
            };
            let reason = Reason::of_event(&event, "a");
            let told = reason.map(|reason| reason.describe("a"));
            assert_eq!(told.as_deref(), expected, "{name} {data}");
        }
    }
}
