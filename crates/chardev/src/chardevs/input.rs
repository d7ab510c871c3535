//! What users do to input devices.

use super::Chardevs;
use crate::input_events::{InputError, InputEvent};

impl Chardevs {
    /// Has all of `events` done at once, each by that input device which takes such and was put to
    /// use last, or by the back end of the chardev `id` if one is named.
    ///
    /// # Errors
    /// There is none for one of them, and nothing was done; or a console had no room for keys.
    #[doc(alias = "input-send-event")]
    pub fn send_input_frame(
        &self,
        id: Option<&str>,
        events: &[InputEvent],
    ) -> Result<(), InputError> {
        self.shared.input_events().send(id, events)
    }
}
