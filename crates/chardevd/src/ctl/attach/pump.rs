//! The attached terminal's loop: keyboard to console, console to screen, one thread, never waiting
//! for one while the other could go on.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use chardev_qapi::Object;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, write};
use signal_hook::consts::signal::{SIGCONT, SIGTSTP, SIGWINCH};

use super::Signals;
use super::escape::{Escape, Step, key_name};
use super::join::{Joined, Mode};
use super::link::{Heard, Link};
use super::reason::{Reason, how_it_ended, restarts};
use super::screen::Screen;
use super::terminal::RawTerminal;
use super::wait::{Waiting, resume, suspend};
use crate::ctl::failure::Failure;
use crate::ctl::waiting::timespec;

/// The most bytes that are typed and not yet taken.
const BUFFER: usize = 64 << 10;
/// How long the console's last output may take after we have left.
const LEAVING: Duration = Duration::from_secs(2);
/// How long a console without a program must be silent before we leave it.
const SILENCE: Duration = Duration::from_millis(200);
/// How long the reason of the console's end may take.
const REASON: Duration = Duration::from_secs(1);
/// How long keys wait at most for the size of the terminal they were typed on to be known.
const SIZE: Duration = Duration::from_secs(1);
/// A paste comes without pauses.
const PASTE: Duration = Duration::from_secs(1);

/// Everything the loop works on.
pub(super) struct Pump<'a> {
    id: &'a str,
    console: UnixStream,
    link: Link,
    mode: Mode,
    terminal: Option<RawTerminal>,
    screen: Screen,
    signals: Signals,
    key: Option<u8>,
    escape: Escape,
    /// Typed, for the console.
    typed: Vec<u8>,
    last_typed: Instant,
    input_ended: bool,
    console_ended: bool,
    /// Why it ends, as soon as that is known.
    reason: Option<Reason>,
    /// Set when we leave: what is still on its way has until then.
    leaving: Option<Instant>,
    /// When something last came from the console or went to it.
    active: Instant,
    idle: Duration,
    size_wanted: bool,
    /// Until when keys wait for the size: what is typed after a change of it is meant for it.
    size_until: Option<Instant>,
    breaks: u32,
}

/// Which of the descriptors are ready.
#[derive(Clone, Copy, Debug, Default)]
struct Readiness {
    typed: bool,
    console_in: bool,
    console_out: bool,
    shown: bool,
    gone: bool,
    signal: bool,
    link: bool,
}

/// A descriptor, what to wait for on it, and where to note that it is ready.
type Want<'fd> = (BorrowedFd<'fd>, PollFlags, fn(&mut Readiness));

impl<'a> Pump<'a> {
    pub(super) fn new(
        id: &'a str,
        joined: Joined,
        waiting: Waiting,
        screen: Screen,
        idle: Duration,
    ) -> Self {
        let mut pump = Pump {
            id,
            console: joined.console,
            link: joined.link,
            mode: joined.mode,
            size_wanted: false,
            size_until: None,
            terminal: waiting.terminal,
            screen,
            signals: waiting.signals,
            key: waiting.key,
            escape: Escape::new(waiting.key),
            typed: Vec::new(),
            last_typed: Instant::now(),
            input_ended: false,
            console_ended: false,
            reason: joined.over,
            leaving: None,
            active: Instant::now(),
            idle,
            breaks: 0,
        };
        pump.want_size();
        pump.greet(&joined.notes);
        pump.take_typed(&waiting.typed);
        pump
    }

    /// Runs to the end, and says why that has come.
    pub(super) fn run(mut self) -> Result<Reason, Failure> {
        resume(self.terminal.as_ref(), RawTerminal::make_raw)?;
        while !self.is_over() {
            self.ask();
            let ready = self.wait()?;
            if ready.signal {
                self.take_signals();
            }
            if ready.link {
                self.take_news();
            }
            if ready.typed {
                self.read_typed()?;
            }
            if ready.console_out {
                self.write_console();
            }
            if ready.console_in {
                self.read_console();
            }
            if ready.shown {
                self.screen.write();
                self.active = Instant::now();
            } else if ready.gone {
                self.screen.end();
            }
            self.leave_if_idle();
        }
        let reason = self.find_reason();
        self.screen.flush();
        self.screen.rest();
        // The message belongs on a terminal that is as it was.
        if self.terminal.take().is_some() {
            self.screen.farewell(self.id, &reason.describe(self.id));
        }
        Ok(reason)
    }

