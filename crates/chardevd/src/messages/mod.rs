//! The daemon's messages: to standard error, to a file, or to the system's log.
//!
//! Messages are secondary. Whoever has one puts it into a bounded queue and goes on; a thread
//! writes it, and may wait there for ever, for a pipe that nobody reads or a terminal that is
//! stopped. What the queue has no room for is lost and counted. What repeats is said once and then
//! summed up.

mod layer;
mod limit;
mod queue;
mod target;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use chardev::text::shown_lines;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use layer::Messages;
use queue::{Message, Queue};
use target::Target;

use crate::DaemonError;

/// How long an end waits for a message that is not taken.
const LAST_WORDS: Duration = Duration::from_millis(200);

static ERRORS: Queue = Queue::new("messages");
static OUTPUT: Queue = Queue::new("output");

/// Takes over what is said from here on, for the program called `program`. `filter` is what is said
/// without `RUST_LOG`; with `verbose`, modules are named.
pub fn start(program: &'static str, filter: &str, verbose: bool) {
    ERRORS.begin(program, Target::standard(), wants_colours());
    OUTPUT.begin(program, Target::Output, false);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let messages = Messages { verbose };
    // Somebody else's subscriber may be there already, in a test.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(messages)
        .try_init();
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("?");
            say(Level::ERROR, &format!("thread '{name}': {panic}"));
        }));
    }
}

/// Says something with a level, such as `chardevd: warning: …`.
pub fn say(level: Level, text: &str) {
    ERRORS.push(Message::new(Some(level), text));
}

/// Says why the program ends, on standard error in any case: `chardevd: …`.
pub fn say_last(text: &str) {
    if !ERRORS.is_standard() {
        ERRORS.push(Message::new(Some(Level::ERROR), text));
        finish();
        ERRORS.turn_to(Target::Standard);
    }
    for line in shown_lines(text).to_string().lines() {
        ERRORS.push(Message::new(None, line));
    }
    finish();
}

/// Puts `text` on standard output as it is.
pub fn print(text: &str) {
    OUTPUT.push(Message::raw(text));
}

/// From here on messages go to the file `path`.
///
/// # Errors
/// It cannot be opened.
pub fn to_file(path: &Path) -> Result<(), DaemonError> {
    ERRORS.turn_to(Target::file(path)?);
    Ok(())
}

/// Opens the file of the messages anew, if they go to one, since it may have been renamed.
pub fn reopen() {
    ERRORS.reopen();
}

/// From here on messages go to the system's log, unless they go to a file. Standard output and
/// standard error may be something else by now, and who was stuck there is left behind.
pub fn to_background() {
    if ERRORS.is_standard() {
        ERRORS.turn_to(Target::system_log());
    }
    OUTPUT.turn_to(Target::Output);
}

/// Waits until everything said has been written, or is not being taken.
pub fn finish() {
    OUTPUT.finish(LAST_WORDS);
    ERRORS.finish(LAST_WORDS);
}

/// Whether standard error is to have colours.
fn wants_colours() -> bool {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if value("NO_COLOR").is_some() {
        return false;
    }
    if value("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    io::stderr().is_terminal()
        && value("CLICOLOR").is_none_or(|value| value != "0")
        && value("TERM").is_none_or(|value| value != "dumb")
}
