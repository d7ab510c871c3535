//! A line of an index.

use std::time::Duration;

/// A line of an index: when a line of the log was printed, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The offset of its first byte in all output.
    pub offset: u64,
    /// When it was printed, since the Unix epoch.
    pub time: Duration,
    /// Where it begins in the file.
    pub place: u64,
    /// How many bytes of the output, from `offset` on, the log does not have.
    pub hole: Option<u64>,
}

impl Entry {
    /// Reads a line, without its end.
    pub fn parse(line: &str) -> Option<Entry> {
        let mut words = line.split(' ');
        let offset = words.next()?.parse().ok()?;
        let (seconds, micros) = words.next()?.split_once('.')?;
        let micros: u32 = micros.parse().ok().filter(|micros| *micros < 1_000_000)?;
        let time = Duration::new(seconds.parse().ok()?, micros * 1000);
        let place = words.next()?.parse().ok()?;
        let hole = match words.next() {
            Some("hole") => Some(words.next()?.parse().ok()?),
            _ => None,
        };
        Some(Entry {
            offset,
            time,
            place,
            hole,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Entry;
    use std::time::Duration;

    #[test]
    fn entries_are_read() {
        let time = Duration::new(12, 345_678_000);
        let entry = |hole| Entry {
            offset: 7,
            time,
            place: 9,
            hole,
        };
        assert_eq!(Entry::parse("7 12.345678 9"), Some(entry(None)));
        assert_eq!(Entry::parse("7 12.345678 9 hole 5"), Some(entry(Some(5))));
        assert_eq!(Entry::parse("7 12.345678 9 unindexed 5"), Some(entry(None)));
        for bad in [
            "",
            "7",
            "7 12 9",
            "x 1.0 2",
            "7 12.345678 9 hole",
            "7 12.345678 9 hole x",
            "7 12.9999999999 9",
            "7 12.1000000 9",
        ] {
            assert_eq!(Entry::parse(bad), None, "{bad}");
        }
    }
}
