//! Keys and movements, as users make them, on their way to those back ends that are input devices.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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
    /// This chardev's back end was being replaced, or removed, at that moment.
    Replaced(String),
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
            InputError::Replaced(id) => {
                write!(f, "the back end of '{id}' has just gone: do that again")
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
    /// unless that is not possible.
    fn handle(&self, event: &InputEvent) -> Handled;

    /// What was done was done at once, and there is no more for now.
    fn sync(&self) -> Handled {
        Handled::Done
    }
}

/// What came of what a user did; the worst is the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Handled {
    Done,
    /// There was no room: the front end does not read.
    Full,
    /// The device's input was cut already, and nobody reads what it says.
    Gone,
}

/// The input devices there are.
#[derive(Default)]
pub(crate) struct InputEvents(Mutex<Vec<Entry>>);

/// They stand in the order they went live.
struct Entry {
    device: Weak<dyn InputDevice>,
    /// Higher than that of all that were put to use before; 0 if it was not.
    used: u64,
}

/// A device for each event.
type Chosen = Result<Vec<Arc<dyn InputDevice>>, InputError>;

impl std::fmt::Debug for InputEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels: Vec<_> = self.all().iter().map(|it| it.label().to_owned()).collect();
        f.debug_tuple("InputEvents").field(&labels).finish()
    }
}

impl InputEvents {
    /// Adds a device; it is here for as long as somebody else keeps it.
    pub(crate) fn add(&self, device: &Arc<dyn InputDevice>) {
        let mut entries = self.entries();
        entries.retain(|entry| entry.device.strong_count() > 0);
        entries.push(Entry {
            device: Arc::downgrade(device),
            used: 0,
        });
    }

    /// `label` has just been put to use, and is the first from here on.
    #[cfg(feature = "input")]
    pub(crate) fn bring_forward(&self, label: &str) {
        let mut entries = self.entries();
        let used = 1 + entries.iter().map(|entry| entry.used).max().unwrap_or(0);
        let newest = entries.iter_mut().rfind(|entry| {
            let device = entry.device.upgrade();
            device.is_some_and(|device| device.label() == label)
        });
        if let Some(entry) = newest {
            entry.used = used;
        }
    }

    /// Has all of `events` done at once, each by that device for it which was put to use last, or
    /// by that of the chardev `id`.
    ///
    /// # Errors
    /// There is none for one of them, and nothing was done; or one had no room.
    #[cfg(feature = "input")]
    pub(crate) fn send(&self, id: Option<&str>, events: &[InputEvent]) -> Result<(), InputError> {
        let choose = |event: &InputEvent| {
            let device = match id {
                None => self.last_used(event),
                Some(_) => self.fit(id, event).pop(),
            };
            device.ok_or(InputError::NoHandler(event.sort()))
        };
        have_done(events.iter().map(choose).collect(), events)
    }

    /// Has all of `events` done at once, each by that of the chardev `id` or the only one for it.
    ///
    /// # Errors
    /// There is none for one of them, or there are several and none is named, and nothing was done;
    /// or one had no room.
    #[cfg(feature = "vc")]
    pub(crate) fn send_to_only(
        &self,
        id: Option<&str>,
        events: &[InputEvent],
    ) -> Result<(), InputError> {
        let choose = |event: &InputEvent| {
            let mut fit = self.fit(id, event);
            if id.is_none() && fit.len() > 1 {
                let ids = fit.iter().map(|device| device.label().to_owned());
                return Err(InputError::Several(ids.collect()));
            }
            fit.pop().ok_or_else(|| match id {
                None => InputError::None,
                Some(id) => InputError::NotFound(id.to_owned()),
            })
        };
        have_done(events.iter().map(choose).collect(), events)
    }

    /// Those for `event`, of the chardev `id` if one is named. The last is the newest: a back end
    /// that is set aside by a temporary one of the same chardev is older.
    fn fit(&self, id: Option<&str>, event: &InputEvent) -> Vec<Arc<dyn InputDevice>> {
        let mut fit = self.all();
        fit.retain(|device| device.takes(event) && id.is_none_or(|id| device.label() == id));
        fit
    }

