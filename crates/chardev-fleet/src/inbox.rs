//! Where whoever has opened a session hears its host.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::session::Id;

/// What the names of inboxes begin with: `_CHARDEV.WHO.SESSION`. Whoever may hear all of `_INBOX`
/// hears nothing of that.
const INBOX: &str = "_CHARDEV";
/// How often it may be said that nobody is there before that is believed: a host may just have
/// another server.
pub(crate) const TRIES: u32 = 2;

/// A session that nobody has had before, and where `who` hears of it.
///
/// # Errors
/// The kernel has no random numbers.
pub(crate) fn new_session(who: &str) -> io::Result<(Id, String)> {
    let mut bytes = [0u8; 16];
    // So few are given whole.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    let id = Id(u128::from_ne_bytes(bytes));
    Ok((id, format!("{INBOX}.{who}.{id}")))
}
