//! Becoming a console's back end, or joining those who are attached to it.

use std::os::unix::net::UnixStream;

use chardev::screen::Size;
use chardev::text::shown;
use chardev_qapi::{ErrorKind, Json, Object};
use chardev_qmp::client::ClientError;

use super::link::Link;
use super::reason::{Reason, how_it_ended, restarts};
use super::replay::Replay;
use super::within::{console_of, is_within, pid_in};
use crate::ctl::connect::{Monitor, Target};
use crate::ctl::failure::{Failure, Status};
use crate::ctl::suggest;

/// The name under which the daemon is given our descriptor.
const CONSOLE: &str = "chardevctl-attach";

/// How to deal with others who are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Not at all: there must be none.
    Alone,
    /// Taking their place.
    Force,
    /// Seeing and typing beside them.
    Share,
    /// Seeing only.
    ReadOnly,
}

/// How we are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As the only one.
    Alone,
    /// Beside others.
    Share,
    /// Only to see.
    ReadOnly,
}

/// An attachment.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) console: UnixStream,
    pub(super) link: Link,
    /// Of the first byte that comes.
    pub(super) offset: u64,
    pub(super) mode: Mode,
    /// The console's last screen, for a terminal.
    pub(super) replay: Option<Replay>,
    /// What the user should know.
    pub(super) notes: Vec<String>,
    /// Why it has already come to its end, but for what there is to see.
    pub(super) over: Option<Reason>,
}

/// Attaches to chardev `id`.
///
/// # Errors
/// There is no such chardev, or somebody is there.
pub(super) fn join(
    target: &Target,
    id: &str,
    manner: Manner,
    terminal: Option<Size>,
) -> Result<Joined, Failure> {
    let mut monitor = target.private(|monitor| refuse_itself(monitor, id))?;
    let failed = |error: &ClientError| target.failed(error);
    let others = who_is_there(&mut monitor, id);
    let ours = target.stream_as(CONSOLE, &mut monitor, true)?;
    ours.set_nonblocking(true)
        .map_err(|error| format!("socket pair: {error}"))?;
    let events = Object::new().with("enable", true);
    let heard = monitor.execute("x-chardev-events", events);
    heard.map_err(|error| failed(&error))?;
    let mut arguments = Object::new().with("id", id).with("fdname", CONSOLE);
    match manner {
        Manner::Alone => {}
        Manner::Force => arguments.insert("force", true),
        Manner::Share => arguments.insert("share", true),
        Manner::ReadOnly => arguments.insert("read-only", true),
    }
    let given = match monitor.execute("x-chardev-attach", arguments) {
        Ok(given) => given,
        Err(ClientError::Command(error)) if error.kind() == Some(ErrorKind::Attached) => {
            return Err(refused(id, &error.desc));
        }
        Err(error) => return Err(suggest::failed(target, &mut monitor, id, &error)),
    };
    let offset = |name| given.get(name).and_then(Json::as_u64);
    let replay = terminal.zip(offset("offset")).map(|(size, from)| {
        let live = offset("live").unwrap_or(from);
        Replay::begin(&mut monitor, id, size, from, live)
    });
    let mut notes = Vec::new();
    if !others.is_empty() {
        notes.push(match manner {
            Manner::Force => format!("taken from {}", others.join(", ")),
            _ => format!("also here: {}", others.join(", ")),
        });
    }
    let (note, over) = what_is_behind(&mut monitor, id);
    notes.extend(note);
    Ok(Joined {
        console: ours,
        link: Link::new(monitor),
        offset: offset("offset").unwrap_or_default(),
        mode: match manner {
            Manner::Alone | Manner::Force => Mode::Alone,
            Manner::Share => Mode::Share,
            Manner::ReadOnly => Mode::ReadOnly,
        },
        replay,
        notes,
        over,
    })
}

/// A terminal that is attached to the console must not become its back end.
fn refuse_itself(monitor: &mut Monitor, id: &str) -> Result<(), Failure> {
    let daemon = rustix::net::sockopt::socket_peercred(monitor.stream()).ok();
    let daemon = daemon.map(|peer| peer.pid.as_raw_pid().unsigned_abs());
    let within = daemon.is_some_and(|daemon| is_within(id, daemon));
    let around = daemon.and_then(|daemon| shows(monitor, id, daemon));
    let id = shown(id);
    if let (false, Some(inside)) = (within, around) {
        return Err(format!(
            "this program runs inside {}, which is attached inside {id}: {id} would be shown to itself\nleave one of them first",
            shown(inside)
        )
        .into());
    }
    match within {
        true => Err(format!(
            "this program runs inside {id}, which would be shown to itself\nleave {id} first, or watch it; where it is not shown, unset CHARDEV"
        )
        .into()),
        false => Ok(()),
    }
}

