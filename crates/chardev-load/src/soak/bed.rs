//! What a soak stands on: a daemon, its configuration, and the programs' ends of its consoles.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::console::Console;
use super::log::{COUNT, SIZE};
use super::{PIECE, Report, Setup, Soak};
use crate::LoadError;
use crate::random::Random;
use crate::rig::process;

/// A daemon with its consoles, into which nothing is printed yet.
pub(super) fn start(setup: &Setup) -> Result<Soak, LoadError> {
    raise_limit();
    let failed = |error: std::io::Error| format!("cannot prepare: {error}");
    let dir = tempfile::Builder::new().prefix("soak-").tempdir();
    let dir = dir.map_err(failed)?;
    let config = dir.path().join("soak.toml");
    fs::write(&config, configuration(dir.path(), setup.consoles)).map_err(failed)?;
    let monitor = dir.path().join("qmp");
    let mut command = Command::new(&setup.daemon);
    command.args(["--no-default-monitor", "--qmp"]);
    command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
    command.arg("--config").arg(&config);
    let began = Instant::now();
    let mut daemon = process::start(dir.path(), command)?;
    let monitor = process::wait_for_monitor(&monitor, &mut daemon, began)?;
    let mut consoles = Vec::new();
    for number in 0..setup.consoles {
        let source = dir.path().join(format!("s{number}"));
        let program = loop {
            match UnixStream::connect(&source) {
                Ok(stream) => break stream,
                Err(_) if began.elapsed() < crate::STUCK => crate::peers::pause(super::REST),
                Err(error) => return Err(format!("{}: {error}", source.display()).into()),
            }
        };
        let peers = dir.path().join(format!("p{number}"));
        fs::create_dir(&peers).map_err(failed)?;
        let log = has_log(number).then(|| log(dir.path(), number));
        consoles.push(Console::new(format!("c{number}"), program, &peers, log)?);
    }
    Ok(Soak {
        _dir: dir,
        daemon,
        monitor,
        consoles,
        viewers: Vec::new(),
        random: Random::new(setup.seed),
        share: setup.share,
        scratch: vec![0; 2 * PIECE],
        began,
        told: began,
        report: Report::default(),
    })
}

/// Consoles with a log that may have holes, with one that may not, without one; with something kept
/// for viewers and without, which with no log leaves the bytes to the kernel.
fn configuration(dir: &Path, consoles: usize) -> String {
    let mut text = String::new();
    for number in 0..consoles {
        let shown = dir.display();
        let history = if number % 2 == 0 { 0 } else { 65536 };
        let full = if number % 4 == 0 { "hold" } else { "hole" };
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "[console.c{number}]\nfrom = 'unix:{shown}/s{number},server=on,wait=off'\n\
             to = 'null'\nhistory = {history}\npolicy = {{ x-closed = 'hold' }}\n"
        );
        if has_log(number) {
            let log = log(dir, number);
            let log = log.display();
            let _ = writeln!(
                text,
                "log = {{ file = '{log}', size = {SIZE}, count = {COUNT}, full = '{full}' }}"
            );
        }
    }
    text
}

fn has_log(number: usize) -> bool {
    number % 4 < 3
}

fn log(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("c{number}.log"))
}

/// Each console takes some descriptors on this side, too.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where that is forbidden, there are as many as there are, and the first that is missing is
    // told of.
    let _ = setrlimit(Resource::Nofile, most);
}
