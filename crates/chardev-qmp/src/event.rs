//! The events: one table, and the limit on how often one is sent.
//!
//! To add an event: a row in [`EVENTS`] (names of our own start with `X_`), and a call where it
//! happens (`chardev-monitor`: `Events::emit`). `query-qmp-schema` derives from the table.

use std::time::Duration;

use chardev_core::DropReason;

use chardev_qapi::schema::{Member, Mismatch, ObjectType, Type, optional, required};
use chardev_qapi::{Json, Object};

/// What is known of an event beforehand.
#[derive(Debug)]
pub struct EventSpec {
    /// Its name.
    pub name: &'static str,
    /// How much time lies at least between two with the same [`key`](EventSpec::key); of those
    /// that come sooner the last one is sent when that time is over.
    pub interval: Option<Duration>,
    /// The member of its data that tells streams of events apart; empty if there is one stream.
    pub key: &'static str,
    /// Its data; an object without members means that there is no `data` on the wire.
    pub data: fn() -> ObjectType,
}

/// All events.
pub const EVENTS: &[EventSpec] = &[
    plain("SHUTDOWN", || {
        let reasons = [
            "none",
            "host-error",
            "host-qmp-quit",
            "host-qmp-system-reset",
            "host-signal",
            "host-ui",
            "guest-shutdown",
            "guest-reset",
            "guest-panic",
            "subsystem-reset",
            "snapshot-load",
        ];
        ObjectType::new([
            required("guest", Type::Bool),
            required("reason", Type::words(&reasons)),
        ])
    }),
    plain("STOP", ObjectType::default),
    plain("RESUME", ObjectType::default),
    EventSpec {
        interval: Some(Duration::from_secs(1)),
        key: "id",
        ..plain("VSERPORT_CHANGE", || {
            ObjectType::new([required("id", Type::Str), required("open", Type::Bool)])
        })
    },
    plain("DEVICE_DELETED", || {
        ObjectType::new([optional("device", Type::Str), required("path", Type::Str)])
    }),
    plain("X_CHARDEV_CONNECTED", peer),
    plain("X_CHARDEV_DISCONNECTED", peer),
    plain("X_CHARDEV_CHANGED", || {
        ObjectType::new([
            required("id", Type::Str),
            optional("epoch", Type::Str),
            required("kind", Type::Str),
            required("filename", Type::Str),
            required("offset", Type::Int),
            required("count", Type::Int),
        ])
    }),
    plain("X_CHARDEV_DRAINED", || {
        ObjectType::new([
            required("id", Type::Str),
            optional("epoch", Type::Str),
            required("undelivered", Type::Int),
        ])
    }),
    plain("X_CHARDEV_OUT_OF_MEMORY", || {
        ObjectType::new([required("id", Type::Str), optional("epoch", Type::Str)])
    }),
    // For the monitor over which the attachment was made.
    plain("X_CHARDEV_DETACHED", || {
        ObjectType::new([
            required("id", Type::Str),
            required("reason", Type::words(&DETACH_REASONS)),
            optional("by", Type::Str),
            optional("kind", Type::Str),
            optional("filename", Type::Str),
        ])
    }),
    plain("X_CHARDEV_RESIZED", || {
        ObjectType::new([
            required("id", Type::Str),
            optional("epoch", Type::Str),
            required("cols", Type::Int),
            required("rows", Type::Int),
            required("offset", Type::Int),
        ])
    }),
    plain("X_CHARDEV_MARKED", || {
        ObjectType::new([
            required("id", Type::Str),
            optional("epoch", Type::Str),
            required("offset", Type::Int),
            required("by", Type::Str),
            required("text", Type::Str),
        ])
    }),
    plain("X_DEVICE_STARTED", || {
        let members = device().into_iter().chain([optional("pid", Type::Int)]);
        ObjectType::new(members.collect::<Vec<_>>())
    }),
    plain("X_DEVICE_ENDED", || {
        let members = [required("restart", Type::Bool)];
        let members = members.into_iter().chain(crate::answers::ending());
        ObjectType::new(device().into_iter().chain(members).collect::<Vec<_>>())
    }),
    // With the bytes that are missing once the log goes on.
    plain("X_CHARDEV_LOG_HOLE", || {
        ObjectType::new([
            required("id", Type::Str),
            optional("epoch", Type::Str),
            required("offset", Type::Int),
            optional("bytes", Type::Int),
            optional("cause", Type::Str),
        ])
    }),
    // At their place in the stream, to a client that did not take them in time.
    plain("X_CHARDEV_EVENTS_LOST", || {
        ObjectType::new([required("count", Type::Int)])
    }),
    // The library limits these, and adds them up.
    plain("X_CHARDEV_DROPPED", || {
        ObjectType::new([
            required("id", Type::Str),
            optional("epoch", Type::Str),
            required("reason", Type::words(&DropReason::NAMES)),
            required("bytes", Type::Int),
            required("total", Type::Int),
        ])
    }),
];

/// Why an attachment ended, other than by who had made it.
const DETACH_REASONS: [&str; 4] = ["taken", "moved", "removed", "revoked"];

/// What all events about devices tell.
fn device() -> [Member; 3] {
    ["id", "driver", "chardev"].map(|name| required(name, Type::Str))
}

/// The data of `X_CHARDEV_CONNECTED` and `X_CHARDEV_DISCONNECTED`.
fn peer() -> ObjectType {
    ObjectType::new([
        required("id", Type::Str),
        optional("epoch", Type::Str),
        optional("peer", Type::Str),
    ])
}

