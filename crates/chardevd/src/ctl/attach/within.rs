//! Whether we run inside the console that is to be attached, which would show its own output for
//! ever.

use std::fs;

/// What the daemon tells its programs: the chardev they are behind, and its own process.
const CHARDEV: &str = "CHARDEV";
const DAEMON: &str = "CHARDEVD_PID";
/// How far up the tree of processes we look.
const DEPTH: usize = 64;

/// Whether a program behind chardev `id` of the daemon `daemon` has started us, as far as can be
/// seen.
pub(super) fn is_within(id: &str, daemon: u32) -> bool {
    let own = |name| std::env::var(name).ok();
    let marked = own(CHARDEV).as_deref() == Some(id)
        && own(DAEMON).and_then(|pid| pid.parse().ok()) == Some(daemon);
    marked || descends(std::process::id(), id, daemon)
}

/// The chardev of `daemon` behind which the process `pid` runs, as far as can be seen.
pub(super) fn console_of(pid: u32, daemon: u32) -> Option<String> {
    let marked = told(pid, DAEMON).is_some_and(|told| told == daemon.to_string().as_bytes());
    let found = match marked {
        true => told(pid, CHARDEV),
        false => ancestor(pid, daemon).and_then(|pid| told(pid, CHARDEV)),
    };
    found.and_then(|id| String::from_utf8(id).ok())
}

/// The number of a process in how the daemon calls it: `NAME (pid N, uid U)`.
pub(super) fn pid_in(by: &str) -> Option<u32> {
    let (_, after) = by.rsplit_once("(pid ")?;
    after.split([',', ')']).next()?.parse().ok()
}

/// Whether `pid` descends from a program of `daemon` behind chardev `id`.
fn descends(pid: u32, id: &str, daemon: u32) -> bool {
    let found = ancestor(pid, daemon).and_then(|pid| told(pid, CHARDEV));
    found.as_deref() == Some(id.as_bytes())
}

/// The program of `daemon` that `pid` descends from, or is.
fn ancestor(pid: u32, daemon: u32) -> Option<u32> {
    let mut pid = pid;
    for _ in 0..DEPTH {
        let parent = parent(pid).filter(|parent| *parent > 1)?;
        if parent == daemon {
            return Some(pid);
        }
        pid = parent;
    }
    None
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in brackets and may contain some.
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(1)?.parse().ok()
}

/// What is in the environment of a process under `name`.
fn told(pid: u32, name: &str) -> Option<Vec<u8>> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let name = format!("{name}=");
    variables.find_map(|variable| Some(variable.strip_prefix(name.as_bytes())?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::pid_in;

    #[test]
    fn a_process_is_found_in_what_it_is_called() {
        assert_eq!(pid_in("sh (pid 3, uid 0)"), Some(3));
        assert_eq!(pid_in("sh (pid 5 (pid 7)"), Some(7));
        assert_eq!(pid_in("pid 3"), None);
    }
}
