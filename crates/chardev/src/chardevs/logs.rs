//! front → [chardev] → back → host: logs that are opened anew.

use super::Chardevs;
use crate::offload::offload;

/// Why a log was not reopened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReopenError {
    /// There is no such chardev.
    NotFound(String),
    /// The chardev has no log, or one that was given open and has no name.
    NoLog(String),
    /// The text says which log, and why.
    Failed(String),
}

impl std::fmt::Display for ReopenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReopenError::NotFound(id) => write!(f, "Chardev '{id}' not found"),
            ReopenError::NoLog(id) => write!(
                f,
                "Chardev '{id}' has no log file with a name; give it one with 'logfile' in a \
                 chardev-change"
            ),
            ReopenError::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ReopenError {}

impl Chardevs {
    /// Opens the log of chardev `id`, or of all, anew (`x-chardev-reopen-log`), after somebody has
    /// renamed it. What was accepted before goes to the old file. Waits for the disk.
    ///
    /// # Errors
    /// There is no such chardev, it has no log, or a log could not be opened; that one goes on in
    /// the old file, the others are reopened.
    pub async fn reopen_logs(&self, id: Option<&str>) -> Result<(), ReopenError> {
        let all = match id {
            None => self.registry.all(),
            Some(id) => vec![
                self.registry
                    .get(id)
                    .ok_or_else(|| ReopenError::NotFound(id.to_owned()))?,
            ],
        };
        let logs: Vec<_> = all
            .iter()
            .filter_map(|chardev| chardev.with(|chardev| chardev.log_control()))
            .collect();
        if let (Some(id), true) = (id, logs.is_empty()) {
            return Err(ReopenError::NoLog(id.to_owned()));
        }
        let reopened = offload(&self.shared.runtime, move || {
            let failed = logs.iter().filter_map(|log| log.reopen().err());
            failed.collect::<Vec<_>>()
        });
        match reopened.await {
            failed if failed.is_empty() => Ok(()),
            failed => Err(ReopenError::Failed(failed.join("; "))),
        }
    }
}
