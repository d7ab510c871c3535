//! The program behind the console: prints numbered lines as fast as it can, and checks the numbered
//! records it reads, until it is told to stop.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::check::END;
use super::numbers::Decimal;
use super::records::{InputCheck, InputFaults, Received};

/// The word in front of the report's file that makes `chardevctl` this program.
pub const COMMAND: &str = "demo-program";
/// How much is printed at once.
const CHUNK: usize = 32 << 10;

/// What the program read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramReport {
    /// What came from each peer, in order.
    pub peers: Vec<Received>,
    /// What was wrong with it.
    pub faults: InputFaults,
    /// How long it waited to print, if it measured that.
    pub waits: Option<Waits>,
}

/// How long a program waited for its transmitter, in a unit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// The longest one.
    pub longest: u64,
    /// How many were longer than what it was told is long.
    pub long: u64,
}

/// Runs on the terminal that is standard input and output; writes its report to the file `report`
/// and then waits for its end.
///
/// # Errors
/// The terminal or the report cannot be used.
pub fn run(report: &Path) -> io::Result<()> {
    make_raw()?;
    let stopped = Arc::new(AtomicBool::new(false));
    let reader = {
        let stopped = Arc::clone(&stopped);
        std::thread::spawn(move || {
            let result = read_records();
            stopped.store(true, Ordering::Release);
            result
        })
    };
    print_lines(&stopped)?;
    let check = reader
        .join()
        .map_err(|_| io::Error::other("the reader panicked"))??;
    let found = ProgramReport {
        peers: check.peers().to_vec(),
        faults: check.faults(),
        waits: None,
    };
    std::fs::OpenOptions::new()
        .write(true)
        .open(report)?
        .write_all(found.to_text().as_bytes())?;
    // Leaving now would hang up the console while its last output is still on the way.
    let mut rest = [0; 512];
    while io::stdin().read(&mut rest)? > 0 {}
    Ok(())
}

fn make_raw() -> io::Result<()> {
    let terminal = io::stdin();
    let mut modes = tcgetattr(terminal.as_fd())?;
    modes.make_raw();
    tcsetattr(terminal.as_fd(), OptionalActions::Now, &modes)?;
    Ok(())
}

fn read_records() -> io::Result<InputCheck> {
    let mut check = InputCheck::default();
    let mut buffer = [0; 16 << 10];
    while !check.is_stopped() {
        let count = match rustix::io::read(io::stdin(), &mut buffer) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if count == 0 {
            break;
        }
        check.push(&buffer[..count]);
    }
    Ok(check)
}

fn print_lines(stopped: &AtomicBool) -> io::Result<()> {
    let mut number = Decimal::default();
    let mut count = 0_u64;
    let mut text = Vec::with_capacity(CHUNK + 64);
    // The lock of the standard output would buffer by line; the descriptor does not.
    let mut output = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    while !stopped.load(Ordering::Acquire) {
        text.clear();
        while text.len() < CHUNK {
            text.extend_from_slice(number.digits());
            text.push(b'\n');
            number.increment();
            count += 1;
        }
        output.write_all(&text)?;
    }
    output.write_all(format!("{END}{count}\n").as_bytes())
}

impl ProgramReport {
    /// The report as text, one fact a line.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for peer in &self.peers {
            text += &format!("peer {} {} {}\n", peer.peer, peer.bytes, peer.records);
        }
        if let Some(Waits { longest, long }) = self.waits {
            text += &format!("waits {longest} {long}\n");
        }
        let InputFaults {
            lost,
            doubled,
            reordered,
            damaged,
        } = self.faults;
        text + &format!("faults {lost} {doubled} {reordered} {damaged}\n")
    }

    /// Reads what [`to_text`](ProgramReport::to_text) wrote.
    ///
    /// # Errors
    /// The text is not a whole report.
    pub fn parse(text: &str) -> Result<ProgramReport, String> {
        let mut report = ProgramReport::default();
        let mut whole = false;
        for line in text.lines() {
            let mut words = line.split(' ');
            let kind = words.next();
            let numbers: Result<Vec<u64>, _> = words.map(str::parse).collect();
            match (kind, numbers.as_deref()) {
                (Some("peer"), Ok([peer, bytes, records])) => report.peers.push(Received {
                    peer: *peer,
                    bytes: *bytes,
                    records: *records,
                }),
                (Some("waits"), Ok([longest, long])) => {
                    report.waits = Some(Waits {
                        longest: *longest,
                        long: *long,
                    });
                }
                (Some("faults"), Ok([lost, doubled, reordered, damaged])) => {
                    report.faults = InputFaults {
                        lost: *lost,
                        doubled: *doubled,
                        reordered: *reordered,
                        damaged: *damaged,
                    };
                    whole = true;
                }
                _ => return Err(format!("the program reported '{line}'")),
            }
        }
        whole
            .then_some(report)
            .ok_or_else(|| "the program's report is cut off".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{ProgramReport, Waits};
    use crate::ctl::demo::records::{InputFaults, Received};

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = ProgramReport {
            peers: vec![
                Received {
                    peer: 0,
                    bytes: 12,
                    records: 2,
                },
                Received {
                    peer: 3,
                    bytes: 7,
                    records: 1,
                },
            ],
            faults: InputFaults {
                lost: 1,
                doubled: 2,
                reordered: 3,
                damaged: 4,
            },
            waits: Some(Waits {
                longest: 9,
                long: 1,
            }),
        };
        assert_eq!(ProgramReport::parse(&report.to_text()), Ok(report));
        assert!(ProgramReport::parse("peer 0 12 2\n").is_err());
        assert!(ProgramReport::parse("peer 0 x 2\nfaults 0 0 0 0\n").is_err());
    }
}
