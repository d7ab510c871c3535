//! front → [chardev] → back → host: reopening logs.

use std::sync::{Arc, Mutex, PoisonError};

use chardev_core::{LogControl, OpenError};
use tokio::task::JoinHandle;

use super::Chardevs;
use crate::offload::offload_open;

/// How many logs are reopened at a time.
const WORKERS: usize = 32;

/// Why a log was not reopened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReopenError {
    /// There is no such chardev.
    NotFound(String),
    /// The chardev has no log, or one that was given open and has no name.
    NoLog(String),
    /// These logs could not be opened.
    Failed(Vec<OpenError>),
}

impl std::fmt::Display for ReopenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReopenError::NotFound(id) => write!(f, "Chardev '{id}' not found"),
            ReopenError::NoLog(id) => write!(
                f,
                "Chardev '{id}' has no log file with a path; give it one with 'logfile' in a \
                 chardev-change"
            ),
            ReopenError::Failed(errors) => {
                let texts: Vec<String> = errors.iter().map(OpenError::to_string).collect();
                f.write_str(&texts.join("; "))
            }
        }
    }
}

impl std::error::Error for ReopenError {}

impl Chardevs {
    /// Reopens the log of chardev `id`, or of all, by its path, e.g. after logrotate
    /// (`x-chardev-reopen-log`); output accepted earlier still goes to the old file. May take as
    /// long as the file system does.
    ///
    /// # Cancel safety
    /// The logs are reopened also when the future is dropped.
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
        let mut failed = Vec::new();
        for worker in self.reopen_side_by_side(logs) {
            // A worker only fails with the I/O thread, and everything ends with that.
            failed.extend(worker.await.unwrap_or_default());
        }
        match failed.is_empty() {
            true => Ok(()),
            false => Err(ReopenError::Failed(failed)),
        }
    }

    /// A log on a disk that does not answer must not keep the others from being reopened, and a
    /// great many logs must not take a great many threads.
    fn reopen_side_by_side(
        &self,
        logs: Vec<Arc<dyn LogControl>>,
    ) -> Vec<JoinHandle<Vec<OpenError>>> {
        let workers = logs.len().min(WORKERS);
        let queue = Arc::new(Mutex::new(logs.into_iter()));
        let work = |_| {
            let (runtime, queue) = (self.shared.runtime().clone(), Arc::clone(&queue));
            self.shared.runtime().spawn(async move {
                let next = move || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let reopen = move || {
                    let each = std::iter::from_fn(next);
                    each.filter_map(|log| log.reopen().err()).collect()
                };
                let reopened = offload_open(&runtime, reopen).await;
                reopened.unwrap_or_else(|why| vec![why.into()])
            })
        };
        (0..workers).map(work).collect()
    }
}
