//! Where messages go.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use chardev::text::{shown, shown_path};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::queue::{Message, word};

use crate::DaemonError;

/// Where the system's log takes messages; journald and every syslog daemon listen there.
const SYSTEM_LOG: &str = "/dev/log";
/// Where the journal takes messages with fields.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Who speaks: a daemon of the system.
const FACILITY: u8 = 3 << 3;

#[derive(Debug)]
pub(super) enum Target {
    /// Standard error.
    Standard,
    /// Standard output.
    Output,
    File(PathBuf, File),
    SystemLog(PathBuf),
    /// systemd's journal, with fields of its own for the console and for what happened.
    Journal(PathBuf),
}

impl Target {
    #[expect(
        clippy::disallowed_methods,
        reason = "the start and a hang-up's own thread may wait"
    )]
    pub(super) fn file(path: &Path) -> Result<Self, DaemonError> {
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags((rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits() as i32)
            .open(path);
        let file = file.map_err(|error| {
            let cause = error.to_string();
            let cause = cause
                .split(" (os error")
                .next()
                .unwrap_or_default()
                .to_owned();
            let text = format!("Could not open log file '{}': {cause}", shown_path(path));
            DaemonError::new(text).because(error)
        })?;
        Ok(Target::File(path.to_owned(), file))
    }

    pub(super) fn system_log() -> Self {
        Target::SystemLog(SYSTEM_LOG.into())
    }

    /// Standard error, or the journal if that is what reads standard error: `JOURNAL_STREAM` says
    /// which file that would be.
    #[expect(clippy::disallowed_methods, reason = "the start may wait")]
    pub(super) fn standard() -> Self {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        let stat = rustix::fs::fstat(rustix::stdio::stderr());
        match stat.is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino)) {
            true => Target::Journal(JOURNAL.into()),
            false => Target::Standard,
        }
    }

    /// Whether this is where the program was told to speak.
    pub(super) fn is_standard(&self) -> bool {
        matches!(self, Target::Standard | Target::Journal(_))
    }

    /// The same file, opened anew.
    pub(super) fn reopened(&self) -> Option<Result<Self, DaemonError>> {
        match self {
            Target::File(path, _) => Some(Target::file(path)),
            _ => None,
        }
    }

    /// How `message` is written there.
    pub(super) fn line(&self, program: &str, colours: bool, message: &Message) -> String {
        if message.is_raw() {
            return message.text.clone();
        }
        let level = match message.level {
            None => String::new(),
            Some(level) if colours => format!("\x1b[{}m{}:\x1b[0m ", colour(level), word(level)),
            Some(level) => format!("{}: ", word(level)),
        };
        let said = format!("{level}{}", message.text);
        match self {
            Target::Standard | Target::Output => format!("{program}: {said}\n"),
            Target::File(..) => {
                let mut time = String::new();
                // Without a time the message is worth writing too.
                let _ = SystemTime.format_time(&mut Writer::new(&mut time));
                format!("{time} {program}: {said}\n")
            }
            Target::SystemLog(_) => {
                let priority = FACILITY | severity(message.level);
                format!("<{priority}>{program}[{}]: {said}", std::process::id())
            }
            Target::Journal(_) => journal_entry(program, message),
        }
    }

    /// Writes a line; may wait for as long as nobody takes it.
    pub(super) fn write(&self, message: &Message, line: &str) -> io::Result<()> {
        match self {
            Target::Standard => write_all(rustix::stdio::stderr(), line.as_bytes()),
            Target::Output => write_all(rustix::stdio::stdout(), line.as_bytes()),
            Target::File(_, file) => write_all(file.as_fd(), line.as_bytes()),
            Target::SystemLog(path) | Target::Journal(path) => {
                let socket = UnixDatagram::unbound()?;
                // A log that is stopped must not keep what is said later.
                socket.set_nonblocking(true)?;
                let sent = socket.send_to(line.as_bytes(), path).map(drop);
                match (self, sent) {
                    (Target::Journal(_), Err(_)) => self.write_plain(message),
                    (_, sent) => sent,
                }
            }
        }
    }

    /// For a journal that cannot be reached by its own socket, and reads standard error.
    fn write_plain(&self, message: &Message) -> io::Result<()> {
        let line = format!("<{}>{}\n", severity(message.level), message.text);
        write_all(rustix::stdio::stderr(), line.as_bytes())
    }

    /// Whether a message that failed so counts as lost: not where there is nobody to tell that.
    pub(super) fn counts(&self, error: &io::Error) -> bool {
        !matches!(self, Target::Output)
            && !matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::NotFound
            )
            && !matches!(self, Target::Standard)
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Somebody else has made it so; it may be shared.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A line for each field; a text of ours has one line.
fn journal_entry(program: &str, message: &Message) -> String {
    let mut entry = format!(
        "MESSAGE={}\nPRIORITY={}\nSYSLOG_IDENTIFIER={program}\n",
        message.text,
        severity(message.level)
    );
    let fields = [("CONSOLE", &message.console), ("EVENT", &message.event)];
    for (name, value) in fields {
        if let Some(value) = value {
            entry.push_str(&format!("{name}={}\n", shown(value)));
        }
    }
    entry
}

fn severity(level: Option<Level>) -> u8 {
    match level {
        None | Some(Level::ERROR) => 3,
        Some(Level::WARN) => 4,
        Some(Level::INFO) => 6,
        Some(_) => 7,
    }
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_its_form() {
        let message = Message::new(Some(Level::WARN), "a\x1b[2J\nb");
        let standard = Target::Standard.line("chardevd", false, &message);
        assert_eq!(standard.matches('\n').count(), 1);
        assert!(standard.starts_with("chardevd: warning: a") && !standard.contains('\x1b'));
        let coloured = Target::Standard.line("chardevd", true, &message);
        assert!(coloured.starts_with("chardevd: \x1b[33mwarning:\x1b[0m a"));
        let system = Target::system_log().line("chardevd", false, &message);
        let start = format!("<28>chardevd[{}]: warning: a", std::process::id());
        assert!(system.starts_with(&start), "{system}");
    }

    #[test]
    fn the_journal_is_told_the_console_and_what_happened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        let target = Target::Journal(path);
        let mut message = Message::new(Some(Level::WARN), "two\nlines");
        message.console = Some("con0\nMESSAGE=forged".to_owned());
        message.event = Some("refused".to_owned());
        let line = target.line("chardevd", true, &message);
        target.write(&message, &line).unwrap();
        let mut buf = [0; 500];
        let count = journal.recv(&mut buf).unwrap();
        let told = str::from_utf8(&buf[..count]).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        let [
            text,
            "PRIORITY=4",
            "SYSLOG_IDENTIFIER=chardevd",
            console,
            "EVENT=refused",
        ] = lines[..]
        else {
            panic!("{told}");
        };
        assert!(text.starts_with("MESSAGE=two") && console.starts_with("CONSOLE=con0"));
    }

    #[test]
    fn the_system_log_gets_a_datagram_and_nobody_waits_for_one_that_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        let target = Target::SystemLog(path);
        let message = Message::new(Some(Level::ERROR), "told");
        let line = target.line("microvm", false, &message);
        target.write(&message, &line).unwrap();
        let mut buf = [0; 100];
        let count = log.recv(&mut buf).unwrap();
        assert_eq!(&buf[..count], line.as_bytes());
        let refused = (0..10_000).find_map(|_| target.write(&message, &line).err());
        assert!(refused.is_some_and(|error| target.counts(&error)));
    }
}