const fn plain(name: &'static str, data: fn() -> ObjectType) -> EventSpec {
    EventSpec {
        name,
        interval: None,
        key: "",
        data,
    }
}

/// An event that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: &'static str,
    /// Its data, if it has any.
    pub data: Option<Json>,
    /// When it happened, since the Unix epoch; not when it is sent.
    pub timestamp: Duration,
}

impl Event {
    /// An event of the table. Debug builds check its data.
    pub fn new(name: &'static str, data: Option<Json>, timestamp: Duration) -> Self {
        debug_assert_eq!(check(name, data.as_ref()), Ok(()));
        Event {
            name,
            data,
            timestamp,
        }
    }

    /// As it is on the wire.
    pub fn to_object(&self) -> Object {
        let time = Object::new()
            .with("seconds", self.timestamp.as_secs())
            .with("microseconds", self.timestamp.subsec_micros());
        let all = Object::new()
            .with("timestamp", time)
            .with("event", self.name);
        match &self.data {
            Some(data) => all.with("data", data.clone()),
            None => all,
        }
    }
}

/// How many streams of events are remembered at most; beyond that, events are not held back.
pub const MAX_STREAMS: usize = 1024;

/// Keeps events to their intervals. Knows no clock: times are what the caller measures from.
#[derive(Debug, Default)]
pub struct Throttle {
    streams: Vec<Stream>,
}

/// An event that was sent less than its interval ago.
#[derive(Debug)]
struct Stream {
    name: &'static str,
    key: Option<Json>,
    due: Duration,
    interval: Duration,
    pending: Option<Event>,
}

impl Throttle {
    /// Takes an event that happened at `now`; returns it if it may be sent at once.
    pub fn offer(&mut self, event: Event, now: Duration) -> Option<Event> {
        let spec = EVENTS.iter().find(|spec| spec.name == event.name);
        let Some((spec, interval)) = spec.and_then(|spec| Some((spec, spec.interval?))) else {
            return Some(event);
        };
        let key = event.data.as_ref().and_then(|data| data.get(spec.key));
        let known = self
            .streams
            .iter_mut()
            .find(|stream| stream.name == event.name && stream.key.as_ref() == key);
        if let Some(stream) = known {
            stream.pending = Some(event);
            return None;
        }
        if self.streams.len() < MAX_STREAMS {
            self.streams.push(Stream {
                name: event.name,
                key: key.cloned(),
                due: now + interval,
                interval,
                pending: None,
            });
        }
        Some(event)
    }

    /// The events whose time has come by `now`.
    pub fn poll(&mut self, now: Duration) -> Vec<Event> {
        let mut ready = Vec::new();
        self.streams.retain_mut(|stream| {
            if stream.due > now {
                return true;
            }
            let Some(event) = stream.pending.take() else {
                return false;
            };
            stream.due = now + stream.interval;
            ready.push(event);
            true
        });
        ready
    }

    /// When to [`poll`](Throttle::poll) next, if at all.
    pub fn next_due(&self) -> Option<Duration> {
        self.streams.iter().map(|stream| stream.due).min()
    }
}

/// What is wrong with an event, if anything.
fn check(name: &str, data: Option<&Json>) -> Result<(), Mismatch> {
    let spec = EVENTS.iter().find(|spec| spec.name == name);
    let unknown = || Mismatch::new(" is not in the table of events").within(name);
    let spec = spec.ok_or_else(unknown)?;
    let ty = Type::Object((spec.data)());
    let checked = ty.check(data.unwrap_or(&Json::empty()));
    checked.map_err(|wrong| wrong.within(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chardev_qapi::Object;

    fn change(id: &str, open: bool, at: u64) -> Event {
        let data = Object::new().with("id", id).with("open", open);
        Event::new(
            "VSERPORT_CHANGE",
            Some(data.into()),
            Duration::from_millis(at),
        )
    }

    #[test]
    fn the_first_goes_at_once_and_the_last_of_an_interval_when_it_is_over() {
        let ms = Duration::from_millis;
        let mut throttle = Throttle::default();
        let first = change("a", true, 0);
        assert_eq!(throttle.offer(first.clone(), ms(0)), Some(first));
        let other = change("b", true, 1);
        assert_eq!(throttle.offer(other.clone(), ms(1)), Some(other));
        assert_eq!(throttle.offer(change("a", false, 2), ms(2)), None);
        assert_eq!(throttle.offer(change("a", true, 3), ms(3)), None);
        assert_eq!(throttle.next_due(), Some(ms(1000)));
        assert_eq!(throttle.poll(ms(999)), []);
        // It says when it happened, not when it was sent.
        assert_eq!(throttle.poll(ms(1000)), [change("a", true, 3)]);
        assert_eq!(throttle.offer(change("a", false, 1500), ms(1500)), None);
        assert_eq!(throttle.poll(ms(2000)), [change("a", false, 1500)]);
        assert_eq!(throttle.poll(ms(3000)), []);
        assert_eq!(throttle.next_due(), None);
    }

    #[test]
    fn an_event_without_an_interval_is_never_held_back() {
        let mut throttle = Throttle::default();
        for _ in 0..3 {
            let event = Event::new("STOP", None, Duration::ZERO);
            assert_eq!(throttle.offer(event.clone(), Duration::ZERO), Some(event));
        }
        assert_eq!(throttle.next_due(), None);
    }

    #[test]
    fn data_is_held_against_the_table() {
        assert!(check("NO_SUCH_EVENT", None).is_err());
        assert!(check("VSERPORT_CHANGE", None).is_err());
        assert!(check("STOP", Some(&Json::Null)).is_err());
        assert_eq!(check("RESUME", None), Ok(()));
    }
}
