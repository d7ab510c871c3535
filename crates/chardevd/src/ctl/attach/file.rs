//! A file on its way to the console.

use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, Instant};

/// The most bytes at a time.
const PIECE: usize = 4096;
/// How often a paced file goes on.
const TICK: Duration = Duration::from_millis(50);
/// How often to say how far it is.
const TELL: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Sending {
    file: File,
    name: String,
    size: u64,
    sent: u64,
    /// Bytes a second, if it is paced.
    pace: Option<u64>,
    /// When it goes on.
    next: Instant,
    told: Instant,
}

impl Sending {
    /// `PATH [BYTES-PER-SECOND]`
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub(super) fn begin(line: &str) -> Result<Self, String> {
        let pace = |text: &str| text.parse::<u64>().ok().filter(|pace| *pace > 0);
        let (name, pace) = match line.rsplit_once(' ') {
            Some((name, last)) if pace(last).is_some() => (name.trim(), pace(last)),
            _ => (line, None),
        };
        let name = match (name.strip_prefix("~/"), std::env::var("HOME")) {
            (Some(rest), Ok(home)) => format!("{home}/{rest}"),
            _ => name.to_owned(),
        };
        let failed = |error: std::io::Error| format!("{name}: {error}");
        let kind = std::fs::metadata(&name).map_err(failed)?;
        if !kind.is_file() {
            return Err(format!("{name} is no regular file"));
        }
        let file = File::open(&name).map_err(failed)?;
        let now = Instant::now();
        Ok(Sending {
            file,
            name,
            size: kind.len(),
            sent: 0,
            pace,
            next: now,
            told: now,
        })
    }

    /// How long it pauses still, if it does.
    pub(super) fn pause(&self) -> Option<Duration> {
        let left = self.next.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// What comes next; nothing at the end.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn next(&mut self) -> Result<Vec<u8>, String> {
        let most = self.pace.map_or(PIECE, |pace| {
            let share = u128::from(pace) * TICK.as_millis() / 1000;
            usize::try_from(share).unwrap_or(PIECE).clamp(1, PIECE)
        });
        let mut piece = vec![0; most];
        let count = self.file.read(&mut piece);
        let count = count.map_err(|error| format!("{}: {error}", self.name))?;
        piece.truncate(count);
        self.sent += count as u64;
        if let Some(pace) = self.pace {
            let micros = count as u64 * 1_000_000 / pace;
            self.next = Instant::now() + Duration::from_micros(micros);
        }
        Ok(piece)
    }

    /// What to say now and then.
    pub(super) fn progress(&mut self) -> Option<String> {
        if self.told.elapsed() < TELL {
            return None;
        }
        self.told = Instant::now();
        let percent = (self.sent * 100).checked_div(self.size).unwrap_or(100);
        Some(format!(
            "{} of {} bytes sent ({percent} %)",
            self.sent, self.size
        ))
    }

    pub(super) fn begun(&self) -> String {
        format!(
            "sending {}, {} bytes; the escape key and s stop it",
            self.name, self.size
        )
    }

    pub(super) fn ended(&self) -> String {
        format!("sent {}, {} bytes", self.name, self.sent)
    }

    pub(super) fn stopped(&self) -> String {
        format!("stopped after {} of {} bytes", self.sent, self.size)
    }
}
