//! front → chardev → back → [host]: the terminal on standard input: made raw, and always restored.
//!
//! What has to be undone is kept in one place for the whole process, so that every way out of
//! it, a panic included, can undo it.
//!
//! The terminal may be a serial line whose adapter takes its time, so a back end only says how it
//! wants it; it is set where waiting holds up nobody, the way it is wanted by then.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chardev_core::TerminalSize;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios,
};

use crate::offload::{assert_may_wait, elsewhere};

/// Held for as long as it takes to note something.
static CHANGED: Mutex<Changed> = Mutex::new(Changed {
    terminal: None,
    given_back: false,
    blocking: [None, None],
});

/// Held by whoever sets the terminal, so that what is wanted last is set last.
static SETTING: Mutex<()> = Mutex::new(());

/// What differs from how the process found it.
struct Changed {
    terminal: Option<Settings>,
    /// Given back to whoever had it before, as long as the process is at its end or stopped.
    given_back: bool,
    /// The flags of standard input and output before they became non-blocking, and for how many.
    blocking: [Option<(OFlags, usize)>; 2],
}

#[derive(Clone)]
struct Settings {
    /// How many back ends have it: two for a moment when one replaces another, none until it is set
    /// back.
    users: usize,
    original: Termios,
    signals: bool,
    echo: bool,
}

/// Puts the terminal and the flags of standard input and output back as the process found them.
///
/// Done by itself when the back end `stdio` ends. A program calls this on every way out that does
/// not end its back ends, such as [`std::process::exit`] or a panic hook. Calling it at any time
/// and more than once is harmless.
pub fn restore_terminal() {
    let setting = turn();
    restore(lock(), setting);
}

/// As [`restore_terminal`], for the handler of a signal: it never waits. Nothing is done in the
/// rare moment in which the terminal is just being set.
pub fn try_restore_terminal() {
    if let (Ok(setting), Ok(changed)) = (SETTING.try_lock(), CHANGED.try_lock()) {
        restore(changed, setting);
    }
}

/// Sets the terminal raw again if a `stdio` back end is still using it; call on `SIGCONT` after a
/// [`restore_terminal`] on `SIGTSTP`.
pub fn apply_terminal() {
    lock().given_back = false;
    settle();
    let changed = lock();
    for (fd, flags) in [stdin(), stdout()].into_iter().zip(changed.blocking) {
        if let Some((flags, _)) = flags {
            let _ = fcntl_setfl(fd, flags | OFlags::NONBLOCK);
        }
    }
}

fn restore(mut changed: MutexGuard<'_, Changed>, _setting: MutexGuard<'_, ()>) {
    changed.given_back = true;
    let original = changed.terminal.as_ref().map(|now| now.original.clone());
    let blocking = changed.blocking;
    drop(changed);
    if let Some(original) = original {
        set(&original);
    }
    for (fd, flags) in [stdin(), stdout()].into_iter().zip(blocking) {
        if let Some((flags, _)) = flags {
            let _ = fcntl_setfl(fd, flags);
        }
    }
}

/// How a terminal was before a back end had it.
#[derive(Clone)]
pub(super) struct Found(Termios);

impl Found {
    /// How the terminal on standard input is, where there is one. This may wait.
    #[expect(clippy::disallowed_methods, reason = "whoever opens may wait")]
    pub(super) fn look() -> Option<Self> {
        assert_may_wait();
        let _setting = turn();
        // Another back end has it, or it is not set back yet.
        let original = lock().terminal.as_ref().map(|now| now.original.clone());
        original
            .or_else(|| rustix::termios::tcgetattr(stdin()).ok())
            .map(Found)
    }
}

/// A terminal in raw mode for as long as this lives.
pub(super) struct RawTerminal(());

impl RawTerminal {
    /// Has the terminal, which was `found`, set to raw.
    pub(super) fn new(found: Found, signals: bool, echo: bool) -> Self {
        let mut changed = lock();
        let (original, users) = match changed.terminal.take() {
            Some(settings) => (settings.original, settings.users),
            None => (found.0, 0),
        };
        changed.given_back = false;
        changed.terminal = Some(Settings {
            users: users + 1,
            original,
            signals,
            echo,
        });
        drop(changed);
        elsewhere(settle);
        RawTerminal(())
    }

