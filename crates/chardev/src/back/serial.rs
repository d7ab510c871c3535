//! front → chardev → [back] → host: serial, a terminal device of the host.
//!
//! The line's parameters, break and modem lines are those of the device. The device may be the one
//! that the back end about to be replaced has: it shares that and its lock, and what is queued
//! in it keeps its order. One that vanishes is a peer that left, and comes back as the next one.

mod claim;
mod control;
mod device;
mod line_break;
mod modem;
mod options;
mod retiring;
mod rs485;
mod settings;
#[cfg(test)]
mod tests;
mod way_back;

use std::any::Any;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use chardev_core::spec::{KindSpec, Options, ParameterError, Short};
use chardev_core::{
    Answer, Answers, Backend, BackendEvent, BackendId, Drain, Event, Line, LineControl, ModemLines,
    NothingToDrain, OpenError, Purge, Ready, Sent, Sharing, WeakChardev,
};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use self::claim::{Share, WantDevice, node};
use self::device::{Device, Unfit};
use self::options::{OPTIONS, Terms, number};
use self::retiring::RetiringSerial;
use self::rs485::Refusal;
use self::settings::Former;
use self::way_back::{Place, WayBack};
use super::stream::Output;
use super::{Access, Kind, OpenContext, open_set, opening_elsewhere};
use crate::disk;
use crate::offload::sometime;
use crate::port::Port;

/// The kind `serial` (QAPI `ChardevHostdev`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "serial",
        "a serial port or other terminal device of the host",
        OPTIONS,
    )
    .spelled(&[Short::Text(short)])
    .derived_from("chardev-fd"),
    open: |options, context| opening_elsewhere(options, context, open),
};

/// A device's path, which includes a descriptor from a set, or a DOS name.
fn short(text: &str) -> Option<String> {
    let is_parallel = text.starts_with("/dev/parport") || text.starts_with("/dev/ppi");
    let number = text.strip_prefix("COM").unwrap_or_default();
    let is_com = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let is_device = text.starts_with("/dev/") && !is_parallel;
    (is_device || is_com).then(|| format!("serial,path={}", text.replace(',', ",,")))
}

fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, OpenError> {
    let path = options
        .str("device")
        .ok_or_else(|| ParameterError::missing("device"))?;
    let place = options.path("device").unwrap_or_default();
    let reconnect = number(options, "x-reconnect-ms", 0, u32::MAX)?;
    let terms = Terms::of(options)?;
    let given = open_set(path, Access::Both, false, &*context.fds);
    let comes_back = given.is_none() && reconnect != Some(0);
    let waits = comes_back && reconnect.is_some();
    let found = match given {
        Some(given) => given.map(|fd| (shared(disk::fstat(&fd), context), fd)),
        None => find(&place, context),
    };
    let opened = found.map_err(|error| Unfit::Failed(error.into()));
    let opened =
        opened.and_then(|(share, fd)| Device::new((fd, share), path, terms, &context.port));
    let device = match opened {
        Ok(device) => Some(device),
        Err(cause) if waits && cause.may_pass() => None,
        Err(cause) => return Err(cause.said_of(path)),
    };
    let name = path.to_owned();
    let path = comes_back.then(|| Place {
        name: name.clone(),
        path: place,
        interval: reconnect.map(|ms| Duration::from_millis(ms.into())),
        terms,
    });
    Ok(Box::new(Serial {
        port: context.port.clone(),
        name,
        had_lines: false,
        device,
        coming: None,
        former: None,
        way_back: WayBack::new(path),
        events: VecDeque::new(),
        line: Line::default(),
        live: false,
        terms,
    }))
}

/// Opens the device at `path`, or has another descriptor of it from one who leaves: what is locked
/// may not let itself be opened.
fn find(path: &Path, context: &OpenContext) -> Result<(Option<Share>, OwnedFd), Errno> {
    let share = shared(disk::stat(path), context);
    let fd = match &share {
        Some(share) => share.descriptor(),
        None => open_device(path),
    };
    fd.map(|fd| (share, fd))
}

/// A share in the lock of a device from one who leaves.
fn shared(stat: Result<Stat, Errno>, context: &OpenContext) -> Option<Share> {
    let node = node(&stat.ok()?);
    let lent = context.borrow(&WantDevice(node));
    lent.or_else(|| Share::left_at(node))
}

/// Opens the device at `path`, without waiting for a carrier.
fn open_device(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    disk::open(path, flags, Mode::empty())
}