    fn greet(&mut self, notes: &[String]) {
        let how = match self.mode {
            Mode::Alone => "attached",
            Mode::Share => "attached, shared with others",
            Mode::ReadOnly => "attached, read only",
        };
        match self.key {
            Some(key) => self.say(&format!("{how}; {} ? for help", key_name(key))),
            None if self.terminal.is_some() => self.say(&format!("{how}, without an escape key")),
            None => {}
        }
        for note in notes {
            self.say(note);
        }
    }

    fn is_over(&self) -> bool {
        let late = self.leaving.is_some_and(|until| Instant::now() >= until);
        (self.console_ended && !self.screen.is_waiting()) || late
    }

    fn wait(&self) -> Result<Readiness, Failure> {
        let stdin = io::stdin();
        let mut want: Vec<Want<'_>> =
            vec![(self.signals.get_read().as_fd(), PollFlags::IN, |ready| {
                ready.signal = true
            })];
        if !self.input_ended && self.leaving.is_none() && self.typed.len() < BUFFER {
            want.push((stdin.as_fd(), PollFlags::IN, |ready| ready.typed = true));
        }
        if self.screen.has_room() && !self.console_ended {
            want.push((self.console.as_fd(), PollFlags::IN, |ready| {
                ready.console_in = true
            }));
        }
        if !self.typed.is_empty() && !self.console_ended && self.size_wait().is_none() {
            want.push((self.console.as_fd(), PollFlags::OUT, |ready| {
                ready.console_out = true
            }));
        }
        if self.screen.is_waiting() {
            want.push((self.screen.fd(), PollFlags::OUT, |ready| ready.shown = true));
        } else if !self.screen.has_ended() {
            want.push((self.screen.fd(), PollFlags::empty(), |ready| {
                ready.gone = true
            }));
        }
        if let Some(link) = self.link.fd() {
            want.push((link, PollFlags::IN, |ready| ready.link = true));
        }
        let mut fds: Vec<_> = want
            .iter()
            .map(|(fd, flags, _)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        match poll(&mut fds, self.timeout().map(timespec).as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Readiness::default()),
            Err(error) => return Err(format!("poll: {error}").into()),
        }
        let mut ready = Readiness::default();
        for (fd, (_, _, mark)) in fds.iter().zip(&want) {
            if !fd.revents().is_empty() {
                mark(&mut ready);
            }
        }
        Ok(ready)
    }

