//! The clock of one daemon, which is moved while it runs: `libfaketime` answers when it asks for
//! the time. Its monotonic clock is left alone, as a host's is when its time is set.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where Debian's package has it.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketime.so.1";

pub(super) struct Clock {
    file: PathBuf,
    path: String,
    days: i64,
}

impl Clock {
    /// One that is right so far.
    pub(super) fn new(dir: &Path) -> Clock {
        let file = dir.join("clock");
        let path = file.to_str().unwrap().to_owned();
        let days = 0;
        let mut clock = Clock { file, path, days };
        clock.set(days);
        clock
    }

    /// What a program that goes by it has in its environment.
    pub(super) fn environment(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", &self.path),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }

    /// Moves it to so many days from the right time.
    pub(super) fn set(&mut self, days: i64) {
        self.days = days;
        // Whoever looks finds a whole text.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{days:+}d\n")).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }

    /// Whether the newest line of a log is of the day that it says, by the log's index.
    pub(super) fn is_seen_by(&self, index: &Path) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let text = std::fs::read_to_string(index).unwrap();
        let mut times = text.lines().filter_map(|line| line.split(' ').nth(1));
        let newest = times.next_back().and_then(|time| time.parse::<f64>().ok());
        newest.is_some_and(|newest| {
            let days = (newest - now.unwrap().as_secs_f64()) / (24.0 * 3600.0);
            days.round() as i64 == self.days
        })
    }
}
