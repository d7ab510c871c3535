//! `cargo xtask mutants`: each small change of the core that no test notices is a test that is
//! missing.
//!
//! What survives and cannot be noticed, or need not be, is named in `.cargo/mutants.toml`, each
//! with its reason.

use crate::sh::{self, Result};

/// The files whose promises are the project's.
const FILES: [&str; 8] = [
    "change", "commit", "drain", "input", "output", "mux", "hub", "tap",
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this file of chardev-core, such as `drain`; its folder, if it has one, goes with it
    #[arg(long)]
    file: Vec<String>,
    /// Only part K of N, as K/N, to be done at several times
    #[arg(long)]
    shard: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result {
    let remedy = "cargo install --locked cargo-mutants";
    sh::need("cargo-mutants", remedy)?;
    let mut cargo = sh::cargo(&[
        "mutants",
        "--package",
        "chardev-core",
        "--jobs",
        "1",
        "--timeout",
        "20",
        "--test-tool",
        "nextest",
    ]);
    cargo
        .arg("--output")
        .arg(sh::target_dir()?)
        // Enough to find what a mutant breaks; a run of the tests has many times as many.
        .env("SIM_STEPS", "100000")
        .env("NET_STEPS", "300000")
        .env("PROPTEST_CASES", "100");
    let all = FILES.map(str::to_owned);
    let files = if args.file.is_empty() {
        &all[..]
    } else {
        &args.file
    };
    for file in files {
        for place in [format!("{file}.rs"), format!("{file}/*.rs")] {
            cargo.arg("--file");
            cargo.arg(format!("crates/chardev-core/src/{place}"));
        }
    }
    if let Some(shard) = &args.shard {
        cargo.args(["--shard", shard]);
    }
    sh::run(&mut cargo)
}
