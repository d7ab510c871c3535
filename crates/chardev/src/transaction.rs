//! front → [chardev] → back → host: several chardevs added, changed and removed at one moment.

use std::sync::Arc;
use std::time::Instant;

use chardev_core::spec::Options;
use chardev_core::{AddError, ChangeError, RemoveError, Step};

use crate::back::{FdSource, NoFds};
use crate::chardevs::{Chardevs, Info};
use crate::offload;
use crate::scene::Scene;
use crate::writer;

/// One part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// As [`Chardevs::add`]; later actions may refer to it.
    Add {
        /// The new chardev's id.
        id: String,
        /// Its back end.
        options: Options,
    },
    /// As [`Chardevs::change`].
    Change {
        /// The chardev.
        id: String,
        /// Its new back end.
        options: Options,
    },
    /// As [`Chardevs::remove`]. What it held, such as a port, may be taken by other actions.
    Remove {
        /// The chardev.
        id: String,
    },
}

impl Action {
    /// The chardev it is about.
    pub fn id(&self) -> &str {
        match self {
            Action::Add { id, .. } | Action::Change { id, .. } | Action::Remove { id } => id,
        }
    }
}

/// Why a transaction did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionError {
    /// The action to blame, counted from 0.
    pub action: usize,
    /// The cause.
    pub cause: ActionError,
}

/// Why one part of a transaction was not possible, shown in the words of the single operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionError {
    /// Of an [`Action::Add`].
    Add(AddError),
    /// Of an [`Action::Change`]; or of any, where the parts do not go together.
    Change(ChangeError),
    /// Of an [`Action::Remove`].
    Remove(RemoveError),
}

impl std::fmt::Display for TransactionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for TransactionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match &self.cause {
            ActionError::Add(error) => error,
            ActionError::Change(error) => error,
            ActionError::Remove(error) => error,
        })
    }
}

impl std::fmt::Display for ActionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ActionError::Add(error) => error.fmt(f),
            ActionError::Change(error) => error.fmt(f),
            ActionError::Remove(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ActionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ActionError::Add(error) => error.source(),
            ActionError::Change(error) => error.source(),
            ActionError::Remove(error) => error.source(),
        }
    }
}

impl Chardevs {
    /// Carries out all of `actions` at one moment, or none of them (`x-chardev-transaction`).
    /// Returns what is to be known of each chardev that was added or changed. May take as long as
    /// all openings together.
    ///
    /// # Cancel safety
    /// Dropping the future gives everything up, or it has all happened.
    ///
    /// # Errors
    /// The first action that could not be prepared or carried out. Nothing has happened then.
    pub async fn transaction(
        &self,
        actions: &[Action],
    ) -> Result<Vec<Option<Info>>, TransactionError> {
        self.transaction_with(actions, Arc::new(NoFds)).await
    }

    /// [`Chardevs::transaction`] where options may name descriptors that are in `fds`.
    ///
    /// # Cancel safety
    /// As for [`Chardevs::transaction`], and for descriptors as for [`Chardevs::add_with`].
    ///
    /// # Errors
    /// As [`Chardevs::transaction`].
    pub async fn transaction_with(
        &self,
        actions: &[Action],
        fds: Arc<dyn FdSource>,
    ) -> Result<Vec<Option<Info>>, TransactionError> {
        let (chardevs, actions) = (self.clone(), actions.to_vec());
        offload::following(async move { chardevs.transaction_whole(&actions, fds).await }).await
    }

    async fn transaction_whole(
        &self,
        actions: &[Action],
        fds: Arc<dyn FdSource>,
    ) -> Result<Vec<Option<Info>>, TransactionError> {
        let leaving = actions
            .iter()
            .filter(|action| !matches!(action, Action::Add { .. }))
            .filter_map(|action| self.registry().get(action.id()));
        let began = Instant::now();
        let mut scene = self.scene(leaving.collect());
        let mut steps = Vec::new();
        // Which action each step belongs to.
        let mut owners = Vec::new();
        for (at, action) in actions.iter().enumerate() {
            match self.prepare(action, Arc::clone(&fds), &mut scene).await {
                Ok(prepared) => steps.extend(prepared),
                Err(cause) => {
                    self.discard((steps, scene)).await;
                    return Err(TransactionError { action: at, cause });
                }
            }
            owners.resize(steps.len(), at);
        }
        if let Err(refused) = self.carry_out(steps).await {
            self.discard(scene).await;
            return Err(TransactionError {
                action: owners[refused.step],
                cause: ActionError::Change(refused.error),
            });
        }
        for action in actions {
            if let Action::Change { id, .. } = action {
                self.note_change(id, began);
            }
        }
        for action in actions {
            writer::emptied(self.shared().io_threads(), action.id()).await;
        }
        let info = |action: &Action| match action {
            Action::Remove { .. } => None,
            _ => self.info(action.id()),
        };
        Ok(actions.iter().map(info).collect())
    }

    async fn prepare(
        &self,
        action: &Action,
        fds: Arc<dyn FdSource>,
        scene: &mut Scene,
    ) -> Result<Vec<Step>, ActionError> {
        match action {
            Action::Add { id, options } => {
                let step = self.prepare_add(id, options.clone(), fds, scene).await;
                step.map(|step| vec![step]).map_err(ActionError::Add)
            }
            Action::Change { id, options } => self
                .prepare_change(id, options.clone(), fds, scene, |_| Vec::new())
                .await
                .map_err(ActionError::Change),
            Action::Remove { id } => {
                let step = self.prepare_removal(id);
                step.map(|step| vec![step]).map_err(ActionError::Remove)
            }
        }
    }
}
