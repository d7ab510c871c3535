//! The result of a demo, as a table and as JSON.

use std::time::Duration;

use chardev_qapi::{Json, Object};

use chardev_load::rig::Report;

/// The table, and whatever else has to be said.
pub(super) fn table(report: &Report, seed: u64) -> String {
    let (output, input) = (&report.output, &report.input);
    let seconds = report.time.as_secs_f64();
    let row = |name: &str, out: String, inp: String| format!("{name:<12}{out:>16}{inp:>16}\n");
    let mut text = row("", "output".to_owned(), "input".to_owned());
    let mut number = |name: &str, out: u64, inp: u64| {
        text += &row(name, out.to_string(), inp.to_string());
    };
    number("bytes", output.bytes, input.bytes);
    number("lines", output.lines, input.records);
    number("lost", output.lost, input.lost);
    number("doubled", output.doubled, input.doubled);
    number("reordered", output.reordered, input.reordered);
    number("damaged", output.damaged, input.damaged);
    let rate = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6 / seconds.max(1e-9));
    text += &row("MB/s", rate(output.bytes), rate(input.bytes));
    text += &format!(
        "\n{} changes in {seconds:.1} s; one took p50 {}, p99 {}; seed {seed}\n",
        report.changes.len(),
        shown(percentile(&report.changes, 50)),
        shown(percentile(&report.changes, 99)),
    );
    text += &format!(
        "{} bytes were sent after the peer's change and count as late\n",
        report.late
    );
    if report.deferred > 0 {
        text += &format!(
            "{} times a change waited for the program to read\n",
            report.deferred
        );
    }
    for damaged in &report.evidence {
        text += &format!("damaged: {damaged}\n");
    }
    for refused in &report.refused {
        text += &format!("refused: {refused}\n");
    }
    text + match report.is_clean() {
        true => "every byte arrived once and in order\n",
        false => "FAILED: not every byte arrived once and in order\n",
    }
}

/// The same for machines.
pub(super) fn json(report: &Report, seed: u64) -> Json {
    let (output, input) = (&report.output, &report.input);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let direction = |bytes, lines, lost, doubled, reordered, damaged: u64| {
        Object::new()
            .with("bytes", bytes)
            .with("lines", lines)
            .with("lost", lost)
            .with("doubled", doubled)
            .with("reordered", reordered)
            .with("damaged", damaged)
    };
    Object::new()
        .with("clean", report.is_clean())
        .with("seed", seed)
        .with("changes", report.changes.len() as u64)
        .with("refused", report.refused.clone())
        .with(
            "output",
            direction(
                output.bytes,
                output.lines,
                output.lost,
                output.doubled,
                output.reordered,
                output.damaged,
            ),
        )
        .with(
            "input",
            direction(
                input.bytes,
                input.records,
                input.lost,
                input.doubled,
                input.reordered,
                input.damaged,
            ),
        )
        .with("damaged", report.evidence.clone())
        .with("input-late", report.late)
        .with("deferred", report.deferred)
        .with("change-p50-us", micros(percentile(&report.changes, 50)))
        .with("change-p99-us", micros(percentile(&report.changes, 99)))
        .with(
            "milliseconds",
            u64::try_from(report.time.as_millis()).unwrap_or(u64::MAX),
        )
        .into()
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

fn shown(time: Duration) -> String {
    match time.as_micros() {
        micros if micros < 10_000 => format!("{micros} µs"),
        micros => format!("{} ms", micros / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::percentile;
    use std::time::Duration;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
