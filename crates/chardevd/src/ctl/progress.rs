//! A line on the terminal about what takes longer than a second, which goes when that is over.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use chardev::text::shown;
use rustix::termios::tcgetwinsize;

use super::table::cut;

/// What takes no longer than this is not spoken of.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the line is written anew.
const PAUSE: Duration = Duration::from_millis(250);

/// See the [module](self). Where standard error is no terminal, it says nothing.
#[derive(Debug)]
pub(super) struct Progress {
    live: bool,
    next: Instant,
    told: bool,
}

impl Progress {
    /// Something begins.
    pub(super) fn begin() -> Self {
        Progress {
            live: io::stderr().is_terminal(),
            next: Instant::now() + PATIENCE,
            told: false,
        }
    }

    /// How long until there is something to say, if there ever is.
    pub(super) fn next(&self) -> Option<Duration> {
        let left = self.next.saturating_duration_since(Instant::now());
        self.live.then_some(left)
    }

    /// Says how far it is, if it is time to.
    pub(super) fn tell(&mut self, text: impl FnOnce() -> String) {
        if !self.live || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + PAUSE;
        self.told = true;
        let size = tcgetwinsize(io::stderr()).ok();
        let width = size.map_or(80, |size| usize::from(size.ws_col).max(20));
        let text = cut(&shown(text()).to_string(), width - 1);
        // Who cannot hear it goes on all the same.
        let _ = write!(io::stderr(), "\r\x1b[K{text}");
    }

    /// Takes the line away; what is printed next begins a line.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.told) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
