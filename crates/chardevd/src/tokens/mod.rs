//! The tokens of a daemon: the file that they are kept in, and the commands about them.
//!
//! What is told to anybody has been written: a token counts once the disk has it, and where that
//! fails everything is as it was.

mod commands;
mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chardev_monitor::{Token, Tokens};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::devices::on_own_thread;

/// Where tokens are kept, if they are. Clones are of the same place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    /// One has its turn at a time: who reads the file, or changes it.
    file: Arc<Mutex<Option<PathBuf>>>,
}

/// What a file that is to be used from now on says. Nobody changes it meanwhile.
#[derive(Debug)]
pub(crate) struct Opened {
    turn: OwnedMutexGuard<Option<PathBuf>>,
    file: Option<PathBuf>,
    all: Vec<Token>,
}

impl Store {
    /// Reads the file that is to be used, if any. Nothing is different before
    /// [`Opened::commit`].
    ///
    /// # Errors
    /// The file, and why it cannot be used.
    pub(crate) async fn open(&self, file: Option<PathBuf>) -> Result<Opened, String> {
        let turn = Arc::clone(&self.file).lock_owned().await;
        let all = match file.clone() {
            Some(file) => {
                let read = on_own_thread("tokens", move || file::read(&file)).await;
                read.map_err(|error| error.to_string())??
            }
            None => Vec::new(),
        };
        Ok(Opened { turn, file, all })
    }

    /// Has `change` make another list of the tokens, and keeps that.
    ///
    /// # Errors
    /// Why they are as they were.
    async fn change<T: Send + 'static>(
        &self,
        tokens: &Tokens,
        change: impl FnOnce(&mut Vec<Token>) -> Result<T, String>,
    ) -> Result<T, String> {
        let turn = Arc::clone(&self.file).lock_owned().await;
        let Some(file) = turn.clone() else {
            return Err(
                "this daemon keeps no tokens; its configuration needs a section [tokens], \
                        which may be empty"
                    .to_owned(),
            );
        };
        let mut all: Vec<Token> = tokens.list().iter().map(|one| (**one).clone()).collect();
        let changed = change(&mut all)?;
        let tokens = tokens.clone();
        // Whoever asked may leave; what was begun is done, or the file would say something else.
        let write = move || {
            let _turn = turn;
            file::write(&file, &all)?;
            tokens.set(all);
            Ok(())
        };
        let written = on_own_thread("tokens", write).await;
        written
            .map_err(|error| error.to_string())?
            .map(|()| changed)
    }
}

impl Opened {
    /// From now on these are the tokens.
    pub(crate) fn commit(mut self, tokens: &Tokens) {
        *self.turn = self.file.take();
        tokens.set(std::mem::take(&mut self.all));
    }
}

/// Where tokens are kept if nobody says: in the state directory of the service, or the user's.
pub(crate) fn default_file() -> PathBuf {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    let absolute = |dir: PathBuf| dir.is_absolute().then_some(dir);
    if let Some(dir) = var("STATE_DIRECTORY").and_then(absolute) {
        return dir.join("tokens");
    }
    if rustix::process::geteuid().is_root() {
        return Path::new("/var/lib/chardevd").join("tokens");
    }
    let home = || Some(var("HOME").and_then(absolute)?.join(".local/state"));
    let state = var("XDG_STATE_HOME").and_then(absolute).or_else(home);
    state.unwrap_or_default().join("chardevd/tokens")
}
