//! What one back end took of a count: lines of ten digits, each one more than the line before.

const DIGITS: usize = 10;
const LINE: usize = DIGITS + 1;

/// Where the bytes begin and end in the stream of all lines; `None` without a whole line. Line
/// ends may come as CR LF, as terminals write them.
pub(crate) fn range(bytes: &[u8]) -> Option<(u64, u64)> {
    let bytes: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| *byte != b'\r')
        .collect();
    let numbers: Vec<(usize, u64)> = (0..bytes.len().saturating_sub(LINE))
        .filter_map(|at| Some((at + 1, number(&bytes[at..])?)))
        .collect();
    let (first, last) = (numbers.first()?, numbers.last()?);
    let begin = (first.1 * LINE as u64).saturating_sub(first.0 as u64);
    let end = last.1 * LINE as u64 + (bytes.len() - last.0) as u64;
    Some((begin, end))
}

/// The number of a line that follows the end of another.
fn number(bytes: &[u8]) -> Option<u64> {
    let line = bytes.strip_prefix(b"\n")?.get(..DIGITS)?;
    if !line.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(line).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn pieces_know_where_they_belong() {
        for (text, expected) in [
            ("0000000000\n0000000001\n", Some((0, 22))),
            ("99\n0000000100\r\n00", Some((1097, 1113))),
            ("0000", None),
            ("", None),
        ] {
            assert_eq!(range(text.as_bytes()), expected, "{text:?}");
        }
    }
}
