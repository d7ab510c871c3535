//! A script that fails, made shorter: the steps its failure does not need are left out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Graph, SCRIPT};

/// Runs the script of `seed`; one that fails is tried without each of its steps, until all that are
/// left are needed, and fails with those.
pub(super) fn run(seed: u64) {
    let Some(failure) = failure(seed, &[]) else {
        return;
    };
    let mut left_out = Vec::new();
    for size in [64, 16, 4, 1, 1, 1] {
        for first in (0..SCRIPT).rev().step_by(size) {
            let mut without = left_out.clone();
            without.extend((first + 1).saturating_sub(size as u64)..=first);
            if self::failure(seed, &without).as_ref() == Some(&failure) {
                left_out = without;
            }
        }
    }
    let mut graph = Graph::new(seed);
    graph.shown = usize::MAX;
    graph.run(&left_out);
}

/// How it fails without some of its steps, in words that do not depend on the script.
fn failure(seed: u64, left_out: &[u64]) -> Option<String> {
    let run = || Graph::new(seed).run(left_out);
    let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = panic.downcast_ref::<String>().map_or("", String::as_str);
    let first = text.lines().next().unwrap_or_default();
    Some(first.rsplit(['}', '\'']).next().unwrap_or(first).to_owned())
}
