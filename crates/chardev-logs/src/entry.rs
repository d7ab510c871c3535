//! A line of an index.

use std::time::Duration;

use chardev_core::{Landmark, LandmarkKind};

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
    /// It is no line of the log: something happened there.
    pub is_landmark: bool,
}

const MARK: &[u8] = b"mark ";
const CHANGE: &[u8] = b"change ";

impl Entry {
    /// Reads a line, without its end.
    pub fn parse(line: &str) -> Option<Entry> {
        Entry::read(line.as_bytes()).map(|(entry, _)| entry)
    }

    /// The same, and what comes after the three numbers. This is done for every line of all files.
    pub(crate) fn read(line: &[u8]) -> Option<(Entry, &[u8])> {
        let (offset, line) = number(line)?;
        let (seconds, line) = number(line.strip_prefix(b" ")?)?;
        let (micros, line) = number(line.strip_prefix(b".")?)?;
        let micros = u32::try_from(micros).ok().filter(|it| *it < 1_000_000)?;
        let (place, line) = number(line.strip_prefix(b" ")?)?;
        let rest = match line {
            [] => line,
            _ => line.strip_prefix(b" ")?,
        };
        let hole = match rest.strip_prefix(b"hole") {
            Some(count) => Some(number(count.strip_prefix(b" ")?)?.0),
            None => None,
        };
        let entry = Entry {
            offset,
            time: Duration::new(seconds, micros * 1000),
            place,
            hole,
            is_landmark: rest.starts_with(MARK) || rest.starts_with(CHANGE),
        };
        Some((entry, rest))
    }
}

/// The landmark that an entry is, of what comes after its three numbers.
pub(crate) fn landmark(entry: &Entry, rest: &[u8]) -> Option<Landmark> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let what = match (rest.strip_prefix(MARK), rest.strip_prefix(CHANGE)) {
        (Some(mark), _) => {
            let mut parts = mark.splitn(2, |byte| *byte == b'\t').map(text);
            LandmarkKind::Mark {
                text: parts.next().unwrap_or_default(),
                by: parts.next().unwrap_or_default(),
            }
        }
        (None, Some(to)) => LandmarkKind::Change { to: text(to) },
        (None, None) => return None,
    };
    Some(Landmark {
        offset: entry.offset,
        time: entry.time,
        what,
    })
}

/// The number that `bytes` begin with, and what comes after it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    let mut count = 0;
    while let Some(digit) = bytes.get(count).filter(|byte| byte.is_ascii_digit()) {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
        count += 1;
    }
    (count > 0).then(|| (value, &bytes[count..]))
}

#[cfg(test)]
mod tests {
    use super::{Entry, Landmark, LandmarkKind, landmark};
    use std::time::Duration;

    #[test]
    fn entries_are_read() {
        let time = Duration::new(12, 345_678_000);
        let entry = |hole| Entry {
            offset: 7,
            time,
            place: 9,
            hole,
            is_landmark: false,
        };
        assert_eq!(Entry::parse("7 12.345678 9"), Some(entry(None)));
        assert_eq!(Entry::parse("7 12.345678 9 hole 5"), Some(entry(Some(5))));
        assert_eq!(Entry::parse("7 12.345678 9 unindexed 5"), Some(entry(None)));
        assert_eq!(Entry::parse("7 12.345678 9 from later"), Some(entry(None)));
        for bad in [
            "",
            "7",
            "7 12 9",
            "x 1.0 2",
            "7 12.345678 9 hole",
            "7 12.345678 9 hole x",
            "7 12.345678 9x",
            "7 12.9999999999 9",
            "7 12.1000000 9",
            "99999999999999999999 12.345678 9",
        ] {
            assert_eq!(Entry::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn landmarks_are_read() {
        let read = |line: &str| {
            let (entry, rest) = Entry::read(line.as_bytes())?;
            landmark(&entry, rest)
        };
        let expected = |what| Landmark {
            offset: 7,
            time: Duration::new(12, 345_678_000),
            what,
        };
        let mark = |text: &str, by: &str| LandmarkKind::Mark {
            text: text.to_owned(),
            by: by.to_owned(),
        };
        for (line, what) in [
            ("mark it boots\tme, pid 1", mark("it boots", "me, pid 1")),
            ("mark ", mark("", "")),
            (
                "change unix:/a b",
                LandmarkKind::Change {
                    to: "unix:/a b".to_owned(),
                },
            ),
        ] {
            let line = format!("7 12.345678 9 {line}");
            assert!(Entry::parse(&line).is_some_and(|entry| entry.is_landmark));
            assert_eq!(read(&line), Some(expected(what)));
        }
        assert_eq!(read("7 12.345678 9"), None);
    }
}
