//! front → chardev → back → [host]: the terminal on standard input, set to raw and always back.
//!
//! What has to be undone is kept in one place for the whole process, so that every way out of
//! it, a panic included, can undo it.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chardev_core::TerminalSize;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios,
};

static CHANGED: Mutex<Changed> = Mutex::new(Changed {
    terminal: None,
    blocking: [None, None],
});

/// What differs from how the process found it.
struct Changed {
    terminal: Option<Settings>,
    /// The flags of standard input and output before they became non-blocking, and for how many.
    blocking: [Option<(OFlags, usize)>; 2],
}

#[derive(Clone)]
struct Settings {
    /// How many back ends have it: two for a moment when one replaces another.
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
    restore(&lock());
}

/// As [`restore_terminal`], for the handler of a signal: it never waits. Nothing is done in the rare
/// moment in which the terminal is just being set.
pub fn try_restore_terminal() {
    if let Ok(changed) = CHANGED.try_lock() {
        restore(&changed);
    }
}

/// Takes [`restore_terminal`] back, where a back end still has the terminal: after a stop.
pub fn apply_terminal() {
    apply_again();
    let changed = lock();
    for (fd, flags) in [stdin(), stdout()].into_iter().zip(changed.blocking) {
        if let Some((flags, _)) = flags {
            let _ = fcntl_setfl(fd, flags | OFlags::NONBLOCK);
        }
    }
}

fn restore(changed: &Changed) {
    if let Some(settings) = &changed.terminal {
        set(&settings.original);
    }
    for (fd, flags) in [stdin(), stdout()].into_iter().zip(changed.blocking) {
        if let Some((flags, _)) = flags {
            let _ = fcntl_setfl(fd, flags);
        }
    }
}

/// A terminal in raw mode for as long as this lives.
pub(super) struct RawTerminal(());

impl RawTerminal {
    /// Sets the terminal on standard input to raw; `None` if there is none.
    #[expect(clippy::disallowed_methods, reason = "our user's own terminal")]
    pub(super) fn new(signals: bool, echo: bool) -> Option<Self> {
        let found = rustix::termios::tcgetattr(stdin()).ok()?;
        let mut changed = lock();
        let (original, users) = match changed.terminal.take() {
            Some(settings) => (settings.original, settings.users),
            None => (found, 0),
        };
        changed.terminal = Some(Settings {
            users: users + 1,
            original,
            signals,
            echo,
        });
        drop(changed);
        apply_again();
        Some(RawTerminal(()))
    }

    /// With echo the terminal is as it was found, as in QEMU.
    #[doc(alias = "qemu_chr_fe_set_echo")]
    pub(super) fn set_echo(&self, echo: bool) {
        let changed = match &mut lock().terminal {
            Some(settings) => std::mem::replace(&mut settings.echo, echo) != echo,
            None => false,
        };
        if changed {
            apply_again();
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
        if settings.users == 0 {
            set(&settings.original);
            changed.terminal = None;
        }
    }
}

/// Sets the terminal the way the back end wants it, if one is in use.
pub(super) fn apply_again() {
    if let Some(settings) = &lock().terminal {
        set(&if settings.echo {
            settings.original.clone()
        } else {
            settings.raw()
        });
    }
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
#[expect(clippy::disallowed_methods, reason = "our user's own terminal")]
fn set(settings: &Termios) {
    let foreground = rustix::termios::tcgetpgrp(stdin());
    if foreground.is_ok_and(|group| group != rustix::process::getpgrp()) {
        return;
    }
    let _ = rustix::termios::tcsetattr(stdin(), OptionalActions::Now, settings);
}

fn lock() -> MutexGuard<'static, Changed> {
    CHANGED.lock().unwrap_or_else(PoisonError::into_inner)
}