    /// How long to wait at most; for ever where only descriptors matter.
    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let leaving = self
            .leaving
            .map(|until| until.saturating_duration_since(now));
        let silence = self.silence();
        let silence = silence.map(|silence| silence.saturating_sub(self.active.elapsed()));
        let size = self.size_wait().filter(|_| !self.typed.is_empty());
        [leaving, silence, size].into_iter().flatten().min()
    }

    /// How long keys still wait for the size of the terminal.
    fn size_wait(&self) -> Option<Duration> {
        let until = self.size_until.filter(|_| self.leaving.is_none())?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// How long the console must be silent for us to leave it, if only that is waited for.
    fn silence(&self) -> Option<Duration> {
        if self.leaving.is_some() || self.screen.is_waiting() {
            return None;
        }
        match self.reason {
            Some(Reason::Program(_)) => Some(SILENCE),
            _ if self.input_ended && self.typed.is_empty() => Some(self.idle),
            _ => None,
        }
    }

    fn leave_if_idle(&mut self) {
        let hung_up = self.input_ended && self.terminal.is_some();
        let silence = self.silence();
        let silent = silence.is_some_and(|silence| self.active.elapsed() >= silence);
        if self.leaving.is_none() && (hung_up || silent || self.screen.has_ended()) {
            self.leave(Reason::Left);
        }
    }

    /// Tells the console that we leave; what it has for us may still come.
    fn leave(&mut self, reason: Reason) {
        self.reason.get_or_insert(reason);
        self.leaving.get_or_insert_with(|| Instant::now() + LEAVING);
        if self.typed.is_empty() {
            let _ = self.console.shutdown(Shutdown::Write);
        }
    }

    fn read_typed(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 4096];
        let count = match read(io::stdin(), &mut buffer) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            // The terminal hung up.
            Err(Errno::IO) => 0,
            Err(error) => return Err(format!("standard input: {error}").into()),
        };
        self.active = Instant::now();
        if count == 0 {
            self.input_ended = true;
            return Ok(());
        }
        if self.last_typed.elapsed() > PASTE {
            self.escape.pause();
        }
        self.last_typed = Instant::now();
        self.take_typed(&buffer[..count]);
        Ok(())
    }

    fn take_typed(&mut self, mut typed: &[u8]) {
        while let Some(step) = self.escape.next(&mut typed) {
            match step {
                Step::Text(_) if self.mode == Mode::ReadOnly => {}
                Step::Text(text) => self.typed.extend_from_slice(text),
                Step::Leave => return self.leave(Reason::Left),
                Step::Break if self.mode == Mode::ReadOnly => self.say("no break: read only"),
                Step::Break => self.breaks = (self.breaks + 1).min(16),
                Step::Suspend => self.suspend(),
                Step::Help | Step::Unknown => self.help(),
            }
        }
    }

    fn help(&mut self) {
        if let Some(key) = self.key {
            let key = key_name(key);
            self.say(&format!(
                "{key} then: . or q leave, b break, z suspend, ? this help, {key} itself"
            ));
        }
    }

    fn write_console(&mut self) {
        match write(&self.console, &self.typed) {
            Ok(count) => {
                self.typed.drain(..count);
                self.active = Instant::now();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // What comes from it may still be read; its end is seen there.
            Err(_) => self.typed.clear(),
        }
        if self.leaving.is_some() && self.typed.is_empty() {
            let _ = self.console.shutdown(Shutdown::Write);
        }
    }

    fn read_console(&mut self) {
        let mut buffer = [0; 16 << 10];
        match read(&self.console, &mut buffer) {
            Ok(0) => self.console_ended = true,
            Ok(count) => {
                self.screen.show(&buffer[..count]);
                self.active = Instant::now();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.console_ended = true,
        }
    }

    fn take_signals(&mut self) {
        let signals: Vec<i32> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGWINCH => self.want_size(),
                SIGTSTP => self.suspend(),
                SIGCONT => {
                    if self.terminal.is_some() {
                        // A terminal that hangs up sends this signal too.
                        let taken = resume(self.terminal.as_ref(), RawTerminal::make_raw);
                        self.input_ended |= taken.is_err();
                        self.screen.wake();
                        self.want_size();
                    }
                }
                // Who says it twice does not want to wait for the last output.
                _ if matches!(self.reason, Some(Reason::Signal(_))) => {
                    self.leaving = Some(Instant::now());
                }
                signal => self.leave(Reason::Signal(signal)),
            }
        }
    }

    /// Stops us; SIGCONT brings everything back.
    fn suspend(&mut self) {
        if self.terminal.is_some() {
            self.screen.rest();
        }
        suspend(self.terminal.as_ref());
    }

    fn take_news(&mut self) {
        for news in self.link.take_news() {
            match news {
                Heard::Failed(text) => self.say(&text),
                Heard::Gone => {}
                Heard::Event(event) => {
                    let about = event.data.get("chardev").and_then(|it| it.as_str());
                    if let Some(reason) = Reason::of_event(&event, self.id) {
                        self.reason.get_or_insert(reason);
                    } else if event.name == "X_DEVICE_ENDED"
                        && about == Some(self.id)
                        && restarts(&event.data)
                    {
                        self.say(&format!("{}; it starts again", how_it_ended(&event.data)));
                    }
                }
            }
        }
    }

    /// The console is to have the size of our terminal, before anything else that is typed.
    fn want_size(&mut self) {
        // A size that was seen by the way is nobody's wish.
        if self.terminal.is_some() && self.mode != Mode::ReadOnly {
            self.size_wanted = true;
            self.size_until = Some(Instant::now() + SIZE);
        }
    }

    /// Asks the monitor for what is due.
    fn ask(&mut self) {
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
        }
        self.size_wanted = false;
    }

    /// Why it ended; the monitor may tell it a moment later than the console does.
    fn find_reason(&mut self) -> Reason {
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

    fn say(&mut self, text: &str) {
        self.screen.say(self.id, text);
    }
}
