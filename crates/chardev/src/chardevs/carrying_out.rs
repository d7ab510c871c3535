//! front → [chardev] → back → host: where transactions are carried out.

use chardev_core::{ChangeError, Refused, Step, commit};

use super::{Chardevs, Info};
use crate::offload;

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
