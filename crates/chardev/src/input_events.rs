//! Keys, as users press them, on their way to those back ends that are input devices.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Something a user does to an input device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputEvent {
    /// A key is pressed or let go.
    Key {
        /// The name of the key, as QMP has it (`QKeyCode`).
        name: String,
        /// Whether it is pressed.
        down: bool,
    },
}

/// Why an event reached no device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputError {
    /// No chardev takes such events.
    None,
    /// The chardev takes no such events, or there is none of this id.
    NotFound(String),
    /// These all do, and one has to be named.
    Several(Vec<String>),
    /// The front end of this chardev does not read, and there is no room for more.
    Full(String),
}

impl std::fmt::Display for InputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InputError::None => f.write_str("There is no console to send keys to"),
            InputError::NotFound(id) => write!(f, "Device '{id}' not found"),
            InputError::Full(id) => {
                write!(
                    f,
                    "'{id}' has no room for more input: its front end does not read"
                )
            }
            InputError::Several(ids) => {
                let ids = ids.join(", ");
                write!(
                    f,
                    "there are several devices for this, so name one of {ids}"
                )
            }
        }
    }
}

impl std::error::Error for InputError {}

/// A back end that is an input device.
pub(crate) trait InputDevice: Send + Sync {
    /// The id of the chardev it was made for.
    fn label(&self) -> &str;

    /// Whether it has a use for such an event.
    fn takes(&self, event: &InputEvent) -> bool;

    /// The user has done this. Called with no lock held; what it makes of it goes to the front end,
    /// or is lost if that does not read: `false`.
    fn handle(&self, event: &InputEvent) -> bool;
}

/// The input devices there are, in the order they went live.
#[derive(Default)]
pub(crate) struct InputEvents(Mutex<Vec<Weak<dyn InputDevice>>>);

impl std::fmt::Debug for InputEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels: Vec<_> = self.all().iter().map(|it| it.label().to_owned()).collect();
        f.debug_tuple("InputEvents").field(&labels).finish()
    }
}

impl InputEvents {
    /// Adds a device; it is here for as long as somebody else keeps it.
    pub(crate) fn add(&self, device: &Arc<dyn InputDevice>) {
        let mut devices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        devices.retain(|device| device.strong_count() > 0);
        devices.push(Arc::downgrade(device));
    }

    /// The device for `event`: that of the chardev `id`, or the only one.
    ///
    /// # Errors
    /// There is none, or there are several and none is named.
    pub(crate) fn find(
        &self,
        id: Option<&str>,
        event: &InputEvent,
    ) -> Result<Arc<dyn InputDevice>, InputError> {
        let mut fit = self.all();
        fit.retain(|device| device.takes(event) && id.is_none_or(|id| device.label() == id));
        match (fit.len(), id) {
            (0, None) => Err(InputError::None),
            (0, Some(id)) => Err(InputError::NotFound(id.to_owned())),
            // A back end set aside by a temporary one of the same chardev is older.
            (1, _) | (_, Some(_)) => fit.pop().ok_or(InputError::None),
            _ => {
                let ids = fit.iter().map(|device| device.label().to_owned());
                Err(InputError::Several(ids.collect()))
            }
        }
    }

    fn all(&self) -> Vec<Arc<dyn InputDevice>> {
        let devices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().filter_map(Weak::upgrade).collect()
    }
}
