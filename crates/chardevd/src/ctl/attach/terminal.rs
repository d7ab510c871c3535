//! The terminal while attached: raw, and restored whatever happens.

use std::io;
use std::os::fd::AsFd;

use rustix::termios::{
    LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Keeps standard input's terminal raw; restores it when dropped.
#[derive(Debug)]
pub(in crate::ctl) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Takes the terminal for the time until it is attached; `None` if standard input is none.
    pub(in crate::ctl) fn enter() -> io::Result<Option<RawTerminal>> {
        let stdin = io::stdin();
        if !isatty(stdin.as_fd()) {
            return Ok(None);
        }
        let before = tcgetattr(stdin.as_fd())?;
        let guard = RawTerminal { before };
        guard.make_patient()?;
        Ok(Some(guard))
    }

    /// Keys come one by one, as they will to the console, but Ctrl-C and its like are signals.
    pub(in crate::ctl) fn make_patient(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.make_raw();
        modes.local_modes |= self.before.local_modes & LocalModes::ISIG;
        modes.output_modes = self.before.output_modes;
        set(&modes)
    }

    /// Makes it raw, again after [`restore`](RawTerminal::restore).
    pub(in crate::ctl) fn make_raw(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.make_raw();
        set(&modes)
    }

    /// Puts back what was there.
    pub(in crate::ctl) fn restore(&self) {
        // On the way out there is nobody left to tell: the terminal may be gone.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.before);
    }

    /// Columns and rows, if the terminal knows them.
    pub(in crate::ctl) fn size(&self) -> Option<(u16, u16)> {
        let size = tcgetwinsize(io::stdin().as_fd()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.restore();
    }
}

fn set(modes: &Termios) -> io::Result<()> {
    Ok(tcsetattr(
        io::stdin().as_fd(),
        OptionalActions::Drain,
        modes,
    )?)
}
