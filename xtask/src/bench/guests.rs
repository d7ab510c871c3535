//! Ports of a real guest: ours over vhost-user beside QEMU's own, by `tests/guest/throughput.py`.

use std::process::Command;

use super::Programs;
use crate::sh::{self, Result};

pub(super) fn table(programs: &Programs, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let guest = sh::target_dir()?.join("linux");
    if !guest.join("qemu11").exists() {
        eprintln!(
            "xtask: no guest in {}: see tests/guest/fetch",
            guest.display()
        );
        return Ok(String::new());
    }
    let script = sh::root().join("tests/guest/throughput.py");
    let mut command = Command::new(sh::need("python3", "run ./setup")?);
    command.arg(script).arg("--rounds").arg(rounds.to_string());
    sh::output(command.arg(guest).arg(chardevd))
}
