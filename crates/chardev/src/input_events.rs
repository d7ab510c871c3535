//! Keys and movements, as users make them, on their way to those back ends that are input devices.

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
    /// A button of a mouse or a pen is pressed or let go.
    Button {
        /// Which.
        button: MouseButton,
        /// Whether it is pressed.
        down: bool,
    },
    /// A mouse is moved.
    Moved {
        /// In which direction.
        axis: Axis,
        /// How far, to the right or downwards.
        by: i64,
    },
    /// A pen is put somewhere.
    Placed {
        /// Which coordinate.
        axis: Axis,
        /// Where, from 0 to 32767.
        at: i64,
    },
    /// A finger on a screen, which no device here takes.
    Touched,
}

/// A button of a pointing device (QAPI `InputButton`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "InputButton")]
pub enum MouseButton {
    /// The left one, or the tip of a pen.
    Left,
    /// The middle one.
    Middle,
    /// The right one.
    Right,
    /// Any other, which no device here has.
    Other,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// From left to right.
    X,
    /// From top to bottom.
    Y,
}

impl InputEvent {
    /// The word for events of this sort in QMP (QAPI `InputEventKind`).
    fn sort(&self) -> &'static str {
        match self {
            InputEvent::Key { .. } => "key",
            InputEvent::Button { .. } => "btn",
            InputEvent::Moved { .. } => "rel",
            InputEvent::Placed { .. } => "abs",
            InputEvent::Touched => "mtt",
        }
    }
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
    /// No device takes events of this sort.
    NoHandler(&'static str),
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
            InputError::NoHandler(sort) => {
                write!(f, "Input handler not found for event type {sort}")
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

    /// What was done was done at once, and there is no more for now.
    fn sync(&self) {}
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

    /// `label` has just been put to use, and is the first from here on.
    #[cfg(feature = "input")]
    pub(crate) fn bring_forward(&self, label: &str) {
        let mut devices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |device: &Weak<dyn InputDevice>| {
            device
                .upgrade()
                .is_some_and(|device| device.label() == label)
        };
        if let Some(at) = devices.iter().rposition(is_it) {
            let device = devices.remove(at);
            devices.insert(0, device);
        }
    }

    /// Has all of `events` done at once, each by the first device that takes such, or by that of
    /// the chardev `id`.
    ///
    /// # Errors
    /// There is none for one of them, and nothing was done; or one had no room.
    #[cfg(feature = "input")]
    pub(crate) fn send(&self, id: Option<&str>, events: &[InputEvent]) -> Result<(), InputError> {
        let mut all = self.all();
        all.retain(|device| id.is_none_or(|id| device.label() == id));
        let find = |event: &InputEvent| {
            let mut fit = all.iter().filter(|device| device.takes(event));
            // A back end set aside by a temporary one of the same chardev is older.
            let device = if id.is_some() {
                fit.next_back()
            } else {
                fit.next()
            };
            device.ok_or(InputError::NoHandler(event.sort()))
        };
        let devices = events.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let mut full = None;
        for (device, event) in devices.iter().zip(events) {
            if !device.handle(event) {
                full = Some(device.label().to_owned());
            }
        }
        for device in &all {
            if devices.iter().any(|used| Arc::ptr_eq(used, device)) {
                device.sync();
            }
        }
        full.map_or(Ok(()), |label| Err(InputError::Full(label)))
    }

    /// The device for `event`: that of the chardev `id`, or the only one.
    ///
    /// # Errors
    /// There is none, or there are several and none is named.
    #[cfg(feature = "vc")]
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
