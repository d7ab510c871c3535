//! What a process has of memory, descriptors, threads and children.

use std::fmt;
use std::fs;

/// What it may have more of at rest than when it became warm. An allocator gives back whole pages
/// only, of each of its arenas, and threads stay for a while.
const SPARE_MEMORY_KIB: u64 = 16 << 10;
const SPARE_DESCRIPTORS: u64 = 4;
const SPARE_THREADS: u64 = 16;

/// What a process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory of its own, in KiB.
    pub memory_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Processes that it has started and not seen end.
    pub children: u64,
}

impl Usage {
    /// Of the process `id`; `None` if it is gone.
    pub fn of(id: u32) -> Option<Usage> {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let value = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Some(Usage {
            memory_kib: value("RssAnon:")?,
            descriptors: fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64,
            threads: value("Threads:")?,
            children: children(id),
        })
    }

    /// Whether it is more than `base`, `kept_kib` of memory that is kept on purpose, and what may
    /// vary.
    pub fn has_grown(&self, base: &Usage, kept_kib: u64) -> bool {
        self.memory_kib > base.memory_kib + kept_kib + SPARE_MEMORY_KIB
            || self.descriptors > base.descriptors + SPARE_DESCRIPTORS
            || self.threads > base.threads + SPARE_THREADS
            || self.children > base.children
    }

    /// The most memory of both, and the fewest of the others; nothing seen yet counts as no number.
    pub(super) fn warmed(&self, other: &Usage) -> Usage {
        let least = |own: u64, other: u64| if own == 0 { other } else { own.min(other) };
        Usage {
            memory_kib: self.memory_kib.max(other.memory_kib),
            descriptors: least(self.descriptors, other.descriptors),
            threads: least(self.threads, other.threads),
            children: least(self.children, other.children),
        }
    }

    /// Whether as many descriptors, threads and children are there as in `other`.
    pub(super) fn has_as_many(&self, other: &Usage) -> bool {
        let of = |usage: &Usage| (usage.descriptors, usage.threads, usage.children);
        of(self) == of(other)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mib, descriptors) = (self.memory_kib as f64 / 1024.0, self.descriptors);
        let threads = self.threads;
        write!(
            f,
            "{mib:.1} MiB, {descriptors} descriptors, {threads} threads"
        )?;
        match self.children {
            0 => Ok(()),
            children => write!(f, ", {children} children"),
        }
    }
}

/// How many processes all threads of a process have started.
fn children(id: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{id}/task"));
    let listed = threads.into_iter().flatten().flatten().map(|thread| {
        let list = fs::read_to_string(thread.path().join("children"));
        list.map_or(0, |list| list.split_whitespace().count() as u64)
    });
    listed.sum()
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn each_of_them_may_not_grow() {
        let base = Usage::of(std::process::id()).unwrap();
        assert!(base.memory_kib > 0 && base.descriptors > 2 && base.threads > 0);
        assert!(!base.has_grown(&base, 0));
        let grows: [fn(&mut Usage); 4] = [
            |usage| usage.memory_kib += 17 << 10,
            |usage| usage.descriptors += 5,
            |usage| usage.threads += 17,
            |usage| usage.children += 1,
        ];
        for grow in grows {
            let mut grown = base;
            grow(&mut grown);
            assert!(grown.has_grown(&base, 512), "{grown}");
        }
    }
}