    /// With echo the terminal is as it was found, as in QEMU.
    #[doc(alias = "qemu_chr_fe_set_echo")]
    pub(super) fn set_echo(&self, echo: bool) {
        let changed = match &mut lock().terminal {
            Some(settings) => std::mem::replace(&mut settings.echo, echo) != echo,
            None => false,
        };
        if changed {
            elsewhere(settle);
        }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let mut changed = lock();
        let Some(settings) = &mut changed.terminal else {
            return;
        };
        settings.users -= 1;
        let is_last = settings.users == 0;
        drop(changed);
        if is_last {
            elsewhere(settle);
        }
    }
}

/// Sets the terminal the way it is wanted now. This may wait.
fn settle() {
    assert_may_wait();
    let _setting = turn();
    let changed = lock();
    let wanted = match &changed.terminal {
        Some(settings) if !changed.given_back => settings.wanted(),
        _ => return,
    };
    drop(changed);
    set(&wanted);
    lock().terminal.take_if(|settings| settings.users == 0);
}

/// The size of the terminal, where standard input or output is one.
pub(super) fn size() -> Option<TerminalSize> {
    let size = rustix::termios::tcgetwinsize(stdout())
        .or_else(|_| rustix::termios::tcgetwinsize(stdin()))
        .ok()?;
    // A terminal that does not know its size says 0.
    (size.ws_col > 0 && size.ws_row > 0).then_some(TerminalSize {
        cols: size.ws_col,
        rows: size.ws_row,
    })
}

/// A shared descriptor that had to become non-blocking, until this is dropped.
pub(super) struct NonBlocking(usize);

impl NonBlocking {
    /// Makes standard input or output, whose flags are `before`, non-blocking.
    pub(super) fn set(fd: BorrowedFd<'_>, before: OFlags) -> rustix::io::Result<Self> {
        let index = usize::from(fd.as_raw_fd() == stdout().as_raw_fd());
        fcntl_setfl(fd, before | OFlags::NONBLOCK)?;
        lock().blocking[index].get_or_insert((before, 0)).1 += 1;
        Ok(NonBlocking(index))
    }
}

impl Drop for NonBlocking {
    fn drop(&mut self) {
        let fd = if self.0 == 0 { stdin() } else { stdout() };
        let mut changed = lock();
        let Some((flags, users)) = &mut changed.blocking[self.0] else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            let _ = fcntl_setfl(fd, *flags);
            changed.blocking[self.0] = None;
        }
    }
}

impl Settings {
    /// With echo, and without a user, it is as it was found.
    fn wanted(&self) -> Termios {
        match self.echo || self.users == 0 {
            true => self.original.clone(),
            false => self.raw(),
        }
    }

    /// Raw, except that output is still processed, so that messages of ours look right.
    fn raw(&self) -> Termios {
        let mut raw = self.original.clone();
        raw.input_modes -= InputModes::IGNBRK
            | InputModes::BRKINT
            | InputModes::PARMRK
            | InputModes::ISTRIP
            | InputModes::INLCR
            | InputModes::IGNCR
            | InputModes::ICRNL
            | InputModes::IXON;
        raw.output_modes |= OutputModes::OPOST;
        raw.local_modes -=
            LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::IEXTEN;
        if !self.signals {
            raw.local_modes -= LocalModes::ISIG;
        }
        raw.control_modes -= ControlModes::CSIZE | ControlModes::PARENB;
        raw.control_modes |= ControlModes::CS8;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        raw
    }
}

/// A process in the background would be stopped for touching the terminal; when it comes to the
/// front it is continued, and the caretaker sets the terminal then.
#[expect(clippy::disallowed_methods, reason = "whoever sets it may wait")]
fn set(settings: &Termios) {
    let foreground = rustix::termios::tcgetpgrp(stdin());
    if foreground.is_ok_and(|group| group != rustix::process::getpgrp()) {
        return;
    }
    let _ = rustix::termios::tcsetattr(stdin(), OptionalActions::Now, settings);
}

fn turn() -> MutexGuard<'static, ()> {
    SETTING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock() -> MutexGuard<'static, Changed> {
    CHANGED.lock().unwrap_or_else(PoisonError::into_inner)
}
