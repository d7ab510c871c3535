//! Where a piece of a stream belongs, and where two streams differ.

use std::ops::Range;

use crate::lines::{Form, PADDED};

/// Where the bytes begin and end in the stream of all padded lines; `None` without a whole line.
/// Line ends may come as CR LF, as terminals write them.
pub fn place(bytes: &[u8]) -> Option<Range<u64>> {
    let bytes: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| *byte != b'\r')
        .collect();
    let numbers: Vec<(usize, u64)> = (0..bytes.len().saturating_sub(PADDED))
        .filter_map(|at| Some((at + 1, number(&bytes[at..])?)))
        .collect();
    let (first, last) = (numbers.first()?, numbers.last()?);
    let begin = (first.1 * PADDED as u64).saturating_sub(first.0 as u64);
    let end = last.1 * PADDED as u64 + (bytes.len() - last.0) as u64;
    Some(begin..end)
}

/// The number of a line that follows the end of another.
fn number(bytes: &[u8]) -> Option<u64> {
    let line = bytes.strip_prefix(b"\n")?.get(..PADDED - 1)?;
    Form::Padded.number(line)
}

/// Where `got` first differs from `expected`, in words; `None` if it does not.
pub fn difference(got: &[u8], expected: &[u8]) -> Option<String> {
    if got == expected {
        return None;
    }
    let at = got.iter().zip(expected).position(|(a, b)| a != b);
    let at = at.unwrap_or(got.len().min(expected.len()));
    let near = |bytes: &[u8]| {
        let part = &bytes[at.saturating_sub(24)..(at + 24).min(bytes.len())];
        String::from_utf8_lossy(part).into_owned()
    };
    Some(format!(
        "{} bytes instead of {}, and they differ at {at}: {:?} instead of {:?}",
        got.len(),
        expected.len(),
        near(got),
        near(expected)
    ))
}

#[cfg(test)]
mod tests {
    use super::{difference, place};

    #[test]
    fn pieces_know_where_they_belong() {
        for (text, expected) in [
            ("0000000000\n0000000001\n", Some(0..22)),
            ("99\n0000000100\r\n00", Some(1097..1113)),
            ("0000", None),
            ("", None),
        ] {
            assert_eq!(place(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn the_first_difference_is_shown() {
        assert_eq!(difference(b"same", b"same"), None);
        for (got, expected, words) in [
            (
                "0\n2\n",
                "0\n1\n",
                "4 bytes instead of 4, and they differ at 2",
            ),
            (
                "0\n",
                "0\n1\n",
                "2 bytes instead of 4, and they differ at 2",
            ),
            (
                "0\n1\n2",
                "0\n1\n",
                "5 bytes instead of 4, and they differ at 4",
            ),
        ] {
            let said = difference(got.as_bytes(), expected.as_bytes()).unwrap();
            assert!(said.starts_with(words), "{said}");
        }
    }
}
