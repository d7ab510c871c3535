//! Where the console's output goes, and ours: standard output and standard error, never waited for.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use chardev::text::shown;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, open};
use rustix::io::{Errno, write};
use rustix::termios::isatty;

use super::aside::Aside;
use super::modes::Modes;
use crate::ctl::waiting::timespec;

/// The most bytes of output on their way.
const BUFFER: usize = 64 << 10;
/// How long the terminal may take for what puts it to rest.
const REST: Duration = Duration::from_millis(500);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Screen {
    output: Output,
    /// Where messages go, if that is another place.
    errors: Option<Output>,
    shown: Vec<u8>,
    /// What the console did to the terminal, if there is one.
    pub(super) modes: Option<Modes>,
    /// What comes while something else is shown in place of the console.
    pub(super) aside: Option<Aside>,
    /// Whether messages are for a raw terminal, which does not return its carriage.
    raw: bool,
    ended: bool,
}

impl Screen {
    /// Standard output and standard error.
    pub(super) fn open(raw: bool) -> io::Result<Screen> {
        let (output, errors) = (io::stdout(), io::stderr());
        let same = fstat(&output)
            .and_then(|output| Ok((output, fstat(&errors)?)))
            .is_ok_and(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino));
        let modes = isatty(&output).then(Modes::default);
        Ok(Screen {
            errors: match same {
                true => None,
                false => Some(Output::open(errors.as_fd(), "/proc/self/fd/2")?),
            },
            output: Output::open(output.as_fd(), "/proc/self/fd/1")?,
            shown: Vec::new(),
            modes,
            aside: None,
            raw,
            ended: false,
        })
    }

    /// The descriptor of the output.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.output.file.as_fd()
    }

    /// Whether it takes output of the console.
    pub(super) fn has_room(&self) -> bool {
        // What comes aside is bounded by itself.
        self.shown.len() < BUFFER || self.aside.is_some()
    }

    /// Whether something waits for the descriptor.
    pub(super) fn is_waiting(&self) -> bool {
        !self.shown.is_empty() && !self.ended
    }

    /// Whether nobody looks any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes output of the console.
    pub(super) fn show(&mut self, bytes: &[u8]) {
        match &mut self.aside {
            Some(aside) => aside.show(bytes),
            None => self.shown.extend_from_slice(bytes),
        }
    }

    /// Says something of our own about the console `id`; lost if nobody takes it.
    pub(super) fn say(&mut self, id: &str, text: &str) {
        let text = match self.raw {
            true => format!("\r{}\r\n", message(id, text)),
            false => format!("{}\n", message(id, text)),
        };
        match &self.errors {
            Some(errors) => {
                let _ = write(&errors.file, text.as_bytes());
            }
            None if self.aside.is_some() => {
                self.aside.iter_mut().for_each(|aside| aside.say(&text));
            }
            // In one place they stay in order, and a terminal that is stuck holds up nothing.
            None if self.shown.len() < 2 * BUFFER => self.shown.extend_from_slice(text.as_bytes()),
            None => {}
        }
    }

    /// Asks something of the user about the console `id`, on the terminal itself.
    pub(super) fn ask(&mut self, id: &str, text: &str) {
        let text = format!("\r\n[{}] {text}", shown(id));
        self.shown.extend_from_slice(text.as_bytes());
    }

    /// The last thing to say, on a terminal that is as it was.
    pub(super) fn farewell(&mut self, id: &str, text: &str) {
        let text = format!("\n{}\n", message(id, text));
        match &self.errors {
            Some(errors) => drop(write(&errors.file, text.as_bytes())),
            None => self.push_out(text.as_bytes()),
        }
    }

    /// Writes what can be written.
    pub(super) fn write(&mut self) {
        match write(&self.output.file, &self.shown) {
            Ok(count) => {
                if let (Some(modes), None) = (&mut self.modes, &self.aside) {
                    modes.follow(&self.shown[..count]);
                }
                self.shown.drain(..count);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.end(),
        }
    }

    /// Nobody looks any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.shown.clear();
    }

    /// Puts the terminal to rest; it may be looked at [again](Screen::wake) later.
    pub(super) fn rest(&mut self) {
        let rest = self.modes.as_ref().map_or_else(Vec::new, Modes::rest);
        self.push_out(&rest);
        self.raw = false;
    }

    /// Undoes [`rest`](Screen::rest).
    pub(super) fn wake(&mut self) {
        let again = self.modes.as_ref().map_or_else(Vec::new, Modes::again);
        self.push_out(&again);
        self.raw = true;
    }

    /// Writes everything, for as long as a terminal may take that is not stuck.
    pub(super) fn flush(&mut self) {
        let until = Instant::now() + REST;
        while self.is_waiting() {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::OUT)];
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(0) => return,
                Ok(_) => self.write(),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Shows something in place of the console.
    pub(super) fn show_page(&mut self, page: &str) {
        if self.shown.len() < BUFFER && !self.ended {
            self.shown.extend_from_slice(page.as_bytes());
        }
    }

    /// Forgets what is waiting.
    pub(super) fn clear(&mut self) {
        self.shown.clear();
    }

    /// Writes `bytes` past what is waiting.
    pub(super) fn push_out(&mut self, bytes: &[u8]) {
        if self.ended || bytes.is_empty() {
            return;
        }
        let waiting = std::mem::replace(&mut self.shown, bytes.to_vec());
        let modes = self.modes.take();
        self.flush();
        self.modes = modes;
        self.shown = waiting;
    }
}

fn message(id: &str, text: &str) -> String {
    format!("[{}: {}]", shown(id), shown(text.replace('\n', "; ")))
}

/// A descriptor for writing without waiting.
///
/// Making a descriptor non-blocking makes it so for everybody who shares it, the shell included, so
/// it is opened anew where that can be done. Where it cannot, the flag is put back in the end.
#[derive(Debug)]
struct Output {
    file: File,
    flags: Option<OFlags>,
}

impl Output {
    /// `fd`, which can also be opened at `path`.
    fn open(fd: BorrowedFd<'_>, path: &str) -> io::Result<Output> {
        let kind = FileType::from_raw_mode(fstat(fd)?.st_mode);
        if isatty(fd) || kind == FileType::Fifo {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            if let Ok(fd) = open(path, flags, Mode::empty()) {
                return Ok(Output {
                    file: fd.into(),
                    flags: None,
                });
            }
        }
        let fd: OwnedFd = fd.try_clone_to_owned()?;
        let flags = fcntl_getfl(&fd)?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Output {
            file: fd.into(),
            flags: Some(flags),
        })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(flags) = self.flags {
            let _ = fcntl_setfl(&self.file, flags);
        }
    }
}
