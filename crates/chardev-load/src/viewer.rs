//! A viewer: what it sees is the output from some offset on, without a hole, until it leaves or is
//! put out since it was too slow.

use std::io::Read;
use std::os::unix::net::UnixStream;

use chardev_qapi::{Json, Object};

use crate::LoadError;
use crate::lines::Lines;
use crate::rig::{Monitor, with_stream};

/// How much a slow one reads at once.
const SIP: usize = 256;

pub(super) struct Viewer {
    pub(super) console: String,
    stream: UnixStream,
    seen: u64,
    slow: bool,
}

impl Viewer {
    /// Begins to look at the console.
    pub(super) fn come(
        monitor: &mut Monitor,
        console: &str,
        slow: bool,
    ) -> Result<Viewer, LoadError> {
        let arguments = Object::new().with("id", console).with("slow", "drop");
        let (stream, answer) = with_stream(monitor, "x-chardev-watch", arguments)?;
        let unblocked = stream.set_nonblocking(true);
        unblocked.map_err(|error| format!("{console}: {error}"))?;
        let seen = answer.get("offset").and_then(Json::as_u64);
        Ok(Viewer {
            console: console.to_owned(),
            stream,
            seen: seen.ok_or("x-chardev-watch: no offset")?,
            slow,
        })
    }

    /// It is slow no more.
    pub(super) fn hurry(&mut self) {
        self.slow = false;
    }

    /// Up to which offset it has seen the output.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Looks at what has come; false once it was put out.
    pub(super) fn look(&mut self, scratch: &mut [u8], viewed: &mut u64) -> Result<bool, LoadError> {
        let most = if self.slow { SIP } else { scratch.len() / 2 };
        let (got, expected) = scratch.split_at_mut(most);
        let count = match self.stream.read(got) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(format!("{}: a viewer: {error}", self.console).into()),
        };
        let (got, expected) = (&got[..count], &mut expected[..count]);
        Lines::from_offset(self.seen).fill(expected);
        if got == expected {
            self.seen += count as u64;
            *viewed += count as u64;
            return Ok(true);
        }
        let at = got
            .iter()
            .zip(&*expected)
            .position(|(got, other)| got != other);
        let at = at.unwrap_or(0);
        // No console prints this: it is what a viewer is told that is put out.
        if got[at] == b'\r' {
            return Ok(false);
        }
        let text = String::from_utf8_lossy(&got[at..(at + 40).min(count)]).into_owned();
        Err(format!(
            "{}: a viewer sees {text:?} at offset {}",
            self.console,
            self.seen + at as u64
        )
        .into())
    }
}
