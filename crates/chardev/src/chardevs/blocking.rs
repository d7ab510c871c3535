//! The calls that wait, for programs without an executor.

use chardev_core::spec::Options;
use chardev_core::{AddError, AttachError, ChangeError, FrontEnd, RemoveError};

use super::{Chardevs, Info};

impl Chardevs {
    /// [`Chardevs::add`], waiting on this thread for as long as that takes: there is no timeout.
    ///
    /// # Panics
    /// Where [`Chardevs::block_on`] does.
    ///
    /// # Errors
    /// As [`Chardevs::add`].
    pub fn blocking_add(&self, id: &str, options: impl Into<Options>) -> Result<Info, AddError> {
        self.block_on(self.add(id, options))
    }

    /// [`Chardevs::change`], waiting on this thread, as [`Chardevs::blocking_add`] does.
    ///
    /// # Panics
    /// Where [`Chardevs::block_on`] does.
    ///
    /// # Errors
    /// As [`Chardevs::change`].
    pub fn blocking_change(
        &self,
        id: &str,
        options: impl Into<Options>,
    ) -> Result<Info, ChangeError> {
        self.block_on(self.change(id, options))
    }

    /// [`Chardevs::remove`], waiting on this thread, as [`Chardevs::blocking_add`] does.
    ///
    /// # Panics
    /// Where [`Chardevs::block_on`] does.
    ///
    /// # Errors
    /// As [`Chardevs::remove`].
    pub fn blocking_remove(&self, id: &str) -> Result<(), RemoveError> {
        self.block_on(self.remove(id))
    }

    /// A front end of chardev `id` for a device that has nothing to say to a change of its back
    /// end; otherwise [`Chardevs::front_end`].
    ///
    /// # Errors
    /// As [`Chardevs::front_end`].
    pub fn attach(&self, id: &str) -> Result<FrontEnd, AttachError> {
        self.front_end(id, std::sync::Arc::new(()))
    }
}
