//! A daemon or a QEMU that we start, wait for, and end when the value is dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::sh::{self, Result};
use crate::wait::within;

/// How long a server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    child: Child,
    name: String,
}

impl Server {
    /// Starts the command and returns once it listens on all of the given unix sockets.
    pub(crate) fn start(mut command: Command, sockets: &[&Path]) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start {name}: {e}"))?;
        let mut server = Server { child, name };
        for socket in sockets {
            server.wait_for("it listened", || listens(socket).then_some(()))?;
        }
        Ok(server)
    }

    /// Waits for what `look` finds, but not longer than the server lives or the start limit.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let found = within(START_TIMEOUT, || {
            if let Some(found) = look() {
                return Some(Ok(found));
            }
            let status = self.child.try_wait().transpose()?;
            Some(status.map_err(Into::into).and_then(|status| {
                Err(format!("{} ended before {what}: {status}", self.name).into())
            }))
        });
        let late = || format!("{}: {START_TIMEOUT:?} passed before {what}", self.name);
        found.unwrap_or_else(|| Err(late().into()))
    }

    /// Waits for the end of a server that was told to end.
    pub(crate) fn wait_end(&mut self) -> Result {
        match within(END_TIMEOUT, || self.child.try_wait().transpose()) {
            Some(status) => Ok(status.map(drop)?),
            None => Err(format!("{}: {END_TIMEOUT:?} passed before it ended", self.name).into()),
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// User and system time used so far, of all threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(self.child.id())
    }

    /// As [`Server::cpu`], to the microsecond, for as long as none of its threads ends.
    pub(crate) fn exact_cpu(&self) -> Result<Duration> {
        let mut all = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let path = thread?.path().join("schedstat");
            let text = fs::read_to_string(&path).unwrap_or_default();
            let spent = text.split_whitespace().next().unwrap_or("0").parse()?;
            all += Duration::from_nanos(spent);
        }
        Ok(all)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either call fails only if the server has already ended, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time that a process has used so far, of all threads.
pub(crate) fn cpu_of(id: u32) -> Result<Duration> {
    // The kernel's interface counts in hundredths of a second on every Linux (USER_HZ).
    const TICK: Duration = Duration::from_millis(10);
    let path = format!("/proc/{id}/stat");
    let stat = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    // The command's name may hold spaces, so counting starts after its closing parenthesis.
    let (_, fields) = stat
        .rsplit_once(')')
        .ok_or_else(|| format!("{path}: no name"))?;
    let ticks = |index: usize| fields.split_whitespace().nth(index)?.parse::<u32>().ok();
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => Ok(TICK * (user + system)),
        _ => Err(format!("{path}: no CPU times").into()),
    }
}

/// Asks the kernel, because a trial connection could take the only place a monitor has.
fn listens(socket: &Path) -> bool {
    const ACCEPTS_CONNECTIONS: &str = "00010000";
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    table.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(3) == Some(ACCEPTS_CONNECTIONS)
            && fields.last().is_some_and(|path| Path::new(path) == socket)
    })
}

/// Builds the daemon in the given profile and returns its path.
pub(crate) fn build_chardevd(profile: &str) -> Result<PathBuf> {
    build("chardevd", profile)
}

/// Builds the programs of a package in the given profile and returns the path of the one that has
/// the package's name.
pub(crate) fn build(package: &str, profile: &str) -> Result<PathBuf> {
    sh::run(&mut sh::cargo(&[
        "build",
        "--package",
        package,
        "--bins",
        "--profile",
        profile,
    ]))?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let path = sh::target_dir()?.join(folder).join(package);
    if !path.is_file() {
        return Err(format!(
            "{} was not built: package {package} has no such binary",
            path.display()
        )
        .into());
    }
    Ok(path)
}

/// The installed QEMU.
pub(crate) fn qemu() -> Result<PathBuf> {
    sh::need("qemu-system-x86_64", "run ./setup")
}
