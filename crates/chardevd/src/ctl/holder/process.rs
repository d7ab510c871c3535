//! Which process holds a socket, from `/proc`.

use std::collections::{BTreeSet, HashMap};
use std::fs;

/// A process, as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ctl) struct Process {
    /// Its id.
    pub(in crate::ctl) pid: u32,
    /// The name of its program.
    pub(in crate::ctl) name: String,
    /// Whether it was stopped, by a signal or a debugger.
    pub(in crate::ctl) stopped: bool,
}

impl Process {
    /// The process with this id, if there is one.
    pub(in crate::ctl) fn of(pid: u32) -> Option<Process> {
        let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
        let name = String::from_utf8_lossy(&name).trim_end().to_owned();
        // The name of the program is in brackets and may contain some.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let after = stat.iter().rposition(|byte| *byte == b')')? + 2;
        Some(Process {
            pid,
            name: name.escape_debug().to_string(),
            stopped: matches!(stat.get(after), Some(b'T' | b't')),
        })
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Who holds each of the sockets `wanted`; of several processes that share one, the oldest id.
pub(super) fn holders(wanted: &BTreeSet<u64>) -> HashMap<u64, Process> {
    let mut found = HashMap::new();
    if wanted.is_empty() {
        return found;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    for pid in pids {
        let fds = fs::read_dir(format!("/proc/{pid}/fd"));
        for fd in fds.into_iter().flatten().flatten() {
            let inode = fs::read_link(fd.path()).ok().and_then(|target| {
                let target = target.to_str()?.strip_prefix("socket:[")?;
                target.strip_suffix(']')?.parse().ok()
            });
            let Some(inode) = inode.filter(|inode| wanted.contains(inode)) else {
                continue;
            };
            if found.contains_key(&inode) {
                continue;
            }
            if let Some(process) = Process::of(pid) {
                found.insert(inode, process);
            }
        }
    }
    found
}
