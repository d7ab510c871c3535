//! The terminal while attached: raw, and whatever happens as it was before.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::termios::{
    LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Keeps standard input's terminal raw; restores it when dropped.
#[derive(Debug)]
pub(super) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Takes the terminal for the time until it is attached; `None` if standard input is none.
    pub(super) fn enter() -> io::Result<Option<RawTerminal>> {
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
    pub(super) fn make_patient(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.make_raw();
        modes.local_modes |= self.before.local_modes & LocalModes::ISIG;
        modes.output_modes = self.before.output_modes;
        set(&modes)
    }

    /// Makes it raw, again after [`restore`](RawTerminal::restore).
    pub(super) fn make_raw(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.make_raw();
        set(&modes)
    }

    /// Puts back what was there.
    pub(super) fn restore(&self) {
        // On the way out there is nobody left to tell: the terminal may be gone.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.before);
    }

    /// Columns and rows, if the terminal knows them.
    pub(super) fn size(&self) -> Option<(u16, u16)> {
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

/// Standard output, for writing without waiting.
///
/// Making a descriptor non-blocking makes it so for everybody who shares it, the shell included, so
/// it is opened anew where that can be done. Where it cannot, the flag is put back in the end.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    flags: Option<OFlags>,
}

impl Output {
    /// Standard output.
    pub(super) fn open() -> io::Result<Output> {
        let stdout = io::stdout();
        let about = rustix::fs::fstat(&stdout)?;
        let kind = rustix::fs::FileType::from_raw_mode(about.st_mode);
        if isatty(stdout.as_fd()) || kind == rustix::fs::FileType::Fifo {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            if let Ok(fd) = open("/proc/self/fd/1", flags, Mode::empty()) {
                return Ok(Output {
                    file: fd.into(),
                    flags: None,
                });
            }
        }
        let fd: OwnedFd = stdout.as_fd().try_clone_to_owned()?;
        let flags = fcntl_getfl(&fd)?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Output {
            file: fd.into(),
            flags: Some(flags),
        })
    }

    /// The descriptor.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(flags) = self.flags {
            let _ = fcntl_setfl(&self.file, flags);
        }
    }
}
