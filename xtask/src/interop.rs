//! `cargo xtask interop`: the Python peers against the daemon, or against the QEMU they were
//! written for. A peer that fails against QEMU proves nothing about us.

use std::path::PathBuf;
use std::process::Command;

use crate::server::{self, Server};
use crate::sh::{self, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which server the peers talk to
    #[arg(long, value_enum, default_value_t = Target::Chardevd)]
    pub(crate) against: Target,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Target {
    /// The daemon of this workspace
    Chardevd,
    /// An installed qemu-system-x86_64
    Qemu,
}

pub(crate) fn run(args: &Args) -> Result {
    let python = python()?;
    let program = match args.against {
        Target::Chardevd => server::build_chardevd("dev")?,
        Target::Qemu => server::qemu()?,
    };
    let mut failed = Vec::new();
    let peers = peers()?;
    for peer in &peers {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("qmp.sock");
        let mut command = Command::new(&program);
        if matches!(args.against, Target::Qemu) {
            command.args([
                "-M",
                "microvm",
                "-accel",
                "tcg",
                "-S",
                "-display",
                "none",
                "-nodefaults",
            ]);
        }
        command
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()));
        let _server = Server::start(command, &[&socket])?;
        let result = sh::run(
            Command::new(&python)
                .arg("-B")
                .arg(peer)
                .arg(&socket)
                .arg(&program),
        );
        if let Err(error) = result {
            eprintln!("xtask: {error}");
            failed.push(peer.display().to_string());
        }
    }
    if failed.is_empty() {
        eprintln!(
            "xtask: {} peers passed against {}",
            peers.len(),
            program.display()
        );
        return Ok(());
    }
    Err(format!(
        "failed against {}: {}",
        program.display(),
        failed.join(", ")
    )
    .into())
}

/// The scripts to run; a file whose name starts with an underscore is a module of theirs.
fn peers() -> Result<Vec<PathBuf>> {
    let dir = sh::root().join("tests/interop");
    let mut peers = Vec::new();
    for entry in dir
        .read_dir()
        .map_err(|e| format!("{}: {e}", dir.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".py") && !name.starts_with('_') {
            peers.push(path);
        }
    }
    peers.sort();
    Ok(peers)
}

/// The interpreter that has `qemu.qmp`, as `./setup` made it.
fn python() -> Result<PathBuf> {
    let python = sh::venv().join("bin/python");
    if python.is_file() {
        return Ok(python);
    }
    Err(format!("{} is missing: run ./setup", python.display()).into())
}
