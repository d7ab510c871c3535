//! What is asked of the monitor meanwhile, and what it says.

use std::time::{Duration, Instant};

use chardev_qapi::{Json, Object};
use chardev_qmp::client::Event;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::join::Mode;
use super::link::Heard;
use super::lookback::{HISTORY, REDRAW};
use super::menu::{MARKER, WHO, tell_who};
use super::pump::Pump;
use super::reason::{Reason, how_it_ended, restarts};
use super::terminal::RawTerminal;
use crate::ctl::record::not_indexed;
use crate::ctl::waiting::timespec;

/// How long the reason of the console's end may take.
const REASON: Duration = Duration::from_secs(1);
/// How long keys wait at most for the size of the terminal they were typed on to be known.
const SIZE: Duration = Duration::from_secs(1);

impl Pump<'_> {
    pub(super) fn take_news(&mut self) {
        for news in self.link.take_news() {
            match news {
                Heard::Failed(REDRAW, _) => self.end_pages(None),
                Heard::Failed(_, text) => self.say(&text),
                Heard::Answer(WHO, answer) => tell_who(self, &answer),
                Heard::Answer(HISTORY, answer) => self.look_back(&answer),
                Heard::Answer(REDRAW, answer) => self.end_pages(Some(&answer)),
                Heard::Answer(MARKER, answer) => {
                    if let Some(missing) = not_indexed(&answer) {
                        self.say(&missing);
                    }
                }
                // Nobody draws the screen again that we are on our way back to.
                Heard::Gone if self.lookback.is_none() => self.end_pages(None),
                Heard::Answer(..) | Heard::Gone => {}
                Heard::Event(event) => self.take_event(&event),
            }
        }
    }

    fn take_event(&mut self, event: &Event) {
        let text = |name| event.data.get(name).and_then(Json::as_str);
        if let Some(reason) = Reason::of_event(event, self.id) {
            self.reason.get_or_insert(reason);
        } else if event.name == "X_DEVICE_ENDED"
            && text("chardev") == Some(self.id)
            && restarts(&event.data)
        {
            self.say(&format!("{}; it starts again", how_it_ended(&event.data)));
        } else if event.name == "X_CHARDEV_MARKED" && text("id") == Some(self.id) {
            let (by, mark) = (text("by").unwrap_or("-"), text("text").unwrap_or_default());
            self.say(&format!("marker by {by}: {mark}"));
        }
    }

    /// The console is to have the size of our terminal, before anything else that is typed.
    pub(super) fn want_size(&mut self) {
        // A size that was seen by the way is nobody's wish.
        if self.terminal.is_some() && self.mode != Mode::ReadOnly {
            self.size_wanted = true;
            self.size_until = Some(Instant::now() + SIZE);
        }
    }

    /// Asks the monitor for what is due.
    pub(super) fn ask(&mut self) {
        if self.link.is_gone() || (self.link.is_idle() && !self.size_wanted) {
            self.size_until = None;
        }
        if self.leaving.is_some() || self.console_ended || !self.link.is_idle() {
            return;
        }
        let id = Object::new().with("id", self.id);
        let size = self.terminal.as_ref().filter(|_| self.size_wanted);
        if let Some((cols, rows)) = size.and_then(RawTerminal::size) {
            let arguments = id.with("cols", cols).with("rows", rows);
            self.link
                .ask("the window size", "x-chardev-set-winsize", arguments);
        } else if self.breaks > 0 && self.typed.is_empty() {
            // A break comes after what was typed before it.
            self.breaks -= 1;
            self.link.ask("the break", "chardev-send-break", id);
        } else if let Some(wish) = self.wishes.pop_front() {
            self.link.ask(wish.what, wish.command, wish.arguments);
        }
        self.size_wanted = false;
    }

    /// Why it ended; the monitor may tell it a moment later than the console does.
    pub(super) fn find_reason(&mut self) -> Reason {
        let until = Instant::now() + REASON;
        while self.reason.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            let Some(fd) = self.link.fd().filter(|_| !left.is_zero()) else {
                break;
            };
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => self.take_news(),
                Err(_) => break,
            }
        }
        let unknown = match self.link.is_gone() {
            true => Reason::Daemon,
            false => Reason::Unknown,
        };
        self.reason.take().unwrap_or(unknown)
    }
}
