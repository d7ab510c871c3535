//! What a scraper is told.

use std::fmt;
use std::time::Duration;

use chardev::{ChangeDurations, ChangeTimes, Details, Info};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Source;
use super::families::{FAMILIES, Family, Label, Sort};
use crate::config::State;
use crate::fleet::Gauges;

/// How many chardevs have series of their own; what the rest counts is summed up.
const LABELLED: usize = 1000;

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// What Prometheus has always read.
    Plain,
    OpenMetrics,
}

impl Format {
    /// What these lines of a request want.
    pub(super) fn wanted<'a>(mut lines: impl Iterator<Item = &'a str>) -> Self {
        let accepts = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            name.eq_ignore_ascii_case("accept") && value.contains("application/openmetrics-text")
        };
        match lines.any(accepts) {
            true => Format::OpenMetrics,
            false => Format::Plain,
        }
    }

    /// Its media type.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics as they are now.
pub(super) fn text(source: &Source, format: Format) -> String {
    let accounts = source.chardevs.accounts(None);
    // Before the table is locked, since whoever changes the fleet may want that.
    let fleet = source.fleet.gauges(&source.chardevs);
    let states = source.table.lock();
    let count = |is: fn(&State) -> bool| states.iter().filter(|kept| is(&kept.state)).count();
    let states = [
        ("running", count(|state| matches!(state, State::Running))),
        ("starting", count(|state| matches!(state, State::Starting))),
        (
            "failed",
            count(|state| matches!(state, State::Failed { .. })),
        ),
    ];
    let all = All {
        format,
        chardevs: accounts.len(),
        rows: rows(&accounts),
        durations: source.chardevs.change_durations(),
        tasks: source.chardevs.tasks().len(),
        states,
        fleet,
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(all));
    let mut text = String::new();
    let written = match format {
        Format::Plain => encode_registry(&mut text, &registry),
        Format::OpenMetrics => encode(&mut text, &registry),
    };
    // Writing into a string fails only if the encoder does, of which it has no reason.
    if let Err(error) = written {
        tracing::warn!("metrics: {error}");
    }
    text
}

/// Metrics of one chardev, or of several together.
#[derive(Debug)]
struct Row {
    console: String,
    /// One for each series of [`FAMILIES`].
    numbers: Vec<u64>,
    times: Option<ChangeTimes>,
}

fn rows(accounts: &[(Info, Details)]) -> Vec<Row> {
    let (own, rest) = accounts.split_at(accounts.len().min(LABELLED));
    let mut rows: Vec<Row> = own.iter().map(Row::of).collect();
    let rest = rest.iter().map(Row::of).reduce(Row::with);
    rows.extend(rest.map(|rest| Row {
        console: String::new(),
        ..rest
    }));
    rows
}

impl Row {
    fn of(account: &(Info, Details)) -> Self {
        let series = FAMILIES.iter().flat_map(|family| family.series);
        Row {
            console: account.0.label.clone(),
            numbers: series.map(|series| (series.get)(account)).collect(),
            times: account.1.change_times,
        }
    }

    /// The sums of both, and the longer times.
    fn with(mut self, other: Row) -> Self {
        for (number, other) in self.numbers.iter_mut().zip(other.numbers) {
            *number = number.saturating_add(other);
        }
        let longer = |a: ChangeTimes, b: ChangeTimes| ChangeTimes {
            last: a.last.max(b.last),
            p50: a.p50.max(b.p50),
            p99: a.p99.max(b.p99),
        };
        self.times = match (self.times, other.times) {
            (Some(a), Some(b)) => Some(longer(a, b)),
            (a, b) => a.or(b),
        };
        self
    }
}

/// Everything that is told at once.
#[derive(Debug)]
struct All {
    format: Format,
    chardevs: usize,
    rows: Vec<Row>,
    durations: ChangeDurations,
    tasks: usize,
    states: [(&'static str, usize); 3],
    fleet: Option<Gauges>,
}

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut at = 0;
        for family in FAMILIES {
            self.family(family, at, &mut encoder)?;
            at += family.series.len();
        }
        self.times(&mut encoder)?;
        self.durations(&mut encoder)?;
        self.process(&mut encoder)
    }
}

