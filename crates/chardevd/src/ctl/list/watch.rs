//! The list, shown anew again and again.

use std::io::{self, Write as _};
use std::time::Duration;

use chardev_qapi::Json;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{isatty, tcgetwinsize};

use super::{Args, entries, shown_of, table};
use crate::ctl::commands::print_bytes;
use crate::ctl::connect::Target;
use crate::ctl::failure::Failure;
use crate::ctl::table::cut;
use crate::ctl::waiting::timespec;

/// Shows it every `pause`, until nobody reads it.
pub(super) fn watch(target: &Target, args: &Args, pause: Duration) -> Result<(), Failure> {
    let mut monitor = target.private(|_| Ok(()))?;
    let is_terminal = isatty(io::stdout());
    loop {
        let entries = entries(target, &mut monitor)?;
        let text = match (args.json, is_terminal) {
            (true, _) => format!("{}\n", Json::Array(entries)),
            (false, true) => screen(&shown_of(entries, args)),
            (false, false) => table(&shown_of(entries, args)).text(None) + "\n",
        };
        if !print_bytes(text.as_bytes())? || !is_read(pause)? {
            return Ok(());
        }
    }
}

/// The table over what is on the screen, as much of it as fits.
fn screen(entries: &[Json]) -> String {
    let size = tcgetwinsize(io::stdout()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 1);
    let (cols, rows) = size.map_or((80, 24), |size| (size.ws_col, size.ws_row));
    let (cols, rows) = (usize::from(cols), usize::from(rows));
    let lines = table(entries).lines(Some(cols));
    let hidden = (lines.len() + 1).saturating_sub(rows);
    let shown = lines.len() - hidden.min(lines.len());
    let mut text = "\x1b[H".to_owned();
    for line in &lines[..shown] {
        text += &format!("{}\x1b[K\n", cut(line, cols));
    }
    if hidden > 0 {
        text += &format!("… and {hidden} more\x1b[K");
    }
    text + "\x1b[J"
}

/// Waits for `pause`; `false` if nobody reads what we print any more.
fn is_read(pause: Duration) -> Result<bool, Failure> {
    let stdout = io::stdout();
    let _ = stdout.lock().flush();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut fds, Some(&timespec(pause))) {
        Ok(0) | Err(Errno::INTR) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) => Err(format!("poll: {error}").into()),
    }
}
