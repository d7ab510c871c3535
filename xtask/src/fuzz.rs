//! `cargo xtask fuzz`: the fuzz bodies are ordinary functions. With nightly and cargo-fuzz they are
//! driven by coverage; without, the tests named `fuzz_…` feed them seeded input on stable.

use std::process::Command;

use crate::sh::{self, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to run each fuzz target; the replay on stable takes as long as it takes
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

pub(crate) fn run(args: &Args) -> Result {
    match why_not_real() {
        None => real(args.seconds),
        Some(reason) => {
            eprintln!("xtask: REPLAY ONLY, no fuzzing, because {reason}");
            replay()
        }
    }
}

fn why_not_real() -> Option<&'static str> {
    if !sh::root().join("fuzz/Cargo.toml").is_file() {
        return Some("this checkout has no fuzz/Cargo.toml");
    }
    if sh::which("cargo-fuzz").is_none() {
        return Some("cargo-fuzz is missing: cargo install --locked cargo-fuzz");
    }
    let nightly = Command::new("cargo")
        .args(["+nightly", "--version"])
        .output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        return Some("the nightly toolchain is missing: rustup toolchain install nightly");
    }
    None
}

fn real(seconds: u64) -> Result {
    let fuzz = |words: &[&str]| {
        let mut command = Command::new("cargo");
        command
            .args(["+nightly", "fuzz"])
            .args(words)
            .current_dir(sh::root());
        command
    };
    let targets = sh::output(&mut fuzz(&["list"]))?;
    for target in targets.lines() {
        eprintln!("xtask: FUZZING {target} for {seconds} s");
        sh::run(fuzz(&["run", target]).args(["--", &format!("-max_total_time={seconds}")]))?;
    }
    eprintln!(
        "xtask: FUZZED {} targets for {seconds} s each",
        targets.lines().count()
    );
    Ok(())
}

fn replay() -> Result {
    let names = sh::output(&mut sh::cargo(&[
        "test",
        "--quiet",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "fuzz_",
        "--",
        "--list",
    ]))?;
    let count = names
        .lines()
        .filter(|line| line.ends_with(": test"))
        .count();
    if count == 0 {
        return Err("no test is named fuzz_…, so nothing was replayed".into());
    }
    sh::run(&mut sh::cargo(&[
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "fuzz_",
    ]))?;
    eprintln!("xtask: REPLAYED the fuzz bodies in {count} tests on stable; this is not fuzzing");
    Ok(())
}
