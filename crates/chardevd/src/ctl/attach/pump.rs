//! The attached terminal's loop: keyboard to console, console to screen, one thread, never waiting
//! for one while the other could go on.

use std::io::{self, IsTerminal};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use chardev::text::{shown, shown_lines};
use chardev_qapi::Object;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use signal_hook::consts::signal::{SIGCONT, SIGTSTP, SIGWINCH};

use super::Signals;
use super::escape::{Escape, Step, key_name};
use super::request::Request;
use super::terminal::{Output, RawTerminal};
use super::wait::{Waiting, resume, suspend};
use crate::ctl::connect::Target;

/// The most bytes on their way in one direction.
const BUFFER: usize = 64 << 10;
/// How long the console's last output may take after we have left.
const LEAVING: Duration = Duration::from_secs(2);

/// Everything the loop works on.
pub(super) struct Pump<'a> {
    target: &'a Target,
    id: &'a str,
    console: UnixStream,
    terminal: Option<RawTerminal>,
    output: Output,
    signals: Signals,
    key: Option<u8>,
    escape: Escape,
    /// Typed, for the console.
    typed: Vec<u8>,
    /// From the console, for the screen.
    shown: Vec<u8>,
    input_ended: bool,
    console_ended: bool,
    output_ended: bool,
    /// Set when we leave: what is still on its way has until then.
    leaving: Option<Instant>,
    /// When something last came from the console or went to it.
    active: Instant,
    idle: Duration,
    size_wanted: bool,
    breaks: u32,
    request: Option<(Request, &'static str)>,
    ended_by: Option<i32>,
}

/// Which of the descriptors are ready.
#[derive(Clone, Copy, Debug, Default)]
struct Readiness {
    typed: bool,
    console_in: bool,
    console_out: bool,
    shown: bool,
    signal: bool,
    request: bool,
}

/// A descriptor, what to wait for on it, and where to note that it is ready.
type Want<'fd> = (BorrowedFd<'fd>, PollFlags, fn(&mut Readiness));

impl<'a> Pump<'a> {
    pub(super) fn new(
        target: &'a Target,
        id: &'a str,
        console: UnixStream,
        waiting: Waiting,
        output: Output,
        idle: Duration,
    ) -> Self {
        let Waiting {
            signals,
            terminal,
            key,
            typed,
            ..
        } = waiting;
        let mut pump = Pump {
            target,
            id,
            console,
            size_wanted: terminal.is_some(),
            terminal,
            output,
            signals,
            key,
            escape: Escape::new(key),
            typed: Vec::new(),
            shown: Vec::new(),
            input_ended: false,
            console_ended: false,
            output_ended: false,
            leaving: None,
            active: Instant::now(),
            idle,
            breaks: 0,
            request: None,
            ended_by: None,
        };
        pump.take_typed(&typed);
        pump
    }

    /// Runs to the end; the signal that ended it, if one did.
    pub(super) fn run(mut self) -> Result<Option<i32>, String> {
        resume(self.terminal.as_ref(), RawTerminal::make_raw)?;
        match self.key {
            Some(key) => self.say(&format!("attached; {} ? for help", key_name(key))),
            None if self.terminal.is_some() => self.say("attached, without an escape key"),
            None => {}
        }
        while !self.is_over() {
            let ready = self.wait()?;
            if ready.signal {
                self.take_signals()?;
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
                self.write_shown();
            }
            self.talk_to_monitor(ready.request);
            self.leave_if_idle();
        }
        let gone = self.console_ended && self.leaving.is_none();
        // The message belongs on a terminal that is as it was.
        let terminal = self.terminal.take();
        let was_raw = terminal.is_some();
        drop(terminal);
        if was_raw {
            eprintln!(
                "\n[{}: {}]",
                shown(&self.id),
                if gone { "the console ended" } else { "left" }
            );
        }
        Ok(self.ended_by)
    }

    fn is_over(&self) -> bool {
        let flushed = self.shown.is_empty() || self.output_ended;
        let late = self.leaving.is_some_and(|until| Instant::now() >= until);
        (self.console_ended && flushed) || late
    }

