//! `cargo xtask fuzz`: the fuzz bodies are ordinary functions. With nightly and cargo-fuzz they are
//! driven by coverage; without, the tests named `fuzz_…` feed them seeded input on stable, and what
//! was kept of earlier runs in `fuzz/corpus`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::sh::{self, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to run each fuzz target; the replay on stable takes as long as it takes
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Run this target alone
    #[arg(long)]
    target: Option<String>,
    /// Keep some of what was found in fuzz/corpus, for the replay
    #[arg(long)]
    keep: bool,
}

/// How many inputs of a target are kept, and how long they are at most.
const KEPT: usize = 60;
const LONGEST: u64 = 512;

/// What a target is built and run with; others have cargo-fuzz's own settings, with
/// AddressSanitizer.
///
/// The whole monitor runs without a sanitizer, because what that allocates is not the server's: the
/// body itself sees to 100 ms a step, to 64 MiB of the server's heap, and that none of it is left
/// from one input to the next. The limit of the whole process is for memory that is on no heap: the
/// server has 38 MB with the fuzzer's fixed tables, after 100 inputs as after 5,000, and each input
/// that the fuzzer keeps takes it 13 KB more. `-timeout` is for an input as a whole, and ends a
/// deadlock. Short inputs do little, so they are not begun with.
const SETTINGS: &[(&str, &[&str], &[&str])] = &[(
    "qmp_daemon",
    &["--sanitizer", "none"],
    &[
        "-rss_limit_mb=256",
        "-timeout=20",
        "-max_len=1024",
        "-len_control=0",
    ],
)];

pub(crate) fn run(args: &Args) -> Result {
    match why_not_real() {
        None => real(args),
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

fn real(args: &Args) -> Result {
    let seconds = args.seconds;
    let fuzz = |words: &[&str]| {
        let mut command = Command::new("cargo");
        command
            .args(["+nightly", "fuzz"])
            .args(words)
            .current_dir(sh::root());
        command
    };
    let listed = sh::output(&mut fuzz(&["list"]))?;
    let wanted = |target: &&str| args.target.as_deref().is_none_or(|only| only == *target);
    let targets: Vec<&str> = listed.lines().filter(wanted).collect();
    if targets.is_empty() {
        let known = listed.lines().collect::<Vec<_>>().join(", ");
        return Err(format!("no such fuzz target; there are {known}").into());
    }
    for target in &targets {
        let settings = SETTINGS.iter().find(|(name, ..)| name == target);
        let (build, run) = settings.map_or((&[][..], &[][..]), |(_, build, run)| (*build, *run));
        eprintln!("xtask: FUZZING {target} for {seconds} s");
        let folder = |name: &str| sh::root().join("fuzz").join(name).join(target);
        let (found, kept) = (folder("found"), folder("corpus"));
        fs::create_dir_all(&found)?;
        fs::create_dir_all(&kept)?;
        let mut command = fuzz(&["run"]);
        // What is new goes to the first of the two.
        command.args(build).arg(target).arg(&found).arg(&kept);
        command.arg("--").args(run);
        sh::run(command.arg(format!("-max_total_time={seconds}")))?;
        if args.keep {
            sh::run(fuzz(&["cmin"]).args(build).arg(target).arg(&found))?;
            keep(&found, &kept)?;
        }
    }
    eprintln!(
        "xtask: FUZZED {} targets for {seconds} s each",
        targets.len()
    );
    Ok(())
}

/// Keeps some inputs, half of them the longest and half of all lengths, in the place of those that
/// were kept before.
fn keep(found: &Path, kept: &Path) -> Result {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(found)? {
        let entry = entry?;
        let length = entry.metadata()?.len();
        if length <= LONGEST {
            inputs.push((length, entry.path()));
        }
    }
    inputs.sort();
    fs::remove_dir_all(kept)?;
    fs::create_dir_all(kept)?;
    let count = inputs.len().min(KEPT);
    let (others, longest) = inputs.split_at(inputs.len() - count / 2);
    let few = count - count / 2;
    let spread = (0..few).map(|at| &others[at * others.len() / few]);
    for (_, input) in spread.chain(longest) {
        let name = input.file_name().unwrap_or_default();
        fs::copy(input, kept.join(name))?;
    }
    eprintln!("xtask: KEPT {count} inputs in {}", kept.display());
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
