//! The attached terminal's loop: keyboard to console, console to screen, one thread, never waiting
//! for one while the other could go on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::{Errno, read, write};
use signal_hook::consts::signal::{SIGCONT, SIGTSTP, SIGWINCH};

use super::Signals;
use super::escape::{Escape, key_name};
use super::file::Sending;
use super::join::{Joined, Mode};
use super::link::Link;
use super::lookback::Lookback;
use super::menu::{Prompt, Wish};
use super::reason::Reason;
use super::replay::Replay;
use super::screen::Screen;
use super::terminal::RawTerminal;
use super::wait::{Waiting, resume, suspend};
use crate::ctl::failure::Failure;
use crate::ctl::fleet::Driver;

/// The most bytes that are typed and not yet taken.
pub(super) const BUFFER: usize = 64 << 10;
/// How long the console's last output may take after we have left.
const LEAVING: Duration = Duration::from_secs(2);
/// How long a console without a program must be silent before we leave it.
pub(super) const SILENCE: Duration = Duration::from_millis(200);
/// A paste comes without pauses.
const PASTE: Duration = Duration::from_secs(1);

/// Everything the loop works on.
pub(super) struct Pump<'a> {
    pub(super) id: &'a str,
    pub(super) console: UnixStream,
    pub(super) link: Link,
    pub(super) mode: Mode,
    pub(super) terminal: Option<RawTerminal>,
    pub(super) screen: Screen,
    pub(super) signals: Signals,
    pub(super) key: Option<u8>,
    pub(super) escape: Escape,
    /// Typed, for the console.
    pub(super) typed: Vec<u8>,
    pub(super) last_typed: Instant,
    pub(super) input_ended: bool,
    pub(super) console_ended: bool,
    /// Why it ends, as soon as that is known.
    pub(super) reason: Option<Reason>,
    /// Set when we leave: what is still on its way has until then.
    pub(super) leaving: Option<Instant>,
    /// When something last came from the console or went to it.
    pub(super) active: Instant,
    pub(super) idle: Duration,
    pub(super) size_wanted: bool,
    /// Until when keys wait for the size: what is typed after a change of it is meant for it.
    pub(super) size_until: Option<Instant>,
    pub(super) breaks: u32,
    pub(super) wishes: VecDeque<Wish>,
    /// The line that is being typed for us.
    pub(super) prompt: Option<Prompt>,
    /// What the console has said, while that is looked at.
    pub(super) lookback: Option<Lookback>,
    /// The offset of what comes next from the console.
    pub(super) offset: u64,
    /// How much of what comes next has been drawn already.
    pub(super) drawn: u64,
    /// What is typed is not sent.
    pub(super) muted: bool,
    /// The file that is being sent.
    pub(super) sending: Option<Sending>,
    /// What to wait by, where the console is a fleet's.
    pub(super) driver: RefCell<Option<Driver>>,
    /// The console's last screen, until it is drawn.
    replay: Option<Replay>,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        id: &'a str,
        joined: Joined,
        waiting: Waiting,
        screen: Screen,
        driver: Option<Driver>,
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
            wishes: VecDeque::new(),
            prompt: None,
            lookback: None,
            drawn: 0,
            offset: joined.offset,
            muted: false,
            sending: None,
            driver: RefCell::new(driver),
            replay: joined.replay,
        };
        pump.want_size();
        pump.greet(&joined.notes);
        pump.draw_replay();
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
        // What is still to be said is not waited for here.
        *self.driver.get_mut() = None;
        let reason = self.find_reason();
        self.end_pages(None);
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

    /// Tells the console that we leave; what it has for us may still come.
    pub(super) fn leave(&mut self, reason: Reason) {
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

    fn write_console(&mut self) {
        if self.typed.is_empty() {
            self.go_on_with_file();
        }
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
                let mut bytes = &buffer[..count];
                self.offset += count as u64;
                self.skip(&mut bytes);
                if let Some(replay) = &mut self.replay {
                    replay.take(&mut bytes);
                    self.draw_replay();
                }
                self.screen.show(bytes);
                self.active = Instant::now();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.console_ended = true,
        }
    }

    /// Draws the console's last screen once all is there that it is made of.
    fn draw_replay(&mut self) {
        if let Some(replay) = self.replay.take_if(|replay| replay.is_whole()) {
            self.screen.show(replay.draw().as_bytes());
        }
    }

    fn go_on_with_file(&mut self) {
        let Some(file) = &mut self.sending else {
            return;
        };
        let told = match file.next() {
            Ok(piece) if piece.is_empty() => Some((file.ended(), true)),
            Ok(piece) => {
                self.typed.extend_from_slice(&piece);
                file.progress().map(|text| (text, false))
            }
            Err(error) => Some((error, true)),
        };
        if let Some((text, is_over)) = told {
            self.say(&text);
            if is_over {
                self.sending = None;
            }
        }
    }

    fn take_signals(&mut self) {
        let signals: Vec<i32> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGWINCH => {
                    self.want_size();
                    self.resize_page();
                }
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
    pub(super) fn suspend(&mut self) {
        self.end_pages(None);
        if self.terminal.is_some() {
            self.screen.rest();
        }
        suspend(self.terminal.as_ref());
    }

    pub(super) fn say(&mut self, text: &str) {
        self.screen.say(self.id, text);
    }
}
