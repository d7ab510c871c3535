//! The machine and versions that the numbers were measured with, and when.

use std::fs;
use std::process::Command;
use std::thread;

use super::Programs;
use crate::sh::{self, Result};

pub(crate) fn describe(programs: &Programs) -> Result<String> {
    let model = model()?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    // The rest of a release names a build, which says nothing to a reader elsewhere.
    let linux: Vec<_> = release.split(['.', '-']).take(2).collect();
    Ok(format!(
        "\n{model}, {} CPUs, Linux {}; {}; {}; {}.\n",
        thread::available_parallelism()?,
        linux.join("."),
        line_with(programs.qemu.bare(), "--version", "version")?,
        line_with(Command::new(&programs.socat), "-V", "version")?,
        line_with(Command::new("rustc"), "--version", "rustc")?,
    ))
}

/// When what follows is measured, of what, and how busy the machine is already.
pub(crate) fn when() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split_whitespace().next().unwrap_or("?");
    let commit = sh::output(sh::git().args(["describe", "--always", "--dirty"]))
        .unwrap_or_else(|_| String::from("no commit"));
    let date = sh::output(Command::new("date").args(["--utc", "+%F"]))?;
    let (date, commit, model) = (date.trim(), commit.trim(), model()?);
    let cpus = thread::available_parallelism()?;
    Ok(format!(
        "\nMeasured {date} at {commit} on {model}, {cpus} CPUs, with a load of {load} at the start.\n"
    ))
}

/// What the processor calls itself.
fn model() -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    Ok(model.map_or_else(
        || String::from("unknown CPU"),
        |rest| rest.trim_start_matches([' ', '\t', ':']).to_owned(),
    ))
}

fn line_with(mut program: Command, option: &str, word: &str) -> Result<String> {
    let text = sh::output(program.arg(option))?;
    let line = text
        .lines()
        .find(|line| line.contains(word))
        .unwrap_or_default();
    // "socat version 1.7.4.4 on 06 Nov 2022 08:15:51" says enough with three words.
    Ok(line.split(" on ").next().unwrap_or_default().to_string())
}
