//! What is typed beside a chardev's peer (`x-chardev-send`).

use std::time::Duration;

use chardev::Chardevs;
use chardev_qapi::schema::{Type, optional, required};
use chardev_qapi::{Json, Object};
use chardev_qmp::ringbuf::{self, Format};
use tokio::time::Instant;

use super::not_found;
use crate::access::Role;
use crate::caller::Caller;
use crate::own::{Answer, OwnCommand};
use crate::stats::with_epoch;

/// The longest that a client may have us wait.
const WAIT_LIMIT: Duration = Duration::from_secs(3600);
/// The first and the longest pause before a front end that has not read is looked at again.
const PAUSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// The command `x-chardev-send`.
pub(super) fn command() -> OwnCommand {
    OwnCommand::waiting("x-chardev-send", send)
        .open_to(Role::Attach, "id")
        .takes([
            required("id", Type::Str),
            required("data", Type::Str),
            optional("format", Type::words(&["utf8", "base64"])),
            optional("wait-ms", Type::Int),
        ])
        .returns(Type::object([
            optional("epoch", Type::Str),
            required("offset", Type::Int),
            required("queued", Type::Int),
            required("waiting", Type::Int),
        ]))
}

/// Queues the data for the front end as it makes room, and waits until it has been read, for no
/// longer than the client wants.
async fn send(arguments: Object, caller: Caller) -> Answer {
    let text = |name| arguments.get(name).and_then(Json::as_str);
    let id = text("id").unwrap_or_default();
    let format = match text("format") {
        Some("base64") => Format::Base64,
        _ => Format::Utf8,
    };
    let data = ringbuf::decode(text("data").unwrap_or_default(), format)?;
    let wait = arguments.get("wait-ms").and_then(Json::as_i64).unwrap_or(0);
    let Ok(wait) = u64::try_from(wait).map(Duration::from_millis) else {
        return Err("wait-ms must not be negative".into());
    };
    let until = Instant::now() + wait.min(WAIT_LIMIT);
    let chardevs = caller.chardevs();
    let before = chardevs.details(id).ok_or_else(|| not_found(id))?;
    let (mut rest, mut mark) = (&data[..], 0);
    let mut pause = PAUSE[0];
    let waiting = loop {
        let taken = chardevs.type_in(id, rest).ok_or_else(|| not_found(id))?;
        rest = &rest[taken..];
        let queue = Queue::of(chardevs, id).ok_or_else(|| not_found(id))?;
        if taken > 0 || mark == 0 {
            mark = queue.end;
            pause = PAUSE[0];
        }
        let waiting = mark.saturating_sub(queue.begin);
        if rest.is_empty() && waiting == 0 || Instant::now() >= until {
            break waiting;
        }
        tokio::time::sleep_until(until.min(Instant::now() + pause)).await;
        pause = (pause * 2).min(PAUSE[1]);
    };
    let queued = data.len() - rest.len();
    Ok(with_epoch(Object::new(), before.epoch)
        .with("offset", before.stats.output_accepted)
        .with("queued", queued as u64)
        .with("waiting", waiting)
        .into())
}

/// Where the input that waits for the front end begins and ends, counted from its first byte ever.
struct Queue {
    begin: u64,
    end: u64,
}

impl Queue {
    fn of(chardevs: &Chardevs, id: &str) -> Option<Self> {
        let details = chardevs.details(id)?;
        let stats = &details.stats;
        let begin = stats.input_delivered + stats.input_purged + stats.input_overflowed;
        let end = begin + details.input_pending;
        Some(Queue { begin, end })
    }
}
