//! Where in the output somebody wants to begin, as it is written in a query.

use chardev::ViewFrom;

use crate::error::Failure;

/// Reads `OFFSET`, `-N`, `now` or `oldest`.
pub(crate) fn read(text: &str) -> Result<ViewFrom, Failure> {
    let from = match text {
        "now" => Some(ViewFrom::Now),
        "oldest" => Some(ViewFrom::Oldest),
        _ => match text.strip_prefix('-') {
            Some(count) => number(count).map(ViewFrom::Last),
            None => number(text).map(ViewFrom::Offset),
        },
    };
    from.ok_or_else(|| Failure::bad("'from' has to be an offset, -N, now or oldest"))
}

/// Digits alone, not what else Rust takes for a number.
fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        for (text, from) in [
            ("now", ViewFrom::Now),
            ("oldest", ViewFrom::Oldest),
            ("0", ViewFrom::Offset(0)),
            ("18446744073709551615", ViewFrom::Offset(u64::MAX)),
            ("-7", ViewFrom::Last(7)),
        ] {
            assert_eq!(read(text).ok(), Some(from), "{text}");
        }
        for wrong in [
            "",
            "-",
            "+1",
            "-+1",
            "1.0",
            "Now",
            "18446744073709551616",
            "--1",
            " 1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
