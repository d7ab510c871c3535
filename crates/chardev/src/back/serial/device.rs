//! front → chardev → back → [host]: a serial device that is there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use chardev_core::{Answer, Answers, Line, ModemChange, OpenError, Ready};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::termios::isatty;

use super::claim::{Locked, Share};
use super::control::Control;
use super::modem::ModemWatch;
use super::options::Terms;
use crate::back::stream::{Duplex, Input, Output};
use crate::port::Port;
use crate::slow_fd::SlowFd;
use crate::sys::refused;
use crate::writer::Target;

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
pub(super) enum Unfit {
    NoDevice,
    Locked(Locked),
    Failed(io::Error),
}

impl Unfit {
    /// Whether it may serve later, since somebody else has it, or it is not there yet.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Unfit::NoDevice => false,
            Unfit::Locked(_) => true,
            Unfit::Failed(error) => Errno::from_io_error(error).is_some_and(may_come),
        }
    }

    pub(super) fn said_of(self, path: &str) -> OpenError {
        let busy = |why: &str| {
            let text = format!("Could not open '{path}': {why}");
            let error = OpenError::new(text).about(path);
            error.because(io::Error::from(Errno::BUSY))
        };
        match self {
            Unfit::Locked(Locked(Some(owner))) => busy(&format!(
                "the chardev '{owner}' has it to itself; remove that one, or give both x-lock=off to share it"
            )),
            Unfit::Locked(Locked(None)) => {
                busy("another program has locked it; end that one, or give x-lock=off to share it")
            }
            Unfit::Failed(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                busy("Device or resource busy; if another program has it to itself, end that one")
            }
            Unfit::NoDevice => {
                let text = format!("Could not open '{path}': it is not a character device");
                OpenError::new(text).about(path)
            }
            Unfit::Failed(error) => refused("Could not open", path, error),
        }
    }
}

/// The device is set up otherwise than the `options` say.
pub(super) fn not_taken(path: &str, options: &[&str]) -> OpenError {
    let text = format!(
        "Could not set up '{path}': the device does not take {}",
        options.join(", ")
    );
    OpenError::new(text).about(path)
}

/// A device that is there.
pub(super) struct Device {
    pub(super) fd: Arc<SlowFd>,
    /// In the lock.
    pub(super) share: Option<Share>,
    pub(super) is_terminal: bool,
    pub(super) control: Control,
    pub(super) duplex: Duplex,
    /// Where a front end wants to know.
    pub(super) modem: Option<ModemWatch>,
    /// Wanted and seen while the line was being set up.
    put_off: (Ready, Ready),
    /// Its input could not be read when it was cut off.
    pub(super) unread: bool,
    /// Whoever set the line up waits to be told what has come of it.
    owes_answer: bool,
}

impl Device {
    /// Of a descriptor and, from one who leaves, a share in the lock of its device, which is taken
    /// where there is none.
    pub(super) fn new(
        (fd, share): (OwnedFd, Option<Share>),
        name: &str,
        terms: Terms,
        port: &Port,
    ) -> Result<Self, Unfit> {
        let failed = |error: Errno| Unfit::Failed(error.into());
        let target = Target::of(fd).map_err(failed)?;
        if target.file_type() != FileType::CharacterDevice {
            return Err(Unfit::NoDevice);
        }
        let copy = || target.as_fd().try_clone_to_owned().map_err(Unfit::Failed);
        let (device, input) = (copy()?, copy()?);
        let is_terminal = isatty(&device);
        let fd = Arc::new(SlowFd::new(device, FileType::CharacterDevice));
        let share = match share {
            None if terms.lock && is_terminal => {
                Share::take(&fd, port.label()).map_err(Unfit::Locked)?
            }
            share => share,
        };
        // A terminal whose settings somebody else has changed may read nothing without being at
        // its end.
        let input = Input::new(input, is_terminal, port).map_err(Unfit::Failed)?;
        Ok(Device {
            control: Control::new(&fd, terms.defaults, port),
            fd,
            share,
            is_terminal,
            modem: None,
            put_off: (Ready::empty(), Ready::empty()),
            unread: false,
            owes_answer: false,
            duplex: Duplex::new(
                input,
                Output::new(target, name, port).map_err(Unfit::Failed)?,
            ),
        })
    }

    pub(super) fn go_live(&mut self, terms: Terms, line: &Line, port: &Port) {
        // One who does not lock it has a share only in order to open it.
        self.share = self.share.take().filter(|_| terms.lock);
        if let Some(share) = &self.share {
            share.belongs_to(port.label());
        }
        self.duplex.go_live(false);
        self.set_up(line, port);
    }

    /// Has the line set up, and watched if that is wanted.
    pub(super) fn set_up(&mut self, line: &Line, port: &Port) {
        if !self.is_terminal {
            return;
        }
        self.control.set(line);
        match self.control.inputs().filter(|_| line.modem_watched) {
            None => self.modem = None,
            Some(_) if self.modem.is_some() => {}
            Some(known) => self.modem = ModemWatch::start(&self.fd, known, port),
        }
    }

    /// What becomes of `line`, as far as that is known.
    pub(super) fn answers(&mut self, line: &Line) -> Answers {
        let answers = match self.is_terminal {
            true => self.control.answers(line),
            false => Answers::unsupported(line, true),
        };
        self.owes_answer |= answers.serial == Answer::Pending;
        answers
    }

    /// What has become of `line`, once that is known and if somebody waits for it.
    pub(super) fn late_answers(&mut self, line: &Line) -> Option<Answers> {
        let owes = self.owes_answer && self.control.knows(line);
        owes.then(|| {
            self.owes_answer = false;
            self.answers(line)
        })
    }

    /// Modem inputs that have changed.
    pub(super) fn take_change(&self) -> Option<ModemChange> {
        let looked = self.control.take_change();
        let Some(modem) = &self.modem else {
            return looked;
        };
        let watched = modem.take_change()?;
        self.control.learn(watched.inputs);
        Some(watched)
    }

    pub(super) fn watch(&mut self, interest: Ready) {
        match self.control.is_busy() {
            true => self.put_off.0 |= interest,
            false => self.duplex.watch(interest),
        }
    }

    pub(super) fn update(&mut self, ready: Ready) {
        self.put_off.1 |= ready;
        if self.control.is_busy() {
            return;
        }
        let (interest, ready) = std::mem::take(&mut self.put_off);
        self.duplex.update(ready);
        if !interest.is_empty() {
            self.duplex.watch(interest);
        }
    }
}
