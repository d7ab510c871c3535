//! The types of answers, for the table of commands; those of our own commands are here.

pub(crate) mod qapi;

use chardev_qapi::schema::{Type, optional, required};

use chardev_core::{DropReason, Stats};

/// Monitors, and who is at them.
pub(crate) fn monitors() -> Type {
    let client = [
        optional("peer", Type::Str),
        optional("pid", Type::Int),
        optional("program", Type::Str),
        required("since", Type::Int),
    ];
    Type::list(Type::object([
        required("label", Type::Str),
        required("mode", Type::words(&["control", "readline"])),
        required("limit", Type::Int),
        required("clients", Type::list(Type::object(client))),
    ]))
}

/// Which output somebody who is attached is given.
pub(crate) fn given() -> Type {
    Type::object([required("offset", Type::Int), required("live", Type::Int)])
}

/// The devices of the daemon.
pub(crate) fn devices() -> Type {
    let mut members = vec![
        required("id", Type::Str),
        required("driver", Type::Str),
        required("chardev", Type::Str),
        required("state", Type::words(&STATES)),
        required("since", Type::Int),
        optional("restart", Type::Bool),
        optional("command", Type::Str),
    ];
    members.extend(ending());
    Type::list(Type::object(members))
}

/// The states of a device: it waits for the first client of a `wait=on` chardev, it runs, its
/// program has ended, or could not be started.
const STATES: [&str; 4] = ["waiting", "running", "ended", "failed"];

/// Which program it is or was, and how it ended.
pub(crate) fn ending() -> [chardev_qapi::schema::Member; 4] {
    [
        optional("pid", Type::Int),
        optional("status", Type::Int),
        optional("signal", Type::Int),
        optional("error", Type::Str),
    ]
}

/// Who is attached to a chardev.
pub(crate) fn attached() -> Type {
    Type::list(Type::object([
        required("by", Type::Str),
        required("mode", Type::words(&["exclusive", "share", "read-only"])),
        required("since", Type::Int),
    ]))
}

/// Where a viewer begins.
pub(crate) fn watch_return() -> Type {
    Type::object([optional("epoch", Type::Str), required("offset", Type::Int)])
}

/// A piece of output: `contents` is what stands from `start` up to `next`.
pub(crate) fn history() -> Type {
    let offsets = ["start", "next", "oldest", "end"];
    let mut members = vec![
        required("contents", Type::Str),
        optional("epoch", Type::Str),
    ];
    members.extend(offsets.map(|name| required(name, Type::Int)));
    Type::object(members)
}

pub(crate) fn chardev_stats() -> Type {
    let mut members = vec![
        required("label", Type::Str),
        optional("epoch", Type::Str),
        required("kind", Type::Str),
        required("open", Type::Bool),
        required("frontend-open", Type::Bool),
    ];
    let counters = Stats::COUNTERS.iter();
    members.extend(counters.map(|counter| required(counter.name, Type::Int)));
    members.extend([
        optional(
            "size",
            Type::object([required("cols", Type::Int), required("rows", Type::Int)]),
        ),
        optional("peer", Type::Str),
        optional("attached", attached()),
        required("viewers", Type::Int),
        required("output-offset", Type::Int),
        required("output-oldest", Type::Int),
        required("input-offset", Type::Int),
        required("output-pending", Type::Int),
        required("input-pending", Type::Int),
        required("log-pending", Type::Int),
        optional("log-trouble", Type::Str),
        optional("ring-unread", Type::Int),
        required(
            "dropped",
            Type::object(DropReason::NAMES.map(|reason| required(reason, Type::Int))),
        ),
        optional(
            "change-times",
            Type::object(["last-us", "p50-us", "p99-us"].map(|name| required(name, Type::Int))),
        ),
    ]);
    Type::list(Type::object(members))
}
