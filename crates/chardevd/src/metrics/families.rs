//! The metrics of a chardev, in one table.

use chardev::{Details, DropReason, Info};
use prometheus_client::registry::Unit;

pub(super) type Account = (Info, Details);
pub(super) type Label = (&'static str, &'static str);

/// A metric of each chardev.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) sort: Sort,
    pub(super) help: &'static str,
    pub(super) series: &'static [Series],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Counter,
    Gauge,
}

pub(super) struct Series {
    pub(super) label: Option<Label>,
    pub(super) get: fn(&Account) -> u64,
}

const fn one(get: fn(&Account) -> u64) -> Series {
    Series { label: None, get }
}

const fn labelled(name: &'static str, value: &'static str, get: fn(&Account) -> u64) -> Series {
    Series {
        label: Some((name, value)),
        get,
    }
}

macro_rules! dropped {
    ($($reason:ident)*) => {
        &[$(labelled("reason", DropReason::$reason.as_str(), |(_, it)| {
            it.stats.dropped(DropReason::$reason)
        })),*]
    };
}

/// The metrics of each chardev but for its times. To add one, add it here.
pub(super) const FAMILIES: &[Family] = &[
    bytes(
        "output",
        "Output accepted from the front end",
        &[one(|(_, it)| it.stats.output_accepted)],
    ),
    bytes(
        "output_injected",
        "Output from elsewhere than the front end",
        &[one(|(_, it)| it.stats.output_injected)],
    ),
    bytes(
        "input",
        "Input read by the front end",
        &[one(|(_, it)| it.stats.input_delivered)],
    ),
    bytes(
        "spliced",
        "Output and input that went from one socket to another without being copied",
        &[
            labelled("direction", "output", |(_, it)| it.stats.output_spliced),
            labelled("direction", "input", |(_, it)| it.stats.input_spliced),
        ],
    ),
    bytes(
        "dropped",
        "Output and input that nobody got, by reason",
        dropped!(Discarded FrontEnd Overwritten Undrained InputLate InputOverflowed),
    ),
    bytes(
        "purged",
        "Output and input that a peer wanted thrown away",
        &[
            labelled("direction", "output", |(_, it)| it.stats.output_purged),
            labelled("direction", "input", |(_, it)| it.stats.input_purged),
        ],
    ),
    bytes(
        "log_lost",
        "Output that is missing in the log",
        &[one(|(_, it)| it.stats.log_lost)],
    ),
    counter(
        "log_holes",
        "Holes in the log",
        &[one(|(_, it)| it.stats.log_holes)],
    ),
    counter(
        "breaks_dropped",
        "Breaks that nobody took",
        &[one(|(_, it)| it.stats.breaks_dropped)],
    ),
    counter(
        "changes",
        "Changes of the back end, by result",
        &[
            labelled("result", "committed", |(_, it)| it.stats.changes),
            labelled("result", "failed", |(_, it)| it.stats.changes_failed),
        ],
    ),
    gauge(
        "connected",
        "Whether a peer is there",
        &[one(|(info, _)| u64::from(info.open))],
    ),
    gauge(
        "front_end_open",
        "Whether a front end uses it",
        &[one(|(info, _)| u64::from(info.frontend_open))],
    ),
    gauge(
        "viewers",
        "Viewers of the output",
        &[one(|(_, it)| u64::try_from(it.viewers).unwrap_or(u64::MAX))],
    ),
    Family {
        name: "waiting",
        unit: Some(Unit::Bytes),
        sort: Sort::Gauge,
        help: "What waits: output for a peer, in a ring or a log's queue, and input for the front end",
        series: &[
            labelled("queue", "output", |(_, it)| it.output_pending),
            labelled("queue", "ring", |(_, it)| it.ring_unread.unwrap_or(0)),
            labelled("queue", "input", |(_, it)| it.input_pending),
            labelled("queue", "log", |(_, it)| it.log_pending),
        ],
    },
    gauge(
        "log_trouble",
        "Whether the log cannot be written",
        &[one(|(_, it)| u64::from(it.log_trouble.is_some()))],
    ),
];

const fn counter(name: &'static str, help: &'static str, series: &'static [Series]) -> Family {
    Family {
        name,
        unit: None,
        sort: Sort::Counter,
        help,
        series,
    }
}

const fn bytes(name: &'static str, help: &'static str, series: &'static [Series]) -> Family {
    Family {
        name,
        unit: Some(Unit::Bytes),
        sort: Sort::Counter,
        help,
        series,
    }
}

const fn gauge(name: &'static str, help: &'static str, series: &'static [Series]) -> Family {
    Family {
        name,
        unit: None,
        sort: Sort::Gauge,
        help,
        series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_for_a_drop_has_a_series() {
        let dropped = FAMILIES.iter().find(|family| family.name == "dropped");
        let series = dropped.map(|family| family.series).unwrap_or_default();
        let names: Vec<_> = series
            .iter()
            .filter_map(|it| it.label)
            .map(|it| it.1)
            .collect();
        assert_eq!(names, DropReason::NAMES);
    }
}
