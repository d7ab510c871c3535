//! front → chardev → [back] → host: msmouse and wctablet, pointing devices on a serial line.
//!
//! A user moves them by `input-send-event`. What a device says waits here for the front end, and
//! has a bound: while there is no room, movements and buttons become one report.

mod mouse;
mod tablet;

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev_core::spec::{KindSpec, Short};
use chardev_core::{
    Answer, Answers, Backend, BackendId, Drain, Line, LineControl, ModemLines, NothingToDrain,
    Ready, Sent, WeakChardev,
};

use self::mouse::Mouse;
use self::tablet::Tablet;
use super::said::Said;
use super::{Kind, OpenContext, Opening};
use crate::input_events::{Handled, InputDevice, InputEvent, InputEvents};
use crate::port::Port;

/// The kind `msmouse`.
pub(super) static MOUSE: Kind = Kind {
    spec: KindSpec::new(
        "msmouse",
        "a serial mouse of three buttons, moved by input-send-event; output is ignored",
        &[],
    )
    .spelled(&[Short::Name]),
    open: |_, context| open(Mouse::default(), context),
};

/// The kind `wctablet`.
pub(super) static TABLET: Kind = Kind {
    spec: KindSpec::new(
        "wctablet",
        "a serial Wacom tablet at 9600 baud, its pen moved by input-send-event",
        &[],
    )
    .spelled(&[Short::Name]),
    open: |_, context| open(Tablet::default(), context),
};

/// A device, without its line.
pub(super) trait Device: Send + 'static {
    const NAME: &'static str;
    /// The most that waits for the front end.
    const LIMIT: usize;
    /// Whether it counts as a peer.
    const IS_OPEN: bool;

    /// Whether it is one that such an event is of.
    fn takes(event: &InputEvent) -> bool;

    fn handle(&mut self, event: &InputEvent);

    /// All that was handled is one report; `false` if it has to wait for room.
    fn report(&mut self, said: &mut Said) -> bool;

    /// The front end has sent `byte`; whether this put the device to use.
    fn hear(&mut self, _byte: u8, _said: &mut Said) -> bool {
        false
    }

    /// The line is like that; whether this put the device to use.
    fn set_line(&mut self, line: &Line, said: &mut Said) -> bool;

    /// What of the line concerns it.
    fn answer(_answers: &mut Answers) {}

    /// The modem lines that it has.
    fn modem_inputs() -> Option<ModemLines> {
        None
    }
}

fn open<'a, D: Device>(device: D, context: &'a OpenContext) -> Opening<'a> {
    let speaking = Speaking {
        device,
        said: Said::new(D::LIMIT),
        waits: false,
        gone: false,
    };
    let pointer = Arc::new(Pointer {
        label: context.port.label().to_owned(),
        port: context.port.clone(),
        speaking: Mutex::new(speaking),
    });
    Box::pin(async {
        Ok(Box::new(Serial {
            pointer,
            devices: context.scene.shared.input_events().clone(),
            line: Line::default(),
            live: false,
        }) as Box<dyn Backend>)
    })
}

struct Speaking<D> {
    device: D,
    said: Said,
    /// A report waits for room.
    waits: bool,
    /// Nobody will read any more.
    gone: bool,
}

/// The device for those who move it.
struct Pointer<D> {
    label: String,
    port: Port,
    speaking: Mutex<Speaking<D>>,
}

impl<D> Pointer<D> {
    fn speaking(&self) -> MutexGuard<'_, Speaking<D>> {
        self.speaking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Device> InputDevice for Pointer<D> {
    fn label(&self) -> &str {
        &self.label
    }

    fn takes(&self, event: &InputEvent) -> bool {
        D::takes(event)
    }

    fn handle(&self, event: &InputEvent) -> Handled {
        self.speaking().device.handle(event);
        Handled::Done
    }

    fn sync(&self) -> Handled {
        let mut speaking = self.speaking();
        let Speaking {
            device,
            said,
            waits,
            gone,
        } = &mut *speaking;
        if *gone {
            return Handled::Gone;
        }
        let full = !device.report(said);
        let waited = std::mem::replace(waits, full);
        if full && !waited {
            tracing::warn!(
                "nobody reads what the {} '{}' says, so reports become one",
                D::NAME,
                self.label
            );
        }
        drop(speaking);
        self.port.kick(Ready::READ);
        Handled::Done
    }
}

/// The device for its chardev.
struct Serial<D> {
    pointer: Arc<Pointer<D>>,
    devices: Arc<InputEvents>,
    line: Line,
    live: bool,
}

impl<D: Device> Serial<D> {
    /// The device notices how its line is, or what it was sent, once nobody else is there.
    fn tell(&mut self, tell: impl FnOnce(&mut D, &mut Said) -> bool) {
        let mut speaking = self.pointer.speaking();
        let Speaking { device, said, .. } = &mut *speaking;
        let is_used = tell(device, said);
        let has_said = !said.is_empty();
        drop(speaking);
        if is_used {
            self.devices.bring_forward(&self.pointer.label);
        }
        if has_said {
            self.pointer.port.kick_soon(Ready::READ);
        }
    }
}

impl<D: Device> Backend for Serial<D> {
    fn kind(&self) -> &'static str {
        D::NAME
    }

    fn filename(&self) -> String {
        D::NAME.to_owned()
    }

    fn is_open(&self) -> bool {
        D::IS_OPEN
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        let count = bufs.iter().map(|buf| buf.len()).sum();
        self.tell(|device, said| {
            let mut is_used = false;
            for byte in bufs.iter().flat_map(|buf| buf.iter()) {
                is_used |= device.hear(*byte, said);
            }
            is_used
        });
        Sent::Taken(count)
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let mut speaking = self.pointer.speaking();
        let Speaking {
            device,
            said,
            waits,
            ..
        } = &mut *speaking;
        let total = said.read(bufs);
        if total > 0 && *waits {
            *waits = !device.report(said);
        }
        total
    }

    fn watch(&mut self, interest: Ready) {
        let mut ready = interest & Ready::WRITE;
        let has_said = !self.pointer.speaking().said.is_empty();
        ready.set(Ready::READ, has_said && interest.contains(Ready::READ));
        if !ready.is_empty() {
            self.pointer.port.kick_soon(ready);
        }
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        self.live = true;
        let device: Arc<dyn InputDevice> = self.pointer.clone();
        self.devices.add(&device);
        let line = self.line.clone();
        self.tell(|device, said| device.set_line(&line, said));
    }

    fn refuse_input(&mut self) {
        self.pointer.speaking().gone = true;
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        let mut speaking = self.pointer.speaking();
        let Speaking {
            device,
            said,
            waits,
            ..
        } = &mut *speaking;
        let mut input = said.take();
        // A report that waited has room now; a long way takes several.
        while std::mem::take(waits) {
            *waits = !device.report(said);
            input.extend(said.take());
        }
        (input, false)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }
}

impl<D: Device> LineControl for Serial<D> {
    fn apply(&mut self, line: &Line) -> Answers {
        self.line = line.clone();
        if self.live {
            self.tell(|device, said| device.set_line(line, said));
        }
        let mut answers = Answers::unsupported(line, D::IS_OPEN);
        D::answer(&mut answers);
        answers.modem_inputs = D::modem_inputs();
        answers
    }

    fn modem_inputs(&mut self) -> Option<ModemLines> {
        D::modem_inputs()
    }
}

/// What was asked for is done.
fn done(answer: &mut Answer) {
    if *answer == Answer::Unsupported {
        *answer = Answer::Done;
    }
}
