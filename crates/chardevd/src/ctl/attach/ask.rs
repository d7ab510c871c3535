//! Somebody is there already: the user, if there is one at a terminal, says what to do.

use std::io::Write as _;

use chardev::text::shown_lines;

use super::join::Manner;
use super::wait::{Key, Waiting};
use crate::ctl::failure::{Failure, Status};

/// What the user wants.
pub(super) enum Wish {
    /// To be attached in this manner.
    Join(Manner),
    /// To leave.
    Leave,
    /// A signal is to end us.
    Signal(i32),
}

/// Whether the user can say what to do about it.
pub(super) fn can_help(failure: &Failure, waiting: &Waiting) -> bool {
    failure.status() == Status::Taken && waiting.terminal.is_some()
}

/// Asks what to do about `failure`, which says who is there.
pub(super) fn ask(failure: &Failure, waiting: &mut Waiting) -> Result<Wish, Failure> {
    let who = failure.text().and_then(|text| text.lines().next());
    let who = shown_lines(who.unwrap_or_default());
    let question = format!(
        "chardevctl: {who}\ns to share it, r only to look, f to take it over (they are told), any other key to leave: "
    );
    // Who cannot see it leaves by any key.
    let _ = std::io::stderr().write_all(question.as_bytes());
    let key = waiting.key()?;
    let _ = std::io::stderr().write_all(b"\n");
    Ok(match key {
        Key::Typed(b's') => Wish::Join(Manner::Share),
        Key::Typed(b'r') => Wish::Join(Manner::ReadOnly),
        Key::Typed(b'f') => Wish::Join(Manner::Force),
        Key::Typed(_) | Key::End => Wish::Leave,
        Key::Signal(signal) => Wish::Signal(signal),
    })
}
