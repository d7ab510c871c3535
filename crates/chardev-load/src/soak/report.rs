//! What a soak has done.

use std::fmt;
use std::time::Duration;

use super::Usage;

/// What was done, and found to be in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// How long it took, from the start of the daemon to the last count.
    pub time: Duration,
    /// How often everything came to rest and was counted.
    pub rounds: usize,
    /// Bytes that the consoles printed.
    pub output: u64,
    /// Bytes that their peers typed.
    pub input: u64,
    /// Changes of a back end, in and out of transactions.
    pub changes: u64,
    /// Transactions of changes.
    pub transactions: u64,
    /// Changes and transactions that were refused and are in order: input still waited to be read,
    /// or somebody else had the port.
    pub refused: u64,
    /// How often somebody attached to a console, and detached.
    pub attached: u64,
    /// Peers that came to a back end whose former peer had left.
    pub came: u64,
    /// Viewers that came.
    pub viewers: u64,
    /// Those who were put out since they were too slow.
    pub too_slow: u64,
    /// Bytes that viewers saw.
    pub viewed: u64,
    /// Bytes of logs that were compared.
    pub logged: u64,
    /// Bytes that TCP peers typed before a change and the daemon told came too late.
    pub late: u64,
    /// Bytes that the daemon told are missing in logs.
    pub log_lost: u64,
    /// What the daemon had at rest when it was warm.
    pub base: Usage,
    /// What it had at rest at the end.
    pub last: Usage,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        write!(
            f,
            "{} MiB printed, {} MiB typed, {} changes ({} transactions, {} refused in order), {} \
             attached, {} peers came back, {} viewers saw {} MiB ({} too slow)",
            mib(self.output),
            mib(self.input),
            self.changes,
            self.transactions,
            self.refused,
            self.attached,
            self.came,
            self.viewers,
            mib(self.viewed),
            self.too_slow,
        )?;
        if self.logged > 0 {
            write!(f, ", {} MiB of logs compared", mib(self.logged))?;
        }
        if self.late > 0 {
            write!(f, ", {} bytes over TCP told too late", self.late)?;
        }
        match self.log_lost {
            0 => Ok(()),
            lost => write!(f, ", {lost} bytes told missing in logs"),
        }
    }
}