impl All {
    /// One metric of all chardevs; its numbers begin `at` this place.
    fn family(
        &self,
        family: &Family,
        at: usize,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> fmt::Result {
        let mut name = format!("chardev_{}", family.name);
        let mut unit = family.unit.as_ref();
        // In the plain format the suffix of a counter is part of its name.
        let is_plain_counter = family.sort == Sort::Counter && self.format == Format::Plain;
        if is_plain_counter {
            if let Some(unit) = unit.take() {
                name = format!("{name}_{}", unit.as_str());
            }
            name.push_str("_total");
        }
        let sort = match family.sort {
            Sort::Counter => MetricType::Counter,
            Sort::Gauge => MetricType::Gauge,
        };
        let mut metric = encoder.encode_descriptor(&name, family.help, unit, sort)?;
        for row in &self.rows {
            let console = ("console", row.console.as_str());
            for (series, number) in family.series.iter().zip(&row.numbers[at..]) {
                let labels: Vec<_> = [Some(console), series.label]
                    .into_iter()
                    .flatten()
                    .collect();
                let labels = labels.as_slice();
                let mut one = metric.encode_family(&labels)?;
                match is_plain_counter || family.sort == Sort::Gauge {
                    true => one.encode_gauge(number)?,
                    false => one.encode_counter::<NoLabelSet, _, u64>(number, None)?,
                }
            }
        }
        Ok(())
    }

    fn times(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Get = fn(&ChangeTimes) -> Duration;
        let times: [(&str, &str, Get); 3] = [
            (
                "chardev_change_last",
                "How long the last change took",
                |it| it.last,
            ),
            (
                "chardev_change_p50",
                "Half of the last 128 changes were not slower",
                |it| it.p50,
            ),
            (
                "chardev_change_p99",
                "99 of 100 of the last 128 changes were not slower",
                |it| it.p99,
            ),
        ];
        for (name, help, get) in times {
            let unit = Some(&Unit::Seconds);
            let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            for row in &self.rows {
                if let Some(times) = &row.times {
                    let labels = [("console", row.console.as_str())];
                    let mut one = metric.encode_family(&labels)?;
                    one.encode_gauge(&get(times).as_secs_f64())?;
                }
            }
        }
        Ok(())
    }

    /// Of all chardevs together: a histogram of each would be sixteen series a console, and would
    /// be gone with it.
    fn durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let it = &self.durations;
        let bounds = it
            .counts
            .iter()
            .map(|(bound, count)| (bound.as_secs_f64(), *count));
        let buckets: Vec<(f64, u64)> = bounds.chain([(f64::MAX, it.longer)]).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let mut metric = encoder.encode_descriptor(
            "chardev_change_duration",
            "How long changes took, of all chardevs",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        metric.encode_histogram::<NoLabelSet>(it.sum.as_secs_f64(), count, &buckets, None)
    }

    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let unlabelled = self.chardevs.saturating_sub(LABELLED);
        for (name, help, number) in [
            (
                "chardevd_chardevs",
                "Chardevs that there are",
                self.chardevs,
            ),
            (
                "chardevd_chardevs_unlabelled",
                "Chardevs whose metrics are summed up in those of console=\"\"",
                unlabelled,
            ),
            (
                "chardevd_background_tasks",
                "Drains, timers and connects in the background",
                self.tasks,
            ),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&number)?;
        }
        for (name, help, number) in self.fleet.into_iter().flatten() {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&number)?;
        }
        let mut consoles = encoder.encode_descriptor(
            "chardevd_configured",
            "What the configuration wants, by its state",
            None,
            MetricType::Gauge,
        )?;
        for (state, number) in self.states {
            labelled_one(&mut consoles, ("state", state), number)?;
        }
        let mut build = encoder.encode_descriptor(
            "chardevd_build_info",
            "The version that runs",
            None,
            MetricType::Gauge,
        )?;
        labelled_one(&mut build, ("version", env!("CARGO_PKG_VERSION")), 1)
    }
}

fn labelled_one(metric: &mut MetricEncoder<'_>, label: Label, number: usize) -> fmt::Result {
    metric.encode_family(&[label])?.encode_gauge(&number)
}
