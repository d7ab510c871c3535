//! `chardevctl connect --fleet`: standard input and output are the peer of a console.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use chardev::text::shown;
use chardev_fleet::Gate;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::Options;
use super::way::{LIMIT, failure, settings};
use crate::ctl::attach::RawTerminal;
use crate::ctl::commands::print_bytes;
use crate::ctl::failure::{Failure, Status};

/// What ends it on a terminal: Ctrl-].
const ESCAPE: u8 = 0x1d;
/// How long the last bytes may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Carries bytes until one of both ends.
pub(in crate::ctl) fn connect(
    options: &Options,
    timeout: Option<Duration>,
    written: &str,
) -> Result<(), Failure> {
    let Some((host, console)) = written.split_once('/') else {
        let text = format!("'{}' is no console of a fleet", shown(written));
        return Err(Failure::new(Status::Usage, text).with_hint("write HOST/CONSOLE"));
    };
    let limit = timeout.unwrap_or(LIMIT);
    let gate = Gate::open(&settings(options)?, limit).map_err(|blind| failure(&blind))?;
    let opened = gate.peer(host, console, limit);
    let opened = opened.map_err(|blind| failure(&blind))?;
    let gate = Arc::new(gate);
    leave_on_signals(&gate);
    let lost = |error: io::Error| Failure::from(error.to_string());
    let terminal = RawTerminal::enter().map_err(lost)?;
    if let Some(terminal) = &terminal {
        terminal.make_raw().map_err(lost)?;
    }
    let writer = opened.stream.try_clone().map_err(lost)?;
    let (input, is_terminal) = (Arc::new(Input::default()), terminal.is_some());
    let sending = Arc::clone(&input);
    let send = move || sending.send(writer, is_terminal);
    thread::Builder::new().spawn(send).map_err(lost)?;
    let printed = print(opened.stream);
    drop(terminal);
    gate.finish(FAREWELL);
    printed?;
    let written = shown(written);
    if let Some(why) = opened.ended.get() {
        return Err(format!("{written}: {why}").into());
    }
    let left = input.not_taken.load(Ordering::SeqCst);
    if left > 0 {
        let text = format!("{written} goes elsewhere now; it has not taken {left} bytes of input");
        return Err(text.into());
    }
    if !input.is_over.load(Ordering::SeqCst) {
        // Who cannot hear it sees that it has ended.
        let _ = writeln!(io::stderr(), "chardevctl: {written} goes elsewhere now");
    }
    Ok(())
}

/// What has become of standard input.
#[derive(Default)]
struct Input {
    /// The user has left.
    is_over: AtomicBool,
    /// How many bytes were read, and not taken any more.
    not_taken: AtomicUsize,
}

impl Input {
    /// Passes on what is typed; on a terminal also that the user leaves.
    fn send(&self, mut stream: UnixStream, is_terminal: bool) {
        let mut buffer = [0; 16 << 10];
        // What nobody takes is not read any more.
        while let Ok(count @ 1..) = rustix::io::read(io::stdin(), &mut buffer) {
            let typed = &buffer[..count];
            let end = typed.iter().position(|it| is_terminal && *it == ESCAPE);
            let mut left = &typed[..end.unwrap_or(count)];
            while !left.is_empty() {
                match stream.write(left) {
                    Ok(taken) => left = &left[taken..],
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return self.not_taken.store(left.len(), Ordering::SeqCst),
                }
            }
            if end.is_some() {
                break;
            }
        }
        if is_terminal {
            self.is_over.store(true, Ordering::SeqCst);
            // The other end may be no more.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}

/// Passes on what comes, until it ends or nobody reads it.
fn print(mut stream: UnixStream) -> Result<(), Failure> {
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(count) => {
                if !print_bytes(&buffer[..count])? {
                    return Ok(());
                }
            }
        }
    }
}

/// Has the console told when a signal ends the process: it would not notice for half a minute.
fn leave_on_signals(gate: &Arc<Gate>) {
    let Ok(mut signals) = Signals::new([SIGHUP, SIGINT, SIGTERM]) else {
        return;
    };
    let gate = Arc::clone(gate);
    let wait = move || {
        for signal in signals.forever() {
            gate.leave(FAREWELL);
            let _ = emulate_default_handler(signal);
        }
    };
    // Without a thread the signal does what it does.
    let _ = thread::Builder::new().spawn(wait);
}