struct Serial {
    port: Port,
    /// The device, as it was given.
    name: String,
    /// None while it is gone, or has not come yet.
    device: Option<Device>,
    /// It has come, and its line is being set up.
    coming: Option<Device>,
    /// How it was before its line was set up.
    former: Option<Former>,
    way_back: WayBack,
    /// The device that is gone had modem lines, which are all off now.
    had_lines: bool,
    events: VecDeque<BackendEvent>,
    line: Line,
    /// Nothing is set before: another back end may still be using the device.
    live: bool,
    terms: Terms,
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
        if let Some(change) = device.take_change() {
            let event = Event::Modem(change);
            self.events.push_back(BackendEvent::Tell(event));
        }
        if let Some((input, output)) = device.control.take_purged() {
            self.events
                .push_back(BackendEvent::Purged { input, output });
        }
        if let Some(answers) = device.late_answers(&self.line).filter(|_| self.live) {
            let event = Event::LineAnswered(answers);
            self.events.push_back(BackendEvent::Tell(event));
        }
        if !device.duplex.has_ended() {
            return;
        }
        let comes_back = device.is_terminal && self.way_back.is_there();
        if comes_back {
            tracing::warn!(
                console = self.port.label(),
                event = "device-gone",
                "the device '{}' of chardev '{}' is gone, and with it what it had not sent; waiting for it",
                self.way_back.name(),
                self.port.label()
            );
        } else {
            self.way_back.give_up();
        }
        let mut gone = self.device.take();
        // Unlocked before it is looked for.
        if let Some(gone) = &mut gone {
            gone.share = None;
        }
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
        if let Some(mut device) = self.way_back.take_found() {
            device.go_live(self.terms, &self.line, &self.port);
            self.coming = Some(device);
        }
        let there = |device: &mut Device| !device.control.is_busy();
        let Some(device) = self.coming.take_if(there) else {
            return;
        };
        self.had_lines = device.control.inputs().is_some();
        self.device = Some(device);
        self.events.push_back(BackendEvent::Opened);
        let (path, label) = (self.way_back.name(), self.port.label());
        tracing::info!(
            console = label,
            event = "device-back",
            "the device '{path}' of chardev '{label}' is there"
        );
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
        if device.control.is_busy() {
            return Sent::Full;
        }
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
        if device.control.is_busy() {
            return 0;
        }
        let count = device.duplex.read(bufs);
        self.look_at_device();
        count
    }

    fn watch(&mut self, interest: Ready) {
        if let Some(device) = &mut self.device {
            device.watch(interest);
        }
    }

    fn update(&mut self, ready: Ready) {
        if let Some(device) = &mut self.device {
            device.update(ready);
        }
        self.look_at_device();
        self.take_up();
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        self.look_at_device();
        self.events.pop_front()
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        self.live = true;
        self.former = None;
        match &mut self.device {
            Some(device) => {
                device.go_live(self.terms, &self.line, &self.port);
                self.had_lines = device.control.inputs().is_some();
            }
            None => self.way_back.look(&self.port),
        }
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        match &mut self.device {
            None => (Vec::new(), false),
            // It is read when that does not wait.
            Some(device) if device.control.is_busy() => {
                device.unread = true;
                (Vec::new(), true)
            }
            Some(device) => (device.duplex.take_input(), false),
        }
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        match self.device {
            None => Box::new(NothingToDrain),
            Some(device) => match device.duplex.output() {
                Output::Queued(_) => device.duplex.retire(),
                Output::Direct(_) => Box::new(RetiringSerial::new(device)),
            },
        }
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl LineControl for Serial {
    fn apply(&mut self, line: &Line) -> Answers {
        self.line = line.clone();
        if self.live {
            for device in self.device.iter_mut().chain(&mut self.coming) {
                device.set_up(line, &self.port);
            }
        }
        match &mut self.device {
            Some(device) => device.answers(line),
            // It is set up when it comes.
            None => Answers::unsupported(line, false),
        }
    }

    fn purge(&mut self, which: Purge) -> Answer {
        match &self.device {
            Some(device) if device.is_terminal && self.live => {
                device.control.purge(which);
                Answer::Pending
            }
            // There is nothing in it.
            _ => Answer::Done,
        }
    }

    fn modem_inputs(&mut self) -> Option<ModemLines> {
        let Some(device) = &self.device else {
            return self.had_lines.then(ModemLines::empty);
        };
        if self.live && device.modem.is_none() {
            device.control.look();
        }
        device.control.inputs()
    }
}

impl Sharing for Serial {
    /// Whoever uses the device already has given it the same line, or is about to lose it.
    fn activate(&mut self) -> Result<(), OpenError> {
        let Some(device) = &self.device else {
            return Ok(());
        };
        let set = || device.control.set_here(&self.line);
        let set = device.is_terminal.then(set).flatten();
        let refused = set.as_ref().map_or_else(Vec::new, |(_, kept)| {
            self.terms.defaults.refused_by(*kept, &self.line)
        });
        let result = match refused.is_empty() {
            true => self.terms.bus.map_or(Ok(()), |bus| bus.set(&device.fd)),
            false => Err(Refusal::Options(refused)),
        };
        self.former = set.map(|(former, _)| former);
        result.map_err(|refusal| {
            self.deactivate();
            refusal.said_of(&self.name)
        })
    }

    fn deactivate(&mut self) {
        if let (Some(device), Some(former)) = (&self.device, self.former.take()) {
            device.control.restore(&former);
        }
    }

    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        let WantDevice(node) = wanted.downcast_ref()?;
        let mut here = self.device.iter().chain(&self.coming);
        let lent = here.find_map(|device| device.share.as_ref()?.lend(*node));
        let share = lent.or_else(|| self.way_back.lend(*node))?;
        Some(Box::new(share))
    }
}

fn inputs(lines: u32) -> ModemLines {
    let known = ModemLines::from_bits_truncate(lines);
    known & (ModemLines::CTS | ModemLines::CAR | ModemLines::RI | ModemLines::DSR)
}
