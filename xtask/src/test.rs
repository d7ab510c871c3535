//! `cargo xtask test`: what the README tells a newcomer to run.

use crate::sh::{self, Result};

pub(crate) fn run() -> Result {
    if sh::which("cargo-nextest").is_none() {
        eprintln!("xtask: cargo-nextest is not installed, so plain cargo test runs the tests");
        return sh::run(&mut sh::cargo(&["test", "--workspace", "--no-fail-fast"]));
    }
    // nextest does not run doc tests. They come first so that the summary of the rest is the last
    // thing on the screen; both run even if the first fails.
    let docs = sh::run(&mut sh::cargo(&[
        "test",
        "--workspace",
        "--doc",
        "--no-fail-fast",
    ]));
    let rest = sh::run(&mut sh::cargo(&[
        "nextest",
        "run",
        "--workspace",
        "--profile",
        "ci",
    ]));
    rest.and(docs)
}
