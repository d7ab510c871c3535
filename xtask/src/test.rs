//! `cargo xtask test`: what the README tells a newcomer to run.

use std::num::NonZero;

use crate::sh::{self, Result};

/// Ten thousand changes, and a thousand consoles for three minutes; a tenth of that is enough while
/// one works on something else.
const LONG: [(&str, &str); 3] = [
    ("CHARDEV_ROUNDS", "80"),
    ("CHARDEV_SOAK_CONSOLES", "1000"),
    ("CHARDEV_SOAK_SECONDS", "180"),
];

/// All crates, and of the daemon also what is off by default, so that nothing is built twice.
pub(crate) const ALL: [&str; 3] = ["--workspace", "--features", "chardevd/fleet"];

pub(crate) fn run() -> Result {
    build_guest()?;
    if sh::which("cargo-nextest").is_none() {
        eprintln!("xtask: cargo-nextest is not installed, so plain cargo test runs the tests");
        let mut all = sh::cargo(&["test", "--no-fail-fast"]);
        let all = sh::run(all.args(ALL).envs(LONG));
        say_what_did_not_run();
        return all;
    }
    // nextest does not run doc tests. They come first so that the summary of the rest is the last
    // thing on the screen; both run even if the first fails.
    let docs = sh::run(sh::cargo(&["test", "--doc", "--no-fail-fast"]).args(ALL));
    let mut rest = sh::cargo(&["nextest", "run", "--profile", "ci"]);
    rest.arg(format!("--test-threads={}", threads()));
    let rest = sh::run(rest.args(ALL).envs(LONG));
    say_what_did_not_run();
    let model = crate::model::run();
    // The daemon that the tests have run is there.
    let built = sh::target_dir().map(|target| target.join("debug/chardevd"));
    let costs = built.and_then(|built| crate::costs::run(&crate::costs::Args::of(built)));
    rest.and(docs).and(model).and(costs)
}

/// Twice as many tests as there are CPUs: they wait for peers more than half of the time.
fn threads() -> usize {
    2 * std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// What the tests of microvm boot; each of them would build it otherwise, and wait for the others.
fn build_guest() -> Result {
    let mut cargo = sh::cargo(&["build", "--release", "--target-dir"]);
    let guest = sh::root().join("crates/microvm/guest");
    cargo
        .arg(sh::root().join("target/bare-guest"))
        .current_dir(guest)
        .env_remove("RUSTFLAGS");
    sh::run(&mut cargo)
}

/// A test that cannot boot a guest says so, but what passes is not shown.
fn say_what_did_not_run() {
    let note = sh::target_dir().map(|target| target.join("tmp/package-not-tested"));
    if let Some(reason) = note
        .ok()
        .and_then(|note| std::fs::read_to_string(note).ok())
    {
        eprintln!("xtask: NOT TESTED: {reason}");
    }
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    if let Err(error) = device {
        eprintln!(
            "xtask: NOT TESTED: no guest was booted in microvm, because /dev/kvm cannot be used: {error}"
        );
    }
}
