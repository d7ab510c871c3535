//! What a console needs before its program is there, and the way from there to a rig.

use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

use super::monitor::pty_path;
use super::process::{self, Daemon, Programs, Setup};
use super::report::Report;
use super::{ENOUGH, InputRead, Rig, lock, wait_until};
use crate::LoadError;
use crate::peers::{Flow, Kind, Load, Prepared};

/// What a console needs before its program is there.
struct Bed {
    id: String,
    dir: tempfile::TempDir,
    report: OwnedFd,
    prepared: Prepared,
    flow: Arc<Flow>,
    kind: Kind,
}

impl Bed {
    fn new(id: &str, first: Load, ahead: Option<u64>) -> Result<Self, LoadError> {
        let dir = tempfile::Builder::new()
            .prefix("chardev-load-")
            .tempdir()
            .map_err(|error| format!("cannot create a temporary directory: {error}"))?;
        let path = dir.path().join("report");
        let failed = |error: rustix::io::Errno| format!("{}: {error}", path.display());
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(failed)?;
        // Opened both ways, so that there is no end of file before the program has opened it.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let report = open(&path, flags, Mode::empty()).map_err(failed)?;
        let flow = Arc::new(Flow {
            ahead,
            ..Flow::default()
        });
        Ok(Bed {
            id: id.to_owned(),
            prepared: Prepared::new(first, dir.path(), 0)?.with_flow(&flow),
            dir,
            report,
            flow,
            kind: first.kind,
        })
    }

    fn setup(&self) -> Setup {
        Setup::new(&self.id, &self.prepared.backend.line, self.dir.path())
    }

    /// The console of the running program.
    fn connect(self, daemon: &Arc<Mutex<Daemon>>, began: Instant) -> Result<Rig, LoadError> {
        let monitor = self.dir.path().join("qmp");
        let ring_monitor = self.dir.path().join("qmp-ring");
        let mut monitor = process::wait_for_monitor(&monitor, &mut lock(daemon), began)?;
        let pty = if self.kind == Kind::Pty {
            pty_path(&mut monitor, &self.id)?
        } else {
            None
        };
        let pty = pty.as_deref();
        let current = self.prepared.attach(0, &self.id, pty, &ring_monitor)?;
        // Until the program has made its terminal raw, input would be echoed into its output.
        wait_until(
            || current.received() > 0 || current.is_done(),
            || "the program prints nothing".to_owned(),
        )?;
        Ok(Rig {
            id: self.id,
            dir: self.dir,
            daemon: Arc::clone(daemon),
            monitor,
            ring_monitor,
            report: self.report,
            current: Some(current),
            replaced: Vec::new(),
            next: 1,
            began,
            enough: ENOUGH,
            flow: self.flow,
            log: None,
            read: InputRead {
                count: 0,
                since: Instant::now(),
                never: 0,
            },
            result: Report::default(),
        })
    }
}

impl Rig {
    /// Starts everything; the first back end is a socket that listens, as in `first`, because its
    /// peer sends nothing before the program runs.
    ///
    /// # Errors
    /// What does not work, and why.
    pub fn start(programs: &Programs, first: Load) -> Result<Rig, LoadError> {
        Rig::start_with(first, |setup| programs.command(setup))
    }

    /// [`Rig::start`] with a program of the caller's, behind whose chardev something prints lines,
    /// checks records and reports as `chardevctl demo-program` does.
    ///
    /// # Errors
    /// What does not work, and why.
    pub fn start_with(
        first: Load,
        command: impl FnOnce(&Setup) -> Command,
    ) -> Result<Rig, LoadError> {
        let mut rigs = Rig::start_many(&[None], first, |setups| command(&setups[0]))?;
        rigs.pop().ok_or_else(|| "there is no console".into())
    }

    /// Several consoles of one program, each with its own peers, monitors and report. Where a
    /// program reads much slower than kernels buffer, the peers of a console can be kept from
    /// getting further ahead of it than the number of bytes in its place of `ahead`.
    ///
    /// # Errors
    /// What does not work, and why.
    pub fn start_many(
        ahead: &[Option<u64>],
        first: Load,
        command: impl FnOnce(&[Setup]) -> Command,
    ) -> Result<Vec<Rig>, LoadError> {
        let mut beds = Vec::new();
        for (number, ahead) in ahead.iter().enumerate() {
            beds.push(Bed::new(&format!("con{number}"), first, *ahead)?);
        }
        let setups: Vec<Setup> = beds.iter().map(Bed::setup).collect();
        let began = Instant::now();
        let dir = beds.first().ok_or("there is no console")?.dir.path();
        let daemon = Arc::new(Mutex::new(process::start(dir, command(&setups))?));
        let rigs = beds.into_iter().map(|bed| bed.connect(&daemon, began));
        rigs.collect()
    }
}
