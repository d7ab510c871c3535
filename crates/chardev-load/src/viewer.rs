//! A viewer: what it sees is the output from some offset on, without a hole, until it leaves or is
//! put out since it was too slow.

use std::io::Read;
use std::os::unix::net::UnixStream;

use chardev_qapi::{Json, Object};

use crate::LoadError;
use crate::lines::{Form, Lines};
use crate::rig::{Monitor, with_stream};

/// How much a slow one reads at once.
const SIP: usize = 256;

/// A viewer of one console.
pub struct Viewer {
    pub(crate) console: String,
    form: Form,
    stream: UnixStream,
    seen: u64,
    slow: bool,
}

impl Viewer {
    /// Begins to look at the chardev `console`, which prints lines of this form; a `slow` viewer
    /// reads little at a time.
    ///
    /// # Errors
    /// What the monitor says.
    pub fn come(
        monitor: &mut Monitor,
        console: &str,
        form: Form,
        slow: bool,
    ) -> Result<Viewer, LoadError> {
        let arguments = Object::new().with("id", console).with("slow", "drop");
        let (stream, answer) = with_stream(monitor, "x-chardev-watch", arguments)?;
        let unblocked = stream.set_nonblocking(true);
        unblocked.map_err(|error| format!("{console}: {error}"))?;
        let seen = answer.get("offset").and_then(Json::as_u64);
        Ok(Viewer {
            console: console.to_owned(),
            form,
            stream,
            seen: seen.ok_or("x-chardev-watch: no offset")?,
            slow,
        })
    }

    /// It is slow no more.
    pub fn hurry(&mut self) {
        self.slow = false;
    }

    /// Up to which offset it has seen the output.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Looks at what has come without waiting, a piece of half of `scratch` at most, and adds its
    /// length to `viewed`; false once it was put out.
    ///
    /// # Errors
    /// It sees something else than was printed there.
    pub fn look(&mut self, scratch: &mut [u8], viewed: &mut u64) -> Result<bool, LoadError> {
        let most = if self.slow { SIP } else { scratch.len() / 2 };
        let (got, expected) = scratch.split_at_mut(most);
        let count = match self.stream.read(got) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(format!("{}: a viewer: {error}", self.console).into()),
        };
        let (got, expected) = (&got[..count], &mut expected[..count]);
        Lines::from_offset(self.form, self.seen).fill(expected);
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
