//! Being attached may take as long as the daemon likes; meanwhile keys and signals end the wait.
//!
//! The work is a thread's. Here is what happens beside it: whoever gives up simply leaves it
//! behind.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use signal_hook::consts::signal::{SIGCONT, SIGTSTP, SIGWINCH};

use super::Signals;
use super::escape::{Escape, Step};
use super::terminal::RawTerminal;
use crate::ctl::failure::Failure;

/// The most that is typed ahead.
const BUFFER: usize = 64 << 10;

/// What there is while we wait, and what goes on to the console.
pub(super) struct Waiting {
    pub(super) signals: Signals,
    pub(super) terminal: Option<RawTerminal>,
    pub(super) key: Option<u8>,
    /// Typed ahead, the escape key included.
    pub(super) typed: Vec<u8>,
    escape: Escape,
}

/// How the wait ended.
pub(super) enum Waited<T> {
    /// The work is done.
    Done(T, Waiting),
    /// The user has left, or the terminal has.
    Left,
    /// A signal is to end us; the terminal is as it was.
    Signal(i32),
}

/// What came of a question.
pub(super) enum Key {
    /// This was typed.
    Typed(u8),
    /// The terminal has gone.
    End,
    /// A signal is to end us; the terminal is as it was.
    Signal(i32),
}

impl Waiting {
    /// Waits for a key that is for us.
    pub(super) fn key(&mut self) -> Result<Key, Failure> {
        let failed = |error: io::Error| format!("cannot ask: {error}");
        let (done, _working) = UnixStream::pair().map_err(failed)?;
        loop {
            let [_, signal, typed] = self.wait(&done)?;
            if signal && let Some(signal) = self.take_signals() {
                return Ok(Key::Signal(signal));
            }
            let mut buffer = [0];
            match typed.then(|| read(io::stdin(), &mut buffer)) {
                None | Some(Err(Errno::AGAIN | Errno::INTR)) => {}
                Some(Ok(1..)) => return Ok(Key::Typed(buffer[0])),
                Some(Ok(0) | Err(_)) => return Ok(Key::End),
            }
        }
    }

    /// Waits at `terminal`, if there is one.
    pub(super) fn new(signals: Signals, terminal: Option<RawTerminal>, key: Option<u8>) -> Self {
        Waiting {
            signals,
            terminal,
            key,
            typed: Vec::new(),
            escape: Escape::new(key),
        }
    }

    /// Waits for `work`.
    pub(super) fn run<T: Send + 'static>(
        mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Waited<T>, Failure> {
        let failed = |error: io::Error| format!("cannot begin: {error}");
        let (done, working) = UnixStream::pair().map_err(failed)?;
        let (give, result) = channel();
        let begun = std::thread::Builder::new().spawn(move || {
            let _working = working;
            // Nobody takes it who has given up.
            let _ = give.send(work());
        });
        begun.map_err(failed)?;
        loop {
            let [is_done, signal, typed] = self.wait(&done)?;
            if signal && let Some(signal) = self.take_signals() {
                return Ok(Waited::Signal(signal));
            }
            if typed && self.read_typed()? {
                return Ok(Waited::Left);
            }
            if is_done {
                let result = result.recv();
                let result = result.map_err(|_| "the attaching thread has ended".to_owned())?;
                return Ok(Waited::Done(result, self));
            }
        }
    }

    /// Waits until the work is done, a signal has come or something was typed.
    fn wait(&self, done: &UnixStream) -> Result<[bool; 3], Failure> {
        let stdin = io::stdin();
        let stdin = stdin.as_fd();
        let mut fds = vec![
            PollFd::new(done, PollFlags::IN),
            PollFd::new(self.signals.get_read(), PollFlags::IN),
        ];
        if self.terminal.is_some() && self.typed.len() < BUFFER {
            fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok([false; 3]),
            Err(error) => return Err(format!("poll: {error}").into()),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok([ready(0), ready(1), ready(2)])
    }

    /// The signal that ends us, if one does.
    fn take_signals(&mut self) -> Option<i32> {
        let signals: Vec<i32> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGWINCH => {}
                SIGTSTP => suspend(self.terminal.as_ref()),
                SIGCONT => {
                    // A terminal that hangs up sends this signal too; reading it tells.
                    let _ = resume(self.terminal.as_ref(), RawTerminal::make_patient);
                }
                signal => {
                    self.terminal = None;
                    return Some(signal);
                }
            }
        }
        None
    }

    /// Keeps what was typed for the console; whether it says that the user leaves.
    fn read_typed(&mut self) -> Result<bool, Failure> {
        let mut buffer = [0; 4096];
        let count = match read(io::stdin(), &mut buffer) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(Errno::IO) => 0,
            Err(error) => return Err(format!("standard input: {error}").into()),
        };
        let typed = &buffer[..count];
        self.typed.extend_from_slice(typed);
        let mut rest = typed;
        while let Some(step) = self.escape.next(&mut rest) {
            if step == Step::Leave {
                return Ok(true);
            }
        }
        Ok(count == 0)
    }
}

/// Stops us, with the terminal as it was for whoever uses it meanwhile.
pub(in crate::ctl) fn suspend(terminal: Option<&RawTerminal>) {
    if let Some(terminal) = terminal {
        terminal.restore();
    }
    let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
}

/// Takes the terminal again.
pub(super) fn resume(
    terminal: Option<&RawTerminal>,
    take: impl FnOnce(&RawTerminal) -> io::Result<()>,
) -> Result<(), Failure> {
    let taken = terminal.map_or(Ok(()), take);
    taken.map_err(|error| format!("the terminal: {error}").into())
}
