//! Whether we run inside the very console that is to be attached: what it shows would be shown to
//! itself, for ever.

use std::fs;

/// What the daemon tells its programs: the chardev they are behind, and its own process.
const CHARDEV: &str = "CHARDEV";
const DAEMON: &str = "CHARDEVD_PID";
/// How far up the tree of processes we look.
const DEPTH: usize = 64;

/// Whether a program behind chardev `id` of the daemon `daemon` has started us, as far as can be seen.
pub(super) fn is_within(id: &str, daemon: u32) -> bool {
    let told = |name| std::env::var(name).ok();
    let marked = told(CHARDEV).as_deref() == Some(id)
        && told(DAEMON).and_then(|pid| pid.parse().ok()) == Some(daemon);
    marked || descends(std::process::id(), id, daemon)
}

/// Whether `pid` descends from a program of `daemon` behind chardev `id`.
fn descends(pid: u32, id: &str, daemon: u32) -> bool {
    let mut pid = pid;
    for _ in 0..DEPTH {
        let Some(parent) = parent(pid).filter(|parent| *parent > 1) else {
            return false;
        };
        if parent == daemon {
            return chardev_of(pid).as_deref() == Some(id.as_bytes());
        }
        pid = parent;
    }
    false
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in brackets and may contain some.
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(1)?.parse().ok()
}

/// The chardev that a program was told it is behind.
fn chardev_of(pid: u32) -> Option<Vec<u8>> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let name = format!("{CHARDEV}=");
    variables.find_map(|variable| Some(variable.strip_prefix(name.as_bytes())?.to_vec()))
}
