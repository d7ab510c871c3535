//! front → [chardev: scrollback] → viewers: how much is kept by default, and who reads it here.

use chardev_core::{Landmark, Marked, Slow, ViewError, ViewFrom, Viewer};

use super::Chardevs;

impl Chardevs {
    /// Keeps so many bytes of the output of every chardev that is added from here on and names no
    /// `x-history` (0, which it is at first, for none). Memory is used as output comes; viewers
    /// find no less than without it, and what a query says of a chardev's options does not change.
    pub fn set_default_history(&self, bytes: usize) {
        self.shared.set_default_history(bytes);
    }

    /// How much that is now.
    pub fn default_history(&self) -> usize {
        self.shared.default_history()
    }

    /// Chardev `id` keeps output only if its user has asked for it, in spite of
    /// [`Chardevs::set_default_history`].
    pub fn drop_default_history(&self, id: &str) {
        if let Some(chardev) = self.registry.get(id) {
            chardev.with(|chardev| {
                if chardev.has_default_scrollback() {
                    chardev.set_default_scrollback(0);
                }
            });
        }
    }

    /// Sets a mark where the output of chardev `id` is now, with a text and who has set it. It is
    /// among the [landmarks](Chardevs::landmarks) and, if that has room for it, in the index of the
    /// log.
    pub fn mark(&self, id: &str, text: &str, by: &str) -> Option<Marked> {
        let chardev = self.registry.get(id)?;
        Some(chardev.with(|chardev| chardev.mark(text, by)))
    }

    /// The newest marks and changes of chardev `id`, the oldest of them first: up to 128 of each.
    pub fn landmarks(&self, id: &str) -> Option<Vec<Landmark>> {
        Some(self.registry.get(id)?.with(|chardev| chardev.landmarks()))
    }

    /// A viewer of chardev `id` that the program reads itself, which costs no descriptor; see
    /// [`Chardevs::watch`] for one at a socket. The one who reads bounds how many there are.
    ///
    /// # Errors
    /// There is no such chardev, or no output at that offset yet.
    pub fn view(&self, id: &str, from: ViewFrom, slow: Slow) -> Result<Viewer, ViewError> {
        let not_found = || ViewError::NotFound(id.to_owned());
        let chardev = self.registry.get(id).ok_or_else(not_found)?;
        chardev.view(from, slow)
    }
}
