//! The program behind the console: prints numbered lines as fast as it can, and checks the numbered
//! records it reads, until it is told to stop.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::lines::{Form, Lines};
use crate::records::RecordCheck;
use crate::report::ProgramReport;

/// The word in front of the report's file that makes a program this one.
pub const COMMAND: &str = "demo-program";
/// How much is printed and read at once on a terminal, and on a socket.
const ON_A_TERMINAL: [usize; 2] = [32 << 10, 16 << 10];
const ON_A_SOCKET: [usize; 2] = [256 << 10, 256 << 10];

/// Runs on the terminal that is standard input and output; writes its report to the file `report`
/// and then waits for its end.
///
/// # Errors
/// The terminal or the report cannot be used.
pub fn run(report: &Path) -> io::Result<()> {
    make_raw()?;
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    run_on(input.into(), output.into(), ON_A_TERMINAL, report)
}

/// The same at the other end of a socket, in large pieces.
///
/// # Errors
/// The socket or the report cannot be used.
pub fn run_on_socket(socket: OwnedFd, report: &Path) -> io::Result<()> {
    let output = socket.try_clone()?.into();
    run_on(socket.into(), output, ON_A_SOCKET, report)
}

fn run_on(
    mut input: File,
    output: File,
    [printed, read]: [usize; 2],
    report: &Path,
) -> io::Result<()> {
    let stopped = Arc::new(AtomicBool::new(false));
    let reader = {
        let stopped = Arc::clone(&stopped);
        let input = input.try_clone()?;
        std::thread::spawn(move || {
            let result = read_records(input, read);
            stopped.store(true, Ordering::Release);
            result
        })
    };
    print_lines(output, printed, &stopped)?;
    let found = reader
        .join()
        .map_err(|_| io::Error::other("the reader panicked"))??;
    File::options()
        .write(true)
        .open(report)?
        .write_all(found.to_text().as_bytes())?;
    // Leaving now would hang up the console while its last output is still on the way.
    let mut rest = [0; 512];
    while input.read(&mut rest)? > 0 {}
    Ok(())
}

fn make_raw() -> io::Result<()> {
    let terminal = io::stdin();
    let mut modes = tcgetattr(terminal.as_fd())?;
    modes.make_raw();
    tcsetattr(terminal.as_fd(), OptionalActions::Now, &modes)?;
    Ok(())
}

fn read_records(input: File, at_once: usize) -> io::Result<ProgramReport> {
    let (mut check, mut found) = (RecordCheck::new(), ProgramReport::default());
    let mut done = |peer| found.peers.push(peer);
    let mut buffer = vec![0; at_once];
    while check.end().is_none() {
        let count = match rustix::io::read(&input, &mut buffer) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if count == 0 {
            break;
        }
        check.push(&buffer[..count], &mut done);
    }
    check.finish(&mut done);
    found.faults = check.faults();
    Ok(found)
}

/// The lock of the standard output would buffer by line; the descriptor does not.
fn print_lines(mut output: File, at_once: usize, stopped: &AtomicBool) -> io::Result<()> {
    let mut lines = Lines::new(Form::Plain);
    let mut batch = vec![0; at_once];
    while !stopped.load(Ordering::Acquire) {
        lines.fill(&mut batch);
        output.write_all(&batch)?;
    }
    let mut rest = Vec::new();
    lines.end(&mut |piece| rest.extend_from_slice(piece));
    output.write_all(&rest)
}