/// The console we run inside, if `id` shows it, directly or by way of others.
fn shows(monitor: &mut Monitor, id: &str, daemon: u32) -> Option<String> {
    let inside = console_of(std::process::id(), daemon)?;
    let mut seen = vec![inside.clone()];
    let mut next = 0;
    while let Some(console) = seen.get(next).cloned() {
        next += 1;
        for by in attached_to(monitor, &console) {
            match pid_in(&by).and_then(|pid| console_of(pid, daemon)) {
                Some(found) if found == id => return Some(inside),
                Some(found) if !seen.contains(&found) => seen.push(found),
                _ => {}
            }
        }
    }
    None
}

/// Who is attached to a console.
fn attached_to(monitor: &mut Monitor, id: &str) -> Vec<String> {
    let stats = monitor.execute("x-query-chardev-stats", Object::new().with("id", id));
    let stats = stats
        .as_ref()
        .ok()
        .and_then(|stats| stats.as_array()?.first());
    let attached = stats.and_then(|stats| stats.get("attached")?.as_array());
    let by = |entry: &Json| Some(entry.get("by")?.as_str()?.to_owned());
    attached.unwrap_or_default().iter().filter_map(by).collect()
}

/// Who uses the console already, besides those who only look.
fn who_is_there(monitor: &mut Monitor, id: &str) -> Vec<String> {
    let Ok(stats) = monitor.execute("x-query-chardev-stats", Object::new().with("id", id)) else {
        return Vec::new();
    };
    let stats = stats.as_array().and_then(|all| all.first());
    let attached = stats.and_then(|stats| stats.get("attached")?.as_array());
    let attached: Vec<String> = attached
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| {
            let by = entry.get("by")?.as_str()?;
            Some(match entry.get("mode").and_then(Json::as_str) {
                Some("read-only") => format!("{by}, read only"),
                _ => by.to_owned(),
            })
        })
        .collect();
    let peer = stats.and_then(|stats| stats.get("peer")?.as_str());
    match (attached.is_empty(), peer) {
        (true, Some(peer)) => vec![peer.to_owned()],
        _ => attached,
    }
}

fn refused(id: &str, desc: &str) -> Failure {
    let who = shown(desc.split("; use '").next().unwrap_or(desc));
    let id = shown(id);
    let text = format!(
        "{who}\n'chardevctl attach {id}' joins with --share or --read-only, and takes over with --force"
    );
    Failure::new(Status::Taken, text)
}

/// What to say about the front end, and why the attachment is over if there is nobody to answer.
pub(in crate::ctl) fn what_is_behind(
    monitor: &mut Monitor,
    id: &str,
) -> (Option<String>, Option<Reason>) {
    let devices = monitor.execute("x-query-devices", Object::new());
    let devices = devices.as_ref().ok().and_then(Json::as_array);
    let mut own = devices.unwrap_or_default().iter();
    let own = own.find(|device| device.get("chardev").and_then(Json::as_str) == Some(id));
    let state = own.and_then(|device| device.get("state")?.as_str());
    match (own, state) {
        (Some(device), Some("ended" | "failed")) => match restarts(device) {
            true => {
                let note = format!("{}; it starts again", how_it_ended(device));
                (Some(note), None)
            }
            false => (None, Some(Reason::Program(how_it_ended(device)))),
        },
        (None, _) if !is_used(monitor, id) => {
            let note =
                "nothing is connected behind it: no device uses it, so nothing reads what you type";
            (Some(note.to_owned()), None)
        }
        _ => (None, None),
    }
}

fn is_used(monitor: &mut Monitor, id: &str) -> bool {
    let stats = monitor.execute("x-query-chardev-stats", Object::new().with("id", id));
    let open = stats.as_ref().ok().and_then(|stats| {
        let stats = stats.as_array()?.first()?;
        stats.get("frontend-open")?.as_bool()
    });
    open.unwrap_or(true)
}