    /// The one for `event` that was put to use last, or the oldest if none was.
    #[cfg(feature = "input")]
    fn last_used(&self, event: &InputEvent) -> Option<Arc<dyn InputDevice>> {
        let entries = self.entries();
        let there = entries
            .iter()
            .filter_map(|entry| Some((entry.used, entry.device.upgrade()?)));
        let fit = there.rev().filter(|(_, device)| device.takes(event));
        fit.max_by_key(|(used, _)| *used).map(|(_, device)| device)
    }

    fn all(&self) -> Vec<Arc<dyn InputDevice>> {
        let entries = self.entries();
        let devices = entries.iter().map(|entry| &entry.device);
        devices.filter_map(Weak::upgrade).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has each of `events` done by its device; each device then says once what came of all of them.
fn have_done(chosen: Chosen, events: &[InputEvent]) -> Result<(), InputError> {
    let devices = chosen?;
    let mut worst = (Handled::Done, 0);
    for (at, (device, event)) in devices.iter().zip(events).enumerate() {
        // What is pressed is let go all the same.
        worst = worst.max((device.handle(event), at));
    }
    for (at, device) in devices.iter().enumerate() {
        if !devices[..at].iter().any(|seen| Arc::ptr_eq(seen, device)) {
            worst = worst.max((device.sync(), at));
        }
    }
    let label = |at: usize| devices[at].label().to_owned();
    match worst {
        (Handled::Done, _) => Ok(()),
        (Handled::Full, at) => Err(InputError::Full(label(at))),
        (Handled::Gone, at) => Err(InputError::Replaced(label(at))),
    }
}

#[cfg(all(test, feature = "input", feature = "vc"))]
mod tests {
    use super::*;

    /// Notes its name for each event, and in capitals when it is to say what came of them.
    struct Noting {
        name: &'static str,
        notes: Arc<Mutex<Vec<String>>>,
    }

    impl InputDevice for Noting {
        fn label(&self) -> &str {
            "mouse"
        }

        fn takes(&self, event: &InputEvent) -> bool {
            matches!(event, InputEvent::Moved { .. })
        }

        fn handle(&self, _event: &InputEvent) -> Handled {
            self.notes.lock().unwrap().push(self.name.to_owned());
            Handled::Done
        }

        fn sync(&self) -> Handled {
            let note = self.name.to_uppercase();
            self.notes.lock().unwrap().push(note);
            Handled::Done
        }
    }

    /// Two back ends of one chardev, of which the second has set the first aside.
    #[test]
    fn the_newest_device_of_a_chardev_is_meant_and_speaks_once() {
        let (events, notes) = (InputEvents::default(), Arc::default());
        let device = |name| {
            let notes = Arc::clone(&notes);
            let device: Arc<dyn InputDevice> = Arc::new(Noting { name, notes });
            events.add(&device);
            device
        };
        let axis = Axis::X;
        let twice = [1, 2].map(|by| InputEvent::Moved { axis, by });
        let _aside = device("old");
        events.bring_forward("mouse");
        for put_to_use in [false, true] {
            let newer = device("new");
            if put_to_use {
                events.bring_forward("mouse");
            }
            events.send(Some("mouse"), &twice).unwrap();
            events.send_to_only(Some("mouse"), &twice).unwrap();
            events.send(None, &twice[..1]).unwrap();
            let noted = std::mem::take(&mut *notes.lock().unwrap());
            let (named, unnamed) = noted.split_at(6);
            assert_eq!(named, ["new", "new", "NEW", "new", "new", "NEW"]);
            // Without a name it is the one that was put to use last.
            let last = if put_to_use {
                ["new", "NEW"]
            } else {
                ["old", "OLD"]
            };
            assert_eq!(unnamed, last);
            drop(newer);
        }
    }
}
