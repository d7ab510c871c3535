//! The machines at the other end of the consoles: numbered lines, to each console in turn.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::sh::Result;
use crate::wait::within;

/// The bytes of a line, with its end.
pub(super) const LINE: usize = 100;
/// The digits of its number, at its beginning.
const DIGITS: usize = 12;

/// Sockets that wait for whoever serves the consoles.
pub(super) struct Listening(Vec<UnixListener>);

/// A connection for each console.
pub(super) struct Feed(Vec<UnixStream>);

impl Feed {
    pub(super) fn listen(sockets: &[PathBuf]) -> Result<Listening> {
        let listener = |path: &PathBuf| {
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        Ok(Listening(
            sockets.iter().map(listener).collect::<Result<_>>()?,
        ))
    }

    /// Sends so many lines to each, one to each in turn, as fast as they are taken.
    pub(super) fn send(&mut self, lines: usize) -> Result {
        for number in 0..lines {
            let line = line(number);
            for console in &mut self.0 {
                console.write_all(&line)?;
            }
        }
        Ok(())
    }
}

impl Listening {
    /// Waits until each console has been connected to.
    pub(super) fn accept(self, limit: Duration) -> Result<Feed> {
        let accept = |listener: UnixListener| {
            let stream = within(limit, || listener.accept().ok());
            let (stream, _) = stream.ok_or("a console was not connected to")?;
            stream.set_nonblocking(false)?;
            Ok(stream)
        };
        Ok(Feed(self.0.into_iter().map(accept).collect::<Result<_>>()?))
    }
}

/// Whether a log has so many lines in their order. What else its server puts there, such as
/// conserver's times, is in lines of its own.
pub(super) fn check(log: &[u8], lines: usize) -> Result {
    let mut number = 0;
    for found in log.split_inclusive(|byte| *byte == b'\n') {
        if found == line(number) {
            number += 1;
        } else if found.first().is_some_and(u8::is_ascii_digit) {
            let found = String::from_utf8_lossy(found);
            return Err(format!("instead of line {number}: {found}").into());
        }
    }
    match number == lines {
        true => Ok(()),
        false => Err(format!("{number} of {lines} lines").into()),
    }
}

fn line(number: usize) -> [u8; LINE] {
    let mut line = [b'x'; LINE];
    line[..DIGITS].copy_from_slice(format!("{number:0DIGITS$}").as_bytes());
    line[LINE - 1] = b'\n';
    line
}
