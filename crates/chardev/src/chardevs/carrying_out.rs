//! front → [chardev] → back → host: where transactions are carried out.

use std::sync::Arc;
use std::time::Instant;

use chardev_core::spec::Options;
use chardev_core::{AddError, ChangeError, Refused, Step, commit};

use super::{Chardevs, Info};
use crate::back::FdSource;
use crate::{offload, writer};

impl Chardevs {
    /// Carries out a transaction, where waiting for a disk holds up nobody: here, if it waits for
    /// nothing and is short. Once begun it goes on whether or not the future is polled.
    pub(crate) async fn carry_out(&self, steps: Vec<Step>) -> Result<(), Refused> {
        let at_once = steps.len() == 1 && !steps[0].may_wait();
        let chardevs = self.clone();
        let work = move || {
            for drainer in commit(steps)? {
                chardevs.drain(drainer);
            }
            Ok(())
        };
        match at_once {
            // The way to another thread and back would be most of the time that it takes.
            true => work(),
            false => offload::offload(self.shared.runtime(), work).await,
        }
    }

    /// Lets go of what never went live, and waits until nothing is left of it.
    pub(crate) async fn discard<T: Send + 'static>(&self, what: T) {
        offload::offload(self.shared.runtime(), move || drop(what)).await;
    }

    /// [`Chardevs::add_with`], on whatever threads it comes to.
    pub(super) async fn add_whole(
        &self,
        id: &str,
        options: Options,
        fds: Arc<dyn FdSource>,
    ) -> Result<Info, AddError> {
        let mut scene = self.scene(Vec::new());
        let step = self.prepare_add(id, options, fds, &mut scene).await?;
        if let Err(refused) = self.carry_out(vec![step]).await {
            self.discard(scene).await;
            return Err(AddError::Open {
                id: id.to_owned(),
                cause: match refused.error {
                    ChangeError::Open(cause) => cause,
                    error => error.to_string().into(),
                },
            });
        }
        writer::emptied(self.shared.io_threads(), id).await;
        self.info(id).ok_or_else(|| AddError::Open {
            id: id.to_owned(),
            cause: "it was removed immediately".into(),
        })
    }

    /// [`Chardevs::change_answering`], on whatever threads it comes to.
    pub(super) async fn change_whole(
        &self,
        id: &str,
        options: Options,
        fds: Arc<dyn FdSource>,
        answer: impl FnOnce(&Info) -> Vec<u8>,
    ) -> Result<Info, ChangeError> {
        let began = Instant::now();
        let leaving = self.registry.get(id).into_iter().collect();
        let scene = self.scene(leaving);
        let changed = match self.prepare_change(id, options, fds, &scene, answer).await {
            Ok(steps) => self.carry_out_one(id, steps).await,
            Err(error) => Err(error),
        };
        let info = changed.map_err(|error| self.in_words_of_qemu(id, error))?;
        self.note_change(id, began);
        writer::emptied(self.shared.io_threads(), id).await;
        Ok(info)
    }

    /// QEMU changes a chardev that has no front end by adding it anew, and says so.
    fn in_words_of_qemu(&self, id: &str, error: ChangeError) -> ChangeError {
        let unused = || {
            let chardev = self.registry.get(id)?;
            Some(chardev.with(|chardev| !chardev.has_front_end()))
        };
        match error {
            ChangeError::Open(cause) if unused() == Some(true) => {
                let shown = format!("Failed to add chardev '{id}': {cause}");
                ChangeError::Open(cause.shown_as(shown))
            }
            error => error,
        }
    }

    pub(super) async fn carry_out_one(
        &self,
        id: &str,
        steps: Vec<Step>,
    ) -> Result<Info, ChangeError> {
        self.carry_out(steps)
            .await
            .map_err(|refused| refused.error)?;
        self.info(id)
            .ok_or_else(|| ChangeError::NotFound(id.to_owned()))
    }
}
