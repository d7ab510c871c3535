//! `cargo xtask package`: the Debian package, as small as it goes, built by cargo-deb of the list
//! in the daemon's Cargo.toml; then its tests, with that very package.
//!
//! cargo-deb takes minutes to install and the optimized build as long, so this is no part of the
//! other checks. Their tests make a package of the same list, with the binaries they have.

use std::fs;
use std::process::Command;

use crate::man;
use crate::sh::{self, Result};

/// How large a program may be, and what the daemon has for the web page: its server and its files.
const LIMIT: u64 = 8 << 20;
const WEB: u64 = 2 << 20;

pub(crate) fn run() -> Result {
    if sh::output(&mut sh::cargo(&["deb", "--version"])).is_err() {
        sh::run(&mut sh::cargo(&["install", "--locked", "cargo-deb"]))?;
    }
    let target = sh::target_dir()?;
    sh::run(&mut sh::cargo(&[
        "build",
        "--profile=dist",
        "--package=chardevd",
        "--bins",
    ]))?;
    for (program, limit) in [("chardevd", LIMIT + WEB), ("chardevctl", LIMIT)] {
        let size = fs::metadata(target.join("dist").join(program))?.len();
        eprintln!("xtask: {program} has {} KiB", size >> 10);
        if size > limit {
            return Err(format!("{program} is larger than {} MiB", limit >> 20).into());
        }
    }
    let made = target.join("package");
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    man::write(&made.join("man"))?;
    fs::create_dir_all(made.join("completions"))?;
    for shell in ["bash", "zsh", "fish"] {
        let mut print = Command::new(target.join("dist/chardevctl"));
        let script = sh::output(print.args(["completions", shell]))?;
        fs::write(made.join(format!("completions/chardevctl.{shell}")), script)?;
    }
    let package = made.join("chardevd.deb");
    let mut deb = sh::cargo(&["deb", "--package=chardevd", "--no-build", "--profile=dist"]);
    sh::run(deb.arg("--output").arg(&package))?;
    let mut test = sh::cargo(&["test", "--package=chardevd", "--test=it", "package::"]);
    sh::run(test.env("CHARDEV_DEB", &package))?;
    eprintln!("xtask: {} is good", package.display());
    Ok(())
}