    fn wait(&self) -> Result<Readiness, String> {
        let stdin = io::stdin();
        let in_room = self.shown.len() < BUFFER && !self.console_ended;
        let mut want: Vec<Want<'_>> =
            vec![(self.signals.get_read().as_fd(), PollFlags::IN, |ready| {
                ready.signal = true
            })];
        if !self.input_ended && self.leaving.is_none() && self.typed.len() < BUFFER {
            want.push((stdin.as_fd(), PollFlags::IN, |ready| ready.typed = true));
        }
        if in_room {
            want.push((self.console.as_fd(), PollFlags::IN, |ready| {
                ready.console_in = true
            }));
        }
        if !self.typed.is_empty() && !self.console_ended {
            want.push((self.console.as_fd(), PollFlags::OUT, |ready| {
                ready.console_out = true
            }));
        }
        if !self.shown.is_empty() && !self.output_ended {
            want.push((self.output.file().as_fd(), PollFlags::OUT, |ready| {
                ready.shown = true
            }));
        }
        if let Some((request, _)) = &self.request {
            want.push((request.fd(), PollFlags::IN, |ready| ready.request = true));
        }
        let mut fds: Vec<_> = want
            .iter()
            .map(|(fd, flags, _)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let timeout = self.timeout().map(|time| Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Readiness::default()),
            Err(error) => return Err(format!("poll: {error}")),
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
        let idle = self
            .waits_for_silence()
            .then(|| self.idle.saturating_sub(self.active.elapsed()));
        let answer = self.request.is_some().then_some(Duration::from_secs(1));
        [leaving, idle, answer].into_iter().flatten().min()
    }

    /// After the end of standard input only the console's silence ends us.
    fn waits_for_silence(&self) -> bool {
        self.input_ended && self.leaving.is_none() && self.typed.is_empty() && self.shown.is_empty()
    }

    fn leave_if_idle(&mut self) {
        let hung_up = self.input_ended && self.terminal.is_some();
        let silent = self.waits_for_silence() && self.active.elapsed() >= self.idle;
        if self.leaving.is_none() && (hung_up || silent || self.output_ended) {
            self.leave();
        }
    }

    /// Tells the console that we leave; what it has for us may still come.
    fn leave(&mut self) {
        self.leaving.get_or_insert_with(|| Instant::now() + LEAVING);
        if self.typed.is_empty() {
            let _ = self.console.shutdown(Shutdown::Write);
        }
    }

    fn read_typed(&mut self) -> Result<(), String> {
        let mut buffer = [0; 4096];
        let count = match read(io::stdin(), &mut buffer) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            // The terminal hung up.
            Err(Errno::IO) => 0,
            Err(error) => return Err(format!("standard input: {error}")),
        };
        self.active = Instant::now();
        if count == 0 {
            self.input_ended = true;
            return Ok(());
        }
        self.take_typed(&buffer[..count]);
        Ok(())
    }

    fn take_typed(&mut self, mut typed: &[u8]) {
        while let Some(step) = self.escape.next(&mut typed) {
            match step {
                Step::Text(text) => self.typed.extend_from_slice(text),
                Step::Leave => return self.leave(),
                Step::Break => self.breaks = (self.breaks + 1).min(16),
                Step::Help | Step::Unknown => self.help(),
            }
        }
    }

    fn help(&self) {
        if let Some(key) = self.key {
            let key = key_name(key);
            self.say(&format!(
                "{key} then: . or q leave, b break, ? this help, {key} itself"
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
                self.shown.extend_from_slice(&buffer[..count]);
                self.active = Instant::now();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.console_ended = true,
        }
    }

    fn write_shown(&mut self) {
        match write(self.output.file(), &self.shown) {
            Ok(count) => {
                self.shown.drain(..count);
                self.active = Instant::now();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody looks any more: leave, and let the former back end take the output.
            Err(_) => {
                self.output_ended = true;
                self.shown.clear();
            }
        }
    }

    fn take_signals(&mut self) -> Result<(), String> {
        let signals: Vec<i32> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGWINCH => self.size_wanted = self.terminal.is_some(),
                SIGTSTP => suspend(self.terminal.as_ref()),
                SIGCONT => {
                    resume(self.terminal.as_ref(), RawTerminal::make_raw)?;
                    self.size_wanted = self.terminal.is_some();
                }
                _ => {
                    self.ended_by = Some(signal);
                    self.leave();
                }
            }
        }
        Ok(())
    }

    /// Starts the next command to the monitor, or looks after the one under way.
    fn talk_to_monitor(&mut self, readable: bool) {
        if let Some((request, what)) = &mut self.request {
            let Some(result) = request.advance(readable) else {
                return;
            };
            let what = *what;
            self.request = None;
            if let Err(error) = result {
                self.say(&format!("{what} failed: {error}"));
            }
        }
        if self.leaving.is_some() || self.console_ended {
            return;
        }
        let id = Object::new().with("id", self.id);
        let size = self
            .terminal
            .as_ref()
            .filter(|_| self.size_wanted)
            .and_then(RawTerminal::size);
        let (what, command, arguments) = match size {
            Some((cols, rows)) => (
                "window size",
                "x-chardev-set-winsize",
                id.with("cols", cols).with("rows", rows),
            ),
            // A break comes after what was typed before it.
            None if self.breaks > 0 && self.typed.is_empty() => {
                self.breaks -= 1;
                ("break", "chardev-send-break", id)
            }
            None => return,
        };
        self.size_wanted = false;
        match Request::send(self.target, command, arguments) {
            Ok(request) => self.request = Some((request, what)),
            Err(error) => self.say(&format!("{what} failed: {error}")),
        }
    }

    fn say(&self, text: &str) {
        // A raw terminal does not return its carriage; elsewhere that is of no use.
        let id = shown(&self.id);
        match io::stderr().is_terminal() && self.terminal.is_some() {
            true => eprint!("\r[{id}: {}]\r\n", shown(text.replace('\n', "; "))),
            false => eprintln!("[{id}: {}]", shown_lines(text)),
        }
    }
}
