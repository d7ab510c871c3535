//! front → chardev → [back] → host: serial, a terminal device of the host.
//!
//! The line's parameters, break and modem lines are those of the device. The device may be the one
//! that the back end about to be replaced has: a terminal can be opened twice, and what is queued
//! in it keeps its order. One that vanishes is a peer that left, and comes back as the next one.

mod line_break;
mod modem;
mod settings;
mod way_back;

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options};
use chardev_core::{
    Answer, Answers, Backend, BackendEvent, BackendId, Drain, Event, Line, ModemLines,
    NothingToDrain, Ready, Sent, WeakChardev,
};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::isatty;

use self::line_break::LineBreak;
use self::modem::ModemWatch;
use self::settings::{DEFAULT, set_params};
use self::way_back::{Place, WayBack};
use super::stream::{Duplex, Input, Output};
use super::{Access, Kind, OpenContext, open_set, opening_elsewhere};
use crate::disk;
use crate::offload::sometime;
use crate::port::Port;
use crate::slow_fd::SlowFd;
use crate::sys::{self, strerror};
use crate::writer::Target;

/// The kind `serial` (QAPI `ChardevHostdev`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec {
        name: "serial",
        summary: "a serial port or other terminal device of the host",
        options: &[
            OptionSpec {
                name: "device",
                cli: "path",
                ty: OptionType::Str,
                required: true,
                missing: "chardev: serial/tty: no device path given",
                help: "the device, for example /dev/ttyS0",
            },
            OptionSpec {
                name: "x-reconnect-ms",
                cli: "x-reconnect-ms",
                ty: OptionType::Int,
                required: false,
                missing: "",
                help: "wait for a device that is not there yet, looking at least this often; 0: never again",
            },
        ],
    },
    open: |options, context| opening_elsewhere(options, context, open),
};

fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, String> {
    let path = options
        .str("device")
        .ok_or("Parameter 'device' is missing")?;
    let place = options.path("device").unwrap_or_default();
    let reconnect = options.int("x-reconnect-ms");
    if reconnect.is_some_and(|ms| !(0..=i64::from(u32::MAX)).contains(&ms)) {
        let limit = u32::MAX;
        return Err(format!(
            "Parameter 'x-reconnect-ms' expects a number from 0 to {limit}"
        ));
    }
    let failed = |error: Errno| format!("Could not open '{path}': {}", strerror(error));
    let given = open_set(path, Access::Both, false, &*context.fds);
    let comes_back = given.is_none() && reconnect != Some(0);
    let found = given.unwrap_or_else(|| open_device(&place));
    let device = match found {
        Ok(fd) => Some(Device::new(fd, path, &context.port).map_err(|cause| cause.said_of(path))?),
        Err(error) if comes_back && reconnect.is_some() && may_come(error) => None,
        Err(error) => return Err(failed(error)),
    };
    let path = comes_back.then(|| Place {
        name: path.to_owned(),
        path: place,
        interval: reconnect.map(|ms| Duration::from_millis(ms.unsigned_abs())),
    });
    Ok(Box::new(Serial {
        port: context.port.clone(),
        had_lines: false,
        device,
        way_back: WayBack::new(path),
        events: VecDeque::new(),
        line: Line::default(),
        live: false,
    }))
}

/// Opens the device at `path`, without waiting for a carrier.
fn open_device(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    disk::open(path, flags, Mode::empty())
}

/// Whether a device that cannot be opened for this reason is one that is not there yet, or that
/// was not given to us yet.
fn may_come(error: Errno) -> bool {
    let not_yet = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::NXIO,
        Errno::NODEV,
        Errno::IO,
        Errno::ACCESS,
        Errno::PERM,
        Errno::BUSY,
        Errno::AGAIN,
        Errno::INTR,
    ];
    not_yet.contains(&error)
}

/// Why what was opened does not serve.
enum Unfit {
    NoDevice,
    Failed(io::Error),
}

