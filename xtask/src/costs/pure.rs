//! What `chardev-costs` tells of allocations, and what valgrind counts of its instructions.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sh::{self, Result};

/// How often a piece of work is done; what so many more cost more is what it costs.
const TIMES: [u64; 2] = [2, 6];

/// Each operation with its allocations.
pub(super) fn allocations(costs: &Path) -> Result<Vec<(String, f64)>> {
    let text = output(Command::new(costs).arg("allocations"))?;
    let lines = text.lines().map(|line| {
        let parts = line.rsplit_once(" = ");
        let entry = parts.and_then(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
        entry.ok_or_else(|| format!("chardev-costs said {line:?}").into())
    });
    lines.collect()
}

/// Each pure part with its instructions, of a build with optimizations.
pub(super) fn instructions(costs: &Path) -> Result<Vec<(String, f64)>> {
    let valgrind = sh::need("valgrind", "run ./setup")?;
    let mut all = Vec::new();
    for name in output(Command::new(costs).arg("list"))?.lines() {
        let mut counts = [0; 2];
        for (count, times) in counts.iter_mut().zip(TIMES) {
            *count = count_instructions(&valgrind, costs, name, times)?;
        }
        let each = counts[1].saturating_sub(counts[0]) / (TIMES[1] - TIMES[0]);
        all.push((name.to_owned(), each as f64));
    }
    Ok(all)
}

fn count_instructions(valgrind: &Path, costs: &Path, name: &str, times: u64) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let counted = dir.path().join("counted");
    let mut command = Command::new(valgrind);
    command.args(["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", counted.display()));
    command.arg(costs).args(["run", name, &times.to_string()]);
    output(&mut command)?;
    total(&fs::read_to_string(&counted)?)
}

/// The instructions of a whole run.
fn total(counted: &str) -> Result<u64> {
    let words = ["summary:", "totals:"];
    let sums = counted.lines().filter_map(|line| {
        let rest = words.iter().find_map(|word| line.strip_prefix(word))?;
        rest.trim().parse().ok()
    });
    sums.max()
        .ok_or_else(|| "callgrind summed up nothing".into())
}

fn output(command: &mut Command) -> Result<String> {
    let ran = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !ran.status.success() {
        return Err(format!("{command:?}: {}", ran.status).into());
    }
    Ok(String::from_utf8(ran.stdout)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_run_is_summed_up() {
        let counted = "events: Ir\nsummary: 1234567\nfn=(1)\n0 17\ntotals: 1234567\n";
        assert_eq!(super::total(counted).unwrap(), 1_234_567);
        assert!(super::total("events: Ir\n").is_err());
    }
}
