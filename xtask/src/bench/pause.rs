//! For how long a change keeps a front end from writing: the benchmark `pause` of the library
//! looks, since nothing outside the program can see it.

use std::time::Duration;

use super::report;
use crate::sh::{self, Result};

/// How long the 99th percentile may be.
const LIMIT: Duration = Duration::from_micros(100);

pub(super) fn table() -> Result<String> {
    let mut bench = sh::cargo(&["bench", "--quiet", "--package=chardev", "--bench=pause"]);
    let printed = sh::output(&mut bench)?;
    let row = |line: &str| -> Result<Vec<String>> {
        let cells: Vec<_> = line.split_whitespace().collect();
        let [kind, half, most, max] = cells[..] else {
            return Err(format!("the benchmark pause printed {line:?}").into());
        };
        let kept = most.parse::<f64>()? <= LIMIT.as_micros() as f64;
        let cells = [kind, half, most, max].map(str::to_owned);
        Ok([&cells[..], &[report::verdict(kept)]].concat())
    };
    let rows = printed.lines().map(row).collect::<Result<Vec<_>>>()?;
    let title = "How long a change keeps a front end from writing that always has more, in µs";
    let header = ["change to", "p50", "p99", "max", "100 µs kept at p99"];
    Ok(report::table(title, &header, &rows))
}