impl Unfit {
    fn said_of(self, path: &str) -> String {
        match self {
            Unfit::NoDevice => format!("Could not open '{path}': it is not a character device"),
            Unfit::Failed(error) => format!("Could not open '{path}': {}", strerror(error)),
        }
    }
}

/// A device that is there.
struct Device {
    fd: Arc<SlowFd>,
    is_terminal: bool,
    line_break: LineBreak,
    duplex: Duplex,
    /// Where a front end wants to know.
    modem: Option<ModemWatch>,
}

impl Device {
    fn new(fd: OwnedFd, name: &str, port: &Port) -> Result<Self, Unfit> {
        let failed = |error: Errno| Unfit::Failed(error.into());
        let target = Target::of(fd).map_err(failed)?;
        if target.file_type() != FileType::CharacterDevice {
            return Err(Unfit::NoDevice);
        }
        let copy = || target.as_fd().try_clone_to_owned().map_err(Unfit::Failed);
        let (device, input) = (copy()?, copy()?);
        let is_terminal = isatty(&device);
        // A terminal whose settings somebody else has changed may read nothing without being at
        // its end.
        let input = Input::new(input, is_terminal, port).map_err(Unfit::Failed)?;
        Ok(Device {
            fd: Arc::new(SlowFd::new(device, FileType::CharacterDevice)),
            is_terminal,
            line_break: LineBreak::default(),
            modem: None,
            duplex: Duplex::new(
                input,
                Output::new(target, name, port).map_err(Unfit::Failed)?,
            ),
        })
    }

    fn modem_inputs(&self) -> Option<ModemLines> {
        sys::modem_lines(self.fd.as_fd()).ok().map(inputs)
    }

    fn set_up(&mut self, line: &Line, port: &Port) -> Answers {
        let mut answers = Answers::unsupported(line, true);
        if !self.is_terminal {
            return answers;
        }
        let params = set_params(&self.fd, line.serial.unwrap_or(DEFAULT));
        if line.serial.is_some() {
            answers.serial = answer(params);
        }
        self.line_break.set(&self.fd, line.break_on);
        if line.break_on {
            answers.break_on = Answer::Done;
        }
        answers.modem_inputs = self.modem_inputs();
        if let (Some(outputs), Some(_)) = (line.modem, answers.modem_inputs) {
            answers.modem = answer(sys::set_modem_outputs(self.fd.as_fd(), outputs.bits()));
        }
        if !line.modem_watched || answers.modem_inputs.is_none() {
            self.modem = None;
        } else if self.modem.is_none() {
            self.modem = ModemWatch::start(&self.fd, port);
        }
        answers
    }

    /// What can be told of the device without touching it.
    fn foretell(&self, line: &Line) -> Answers {
        let mut answers = Answers::unsupported(line, true);
        let able = |asked: Answer| match asked {
            Answer::Unsupported => Answer::Done,
            other => other,
        };
        if self.is_terminal {
            answers.serial = able(answers.serial);
            answers.break_on = able(answers.break_on);
            answers.modem_inputs = self.modem_inputs();
            if answers.modem_inputs.is_some() {
                answers.modem = able(answers.modem);
            }
        }
        answers
    }
}

struct Serial {
    port: Port,
    /// None while it is gone, or has not come yet.
    device: Option<Device>,
    way_back: WayBack,
    /// The device that is gone had modem lines, which are all off now.
    had_lines: bool,
    events: VecDeque<BackendEvent>,
    line: Line,
    /// Nothing is set before: another back end may still be using the device.
    live: bool,
}

impl Serial {
    /// Passes on what the device has told. One that is gone is closed at once, else the kernel
    /// would give its name to another when it comes back.
    fn look_at_device(&mut self) {
        let Some(device) = &mut self.device else {
            return;
        };
        while let Some(event) = device.duplex.poll_event() {
            self.events.push_back(event);
        }
        let change = device.modem.as_ref().and_then(ModemWatch::take_change);
        if let Some(change) = change {
            let event = Event::Modem(change);
            self.events.push_back(BackendEvent::Tell(event));
        }
        if !device.duplex.has_ended() {
            return;
        }
        let comes_back = device.is_terminal && self.way_back.is_there();
        if comes_back {
            tracing::warn!(
                "the device '{}' of chardev '{}' is gone, and with it what it had not sent; waiting for it",
                self.way_back.name(),
                self.port.label()
            );
        } else {
            self.way_back.give_up();
        }
        let gone = self.device.take();
        // The last close of a terminal may wait for what it has to send.
        sometime(move || drop(gone));
        if self.live {
            self.way_back.look(&self.port);
        }
    }

