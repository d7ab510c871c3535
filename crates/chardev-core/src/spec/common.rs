//! The options of all chardevs: one table, from which parsers, schema, help and `x-chardev-set`
//! follow.
//!
//! To add one, add a line here. One that says something about the policy also has a function that
//! puts it into a [`PolicyChange`].

use std::time::Duration;

use super::{Expected, OptionSpec, OptionType, OptionValue, ParameterError, Problem};
use crate::memory;
use crate::policy::{Closed, LogFull, PolicyChange};

/// The largest history of a chardev.
const MAX_HISTORY: i64 = 1 << 30;

/// The options every kind takes (QAPI `ChardevCommon`, and ours under `x-`).
pub const COMMON_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "logfile",
        OptionType::Str,
        "file that receives a copy of all output",
    )
    .path(),
    OptionSpec::new(
        "logappend",
        OptionType::Bool,
        "append to the log file instead of truncating it (default off)",
    ),
    OptionSpec::new(
        "x-logsize",
        OptionType::Size,
        "size at which the log file is rotated to <logfile>.1, .2 and so on; it is never larger",
    ),
    OptionSpec::new(
        "x-logcount",
        OptionType::Int,
        "how many old log files to keep (default 1); 0 truncates the file instead",
    ),
    OptionSpec::new(
        "x-logindex",
        OptionType::Str,
        "index file with one line per log line: absolute offset, time, position in the log file",
    )
    .path(),
    OptionSpec::new(
        "x-log-full",
        OptionType::Enum(&["hole", "hold"]),
        "what happens to output while the log cannot be written: hole (it is left out of the log, counted, and marked in the index; the default) or hold (the front end waits)",
    ).sets(set_log_full),
    OptionSpec::new(
        "x-closed",
        OptionType::Enum(&["discard", "hold", "history"]),
        "what happens to output while there is no peer: discard (counted; the default), hold (the front end waits) or history (the newest bytes are kept for the next peer)",
    ).sets(set_closed),
    OptionSpec::new(
        "x-history",
        OptionType::Size,
        "bytes of output to keep for viewers and x-chardev-history, and with x-closed=history for the next peer; up to 1 GiB (default: 1M with x-closed=history; otherwise none in the library, and in chardevd 64k or what its --history says)",
    ).sets(set_history),
    OptionSpec::new(
        "x-drain-ms",
        OptionType::Int,
        "after a change, how long the old peer may stall, in ms, before its remaining output is counted as lost (default 30000)",
    ).sets(set_drain),
    OptionSpec::new(
        "x-handover",
        OptionType::Bool,
        "in a change: keep the connected peer if the transport is the same and only options differ (default off)",
    ),
];

/// The options that would make `change`.
pub(super) fn of_policy(change: PolicyChange) -> impl Iterator<Item = (&'static str, OptionValue)> {
    let word = |word: &str| OptionValue::Str(word.to_owned());
    let number = |number: u128| OptionValue::Int(number.try_into().unwrap_or(i64::MAX));
    let closed = change.closed.map(|closed| match closed {
        Closed::Discard => word("discard"),
        Closed::Hold => word("hold"),
        Closed::History => word("history"),
    });
    let log_full = change.log_full.map(|full| match full {
        LogFull::Hole => word("hole"),
        LogFull::Hold => word("hold"),
    });
    let history = change.history.map(|bytes| number(bytes as u128));
    let drain = change.drain.map(|time| number(time.as_millis()));
    let all = [
        ("x-closed", closed),
        ("x-log-full", log_full),
        ("x-history", history),
        ("x-drain-ms", drain),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
}

fn set_closed(value: &OptionValue, policy: &mut PolicyChange) -> Result<(), ParameterError> {
    policy.closed = Some(match word(value) {
        "discard" => Closed::Discard,
        "hold" => Closed::Hold,
        "history" => Closed::History,
        other => return Err(ParameterError::not_accepted("x-closed", other)),
    });
    Ok(())
}

fn set_log_full(value: &OptionValue, policy: &mut PolicyChange) -> Result<(), ParameterError> {
    policy.log_full = Some(match word(value) {
        "hole" => LogFull::Hole,
        "hold" => LogFull::Hold,
        other => return Err(ParameterError::not_accepted("x-log-full", other)),
    });
    Ok(())
}

fn set_history(value: &OptionValue, policy: &mut PolicyChange) -> Result<(), ParameterError> {
    let bytes = number("x-history", value, MAX_HISTORY)?;
    if !memory::is_available(bytes as usize) {
        let problem = Problem::OutOfRange(bytes.to_string());
        return Err(ParameterError::new("x-history", problem).shown_as(format!(
            "not enough memory for an 'x-history' of {bytes} bytes; choose a smaller size"
        )));
    }
    policy.history = Some(bytes as usize);
    Ok(())
}

fn set_drain(value: &OptionValue, policy: &mut PolicyChange) -> Result<(), ParameterError> {
    let ms = number("x-drain-ms", value, i64::from(u32::MAX))?;
    policy.drain = Some(Duration::from_millis(ms as u64));
    Ok(())
}

fn word(value: &OptionValue) -> &str {
    match value {
        OptionValue::Str(word) => word,
        _ => "",
    }
}

fn number(name: &str, value: &OptionValue, limit: i64) -> Result<i64, ParameterError> {
    match value {
        OptionValue::Int(value) if (0..=limit).contains(value) => Ok(*value),
        _ => Err(ParameterError::expects(name, Expected::Range(0, limit))),
    }
}
