//! front → chardev → [back] → host: serial, a terminal device of the host.
//!
//! The line's parameters, break and modem lines are those of the device. The device may be the one
//! that the back end about to be replaced has: a terminal can be opened twice, and what is queued
//! in it keeps its order.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options};
use chardev_core::{
    Answer, Answers, Backend, BackendEvent, BackendId, Drain, Line, ModemLines, Parity, Ready,
    Sent, SerialParams, WeakChardev,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios,
    isatty, tcgetattr, tcsetattr,
};

use super::stream::{Duplex, Input, Output};
use super::{Access, Kind, OpenContext, open_set, opening_elsewhere};
use crate::sys::{self, strerror};
use crate::writer::Target;

/// The kind `serial` (QAPI `ChardevHostdev`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec {
        name: "serial",
        summary: "a serial port or other terminal device of the host",
        options: &[OptionSpec {
            name: "device",
            cli: "path",
            ty: OptionType::Str,
            required: true,
            missing: "chardev: serial/tty: no device path given",
            help: "the device, for example /dev/ttyS0",
        }],
    },
    open: |options, context| opening_elsewhere(options, context, open),
};

/// How the device is set until the front end says otherwise, as in QEMU.
const DEFAULT: SerialParams = SerialParams {
    speed: 115_200,
    parity: Parity::None,
    data_bits: 8,
    stop_bits: 1,
};

fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, String> {
    let path = options
        .str("device")
        .ok_or("Parameter 'device' is missing")?;
    let place = options.path("device").unwrap_or_default();
    let failed = |error: Errno| format!("Could not open '{path}': {}", strerror(error));
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match open_set(path, Access::Both, false, &*context.fds) {
        Some(given) => given,
        None => rustix::fs::open(&place, flags, Mode::empty()),
    };
    let target = fd.and_then(Target::of).map_err(failed)?;
    if target.file_type() != rustix::fs::FileType::CharacterDevice {
        return Err(format!(
            "Could not open '{path}': it is not a character device"
        ));
    }
    let (Ok(device), Ok(input)) = (target.fd.try_clone(), target.fd.try_clone()) else {
        return Err(failed(Errno::MFILE));
    };
    let unwatched = |error| format!("Could not open '{path}': {}", strerror(error));
    Ok(Box::new(Serial {
        is_terminal: isatty(&device),
        device: Arc::new(device),
        duplex: Duplex::new(
            Input::new(input, false, &context.port).map_err(unwatched)?,
            Output::new(target, path, &context.port).map_err(unwatched)?,
        ),
        line: Line::default(),
        live: false,
    }))
}

struct Serial {
    device: Arc<OwnedFd>,
    is_terminal: bool,
    duplex: Duplex,
    line: Line,
    /// Nothing is set before: another back end may still be using the device.
    live: bool,
}

impl Serial {
    fn set_up(&self) -> Answers {
        let line = &self.line;
        let mut answers = Answers::unsupported(line, !self.duplex.has_ended());
        if !self.is_terminal {
            return answers;
        }
        let params = set_params(&self.device, line.serial.unwrap_or(DEFAULT));
        if line.serial.is_some() {
            answers.serial = answer(params);
        }
        if self.live {
            // A device that has no break was asked for none.
            let sent = sys::set_break(self.device.as_fd(), line.break_on);
            if line.break_on {
                answers.break_on = answer(sent);
            }
        }
        answers.modem_inputs = sys::modem_lines(self.device.as_fd()).ok().map(inputs);
        if let (Some(outputs), Some(_)) = (line.modem, answers.modem_inputs) {
            answers.modem = answer(sys::set_modem_outputs(self.device.as_fd(), outputs.bits()));
        }
        answers
    }

    /// What can be told of the device without touching it.
    fn foretell(&self) -> Answers {
        let line = &self.line;
        let mut answers = Answers::unsupported(line, !self.duplex.has_ended());
        let able = |asked: Answer| match asked {
            Answer::Unsupported => Answer::Done,
            other => other,
        };
        if self.is_terminal {
            answers.serial = able(answers.serial);
            answers.break_on = able(answers.break_on);
            answers.modem_inputs = sys::modem_lines(self.device.as_fd()).ok().map(inputs);
            if answers.modem_inputs.is_some() {
                answers.modem = able(answers.modem);
            }
        }
        answers
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
        !self.duplex.has_ended()
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        if self.duplex.has_ended() {
            return Sent::NoPeer;
        }
        let sent = self.duplex.write(bufs);
        if sent == Sent::NoPeer {
            // The device has vanished.
            self.duplex.give_up();
        }
        sent
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        self.duplex.read(bufs)
    }

    fn watch(&mut self, interest: Ready) {
        self.duplex.watch(interest);
    }

    fn update(&mut self, ready: Ready) {
        self.duplex.update(ready);
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        self.duplex.poll_event()
    }

    fn apply(&mut self, line: &Line) -> Answers {
        self.line = line.clone();
        if self.live {
            self.set_up()
        } else {
            self.foretell()
        }
    }

    fn modem_inputs(&mut self) -> Option<ModemLines> {
        sys::modem_lines(self.device.as_fd()).ok().map(inputs)
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        self.live = true;
        self.duplex.go_live(false);
        self.set_up();
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        (self.duplex.take_input(), false)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        match self.duplex.output() {
            Output::Queued(_) => self.duplex.retire(),
            // Closing a port may wait for what it still has to send.
            Output::Direct(_) => Box::new(RetiringSerial(self.device)),
        }
    }
}

/// The device of a replaced back end, until it has sent what it was given.
struct RetiringSerial(Arc<OwnedFd>);

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

fn set_params(device: &OwnedFd, params: SerialParams) -> Result<(), Errno> {
    let mut settings = tcgetattr(device)?;
    make_raw(&mut settings);
    let modes = &mut settings.control_modes;
    *modes -= ControlModes::CSIZE
        | ControlModes::PARENB
        | ControlModes::PARODD
        | ControlModes::CSTOPB
        | ControlModes::CRTSCTS;
    *modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    *modes |= match params.data_bits {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    };
    *modes |= match params.parity {
        Parity::None => ControlModes::empty(),
        Parity::Even => ControlModes::PARENB,
        Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
    };
    if params.stop_bits == 2 {
        *modes |= ControlModes::CSTOPB;
    }
    // A speed of 0 would hang the line up.
    settings.set_speed(params.speed.max(1))?;
    tcsetattr(device, OptionalActions::Now, &settings)
}

fn make_raw(settings: &mut Termios) {
    settings.input_modes -= InputModes::IGNBRK
        | InputModes::BRKINT
        | InputModes::PARMRK
        | InputModes::ISTRIP
        | InputModes::INLCR
        | InputModes::IGNCR
        | InputModes::ICRNL
        | InputModes::IXON
        | InputModes::IXOFF;
    settings.output_modes -= OutputModes::OPOST;
    settings.local_modes -= LocalModes::ECHO
        | LocalModes::ECHONL
        | LocalModes::ICANON
        | LocalModes::ISIG
        | LocalModes::IEXTEN;
    settings.special_codes[SpecialCodeIndex::VMIN] = 1;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
}