    /// Takes up a device that has come.
    fn take_up(&mut self) {
        if self.device.is_some() {
            return;
        }
        let Some(mut device) = self.way_back.take_found() else {
            return;
        };
        device.duplex.go_live(false);
        self.had_lines = device.set_up(&self.line, &self.port).modem_inputs.is_some();
        self.device = Some(device);
        self.events.push_back(BackendEvent::Opened);
        let (path, label) = (self.way_back.name(), self.port.label());
        tracing::info!("the device '{path}' of chardev '{label}' is there");
    }
}

impl Backend for Serial {
    fn kind(&self) -> &'static str {
        "serial"
    }

    fn filename(&self) -> String {
        "serial".to_owned()
    }

    fn is_open(&self) -> bool {
        self.device.is_some()
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        let Some(device) = &mut self.device else {
            return Sent::NoPeer;
        };
        let sent = device.duplex.write(bufs);
        if sent == Sent::NoPeer {
            // The device has vanished.
            device.duplex.give_up();
            self.look_at_device();
        }
        sent
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let Some(device) = &mut self.device else {
            return 0;
        };
        let count = device.duplex.read(bufs);
        self.look_at_device();
        count
    }

    fn watch(&mut self, interest: Ready) {
        if let Some(device) = &self.device {
            device.duplex.watch(interest);
        }
    }

    fn update(&mut self, ready: Ready) {
        if let Some(device) = &mut self.device {
            device.duplex.update(ready);
        }
        self.look_at_device();
        self.take_up();
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        self.look_at_device();
        self.events.pop_front()
    }

    fn apply(&mut self, line: &Line) -> Answers {
        self.line = line.clone();
        match &mut self.device {
            Some(device) if self.live => device.set_up(line, &self.port),
            Some(device) => device.foretell(line),
            // It is set up when it comes.
            None => Answers::unsupported(line, false),
        }
    }

    fn modem_inputs(&mut self) -> Option<ModemLines> {
        match &self.device {
            Some(device) => device.modem_inputs(),
            None => self.had_lines.then(ModemLines::empty),
        }
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        self.live = true;
        match &mut self.device {
            Some(device) => {
                device.duplex.go_live(false);
                self.had_lines = device.set_up(&self.line, &self.port).modem_inputs.is_some();
            }
            None => self.way_back.look(&self.port),
        }
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        let device = self.device.as_mut();
        (
            device.map_or_else(Vec::new, |device| device.duplex.take_input()),
            false,
        )
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        match self.device {
            None => Box::new(NothingToDrain),
            Some(Device { fd, duplex, .. }) => match duplex.output() {
                Output::Queued(_) => duplex.retire(),
                // Closing a port may wait for what it still has to send.
                Output::Direct(_) => Box::new(RetiringSerial(fd)),
            },
        }
    }
}

/// The device of a replaced back end, until it has sent what it was given.
struct RetiringSerial(Arc<SlowFd>);

impl Drain for RetiringSerial {
    fn pending(&mut self) -> u64 {
        sys::unsent(self.0.as_fd()).unwrap_or(0)
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        rustix::io::write(&self.0, bytes).unwrap_or(0)
    }
}

fn answer<E>(result: Result<(), E>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(_) => Answer::Failed,
    }
}

fn inputs(lines: u32) -> ModemLines {
    let known = ModemLines::from_bits_truncate(lines);
    known & (ModemLines::CTS | ModemLines::CAR | ModemLines::RI | ModemLines::DSR)
}
