//! `cargo xtask ci`: every check, the cheap ones first.

use std::process::Command;

use serde_json::Value;

use crate::interop::{self, Target};
use crate::sh::{self, Result};
use crate::test;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also compare the dependencies with the advisory database, which needs the network
    #[arg(long)]
    advisories: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut skipped = Vec::new();
    skipped.extend(lint()?);
    deny(args.advisories, &mut skipped)?;
    sh::run(sh::cargo(&["build", "--all-targets"]).args(test::ALL))?;
    if sh::which("qemu-system-x86_64").is_some() {
        interop::run(&interop::Args {
            against: Target::Qemu,
        })?;
    } else {
        skipped.push("peers against QEMU, their reference: ./setup installs it");
    }
    // The tests come last, because their summary is what one wants to see at the end. They run the
    // peers against the daemon.
    let tests = test::run();
    for check in skipped {
        eprintln!("xtask: SKIPPED {check}");
    }
    tests
}

/// What the tests in `xtask/tests` look at, such as the sources and the documents.
pub(crate) fn run_tidy() -> Result {
    sh::run(&mut sh::cargo(&["test", "--quiet", "--package", "xtask"]))
}

/// What needs no run: format, lints, documentation, each feature alone. Returns what could not be
/// looked at, since the toolchain has no such part.
pub(crate) fn lint() -> std::result::Result<Vec<&'static str>, sh::Error> {
    let mut skipped = Vec::new();
    let has = |part| sh::output(&mut sh::cargo(&[part, "--version"])).is_ok();
    match has("fmt") {
        true => sh::run(&mut sh::cargo(&["fmt", "--all", "--check"]))?,
        false => skipped.push("the format: rustup component add rustfmt"),
    }
    match has("clippy") {
        true => clippy()?,
        false => skipped.push("the lints: rustup component add clippy"),
    }
    doc()?;
    features("chardev")?;
    skipped.extend(page_types()?);
    features("chardevd")?;
    Ok(skipped)
}

/// The daemon's own code twice, since some of it is there only without what is off by default.
fn clippy() -> Result {
    let denied = ["--", "-D", "warnings"];
    let mut all = sh::cargo(&["clippy", "--all-targets"]);
    sh::run(all.args(test::ALL).args(denied))?;
    sh::run(sh::cargo(&["clippy", "--package", "chardevd"]).args(denied))
}

/// Checks the types of the web page's modules and of their tests.
fn page_types() -> Result<Option<&'static str>> {
    let page = sh::root().join("crates/chardev-web/page");
    let compiler = page.join("node_modules/typescript/bin/tsc");
    if !compiler.is_file() {
        return Ok(Some(
            "the types of the web page: ./setup installs what checks them",
        ));
    }
    for project in ["jsconfig.json", "tests/jsconfig.json"] {
        let mut node = Command::new("node");
        node.current_dir(&page).arg(&compiler);
        sh::run(node.args(["--project", project]))?;
    }
    Ok(None)
}

/// [`lint`] alone.
pub(crate) fn run_lint() -> Result {
    for check in lint()? {
        eprintln!("xtask: SKIPPED {check}");
    }
    Ok(())
}

/// Checks the crate with no feature, with each feature alone and with all of them.
fn features(package: &str) -> Result {
    let check = |flags: &[&str]| {
        let mut words = vec!["check", "--quiet", "--package", package];
        words.extend(flags);
        sh::run(&mut sh::cargo(&words))
    };
    check(&["--no-default-features"])?;
    for feature in feature_names(package)? {
        check(&["--no-default-features", "--features", &feature])?;
    }
    check(&["--all-features"])
}

fn feature_names(package: &str) -> Result<Vec<String>> {
    let text = sh::output(&mut sh::cargo(&[
        "metadata",
        "--no-deps",
        "--format-version=1",
    ]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata: no packages")?;
    let found = packages.iter().find(|p| p["name"] == package);
    let found = found.ok_or_else(|| format!("cargo metadata: no package {package}"))?;
    let names = found["features"]
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys().cloned());
    Ok(names.filter(|name| name != "default").collect())
}

fn doc() -> Result {
    let mut command = sh::cargo(&["doc", "--workspace", "--no-deps"]);
    sh::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny(advisories: bool, skipped: &mut Vec<&'static str>) -> Result {
    if sh::which("cargo-deny").is_none() {
        skipped.push("licences, bans and sources: cargo install --locked cargo-deny");
        return Ok(());
    }
    let check = |what: &[&str]| {
        let mut command = Command::new("cargo-deny");
        sh::run(command.current_dir(sh::root()).arg("check").args(what))
    };
    check(&["bans", "licenses", "sources"])?;
    if !advisories {
        skipped.push("advisories: they need the network, pass --advisories");
        return Ok(());
    }
    check(&["advisories"])
}
