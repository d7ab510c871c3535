//! What a viewer is sent with frames: output with its offset, what is missing, and why it ends.

use super::failure::Failure;

/// The longest line that is no data.
const MAX_LINE: usize = 128;

/// Takes the frames apart, however they are cut.
#[derive(Debug, Default)]
pub(super) struct Frames {
    line: Vec<u8>,
    /// How much of a frame's data is still to come.
    data: u64,
}

/// A frame, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// Output.
    Data(&'a [u8]),
    /// The output between these offsets is missing.
    Gap(u64, u64),
    /// The chardev was removed.
    Removed,
    /// The viewer was too slow, by so many bytes.
    TooSlow(u64),
    /// The viewer may not look any more.
    Revoked,
}

impl Frames {
    /// The next frame from the front of `bytes`; `None` when more must come first.
    ///
    /// # Errors
    /// This is not what a viewer is sent.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Frame<'a>>, Failure> {
        while !bytes.is_empty() {
            if self.data > 0 {
                let most = usize::try_from(self.data).unwrap_or(usize::MAX);
                let (data, rest) = bytes.split_at(most.min(bytes.len()));
                *bytes = rest;
                self.data -= data.len() as u64;
                return Ok(Some(Frame::Data(data)));
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            *bytes = rest;
            self.line.extend_from_slice(line);
            if self.line.len() > MAX_LINE {
                return Err(unknown(&self.line));
            }
            if end.is_none() {
                break;
            }
            let line = std::mem::take(&mut self.line);
            let text = std::str::from_utf8(&line).map_err(|_| unknown(&line))?;
            let words: Vec<&str> = text.split_ascii_whitespace().collect();
            let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
            match (words.first(), number(1), number(2)) {
                (Some(&"data"), Some(_), Some(count)) => self.data = count,
                (Some(&"gap"), Some(from), Some(to)) => return Ok(Some(Frame::Gap(from, to))),
                (Some(&"end"), None, None) if words.get(1) == Some(&"removed") => {
                    return Ok(Some(Frame::Removed));
                }
                (Some(&"end"), None, None) if words.get(1) == Some(&"revoked") => {
                    return Ok(Some(Frame::Revoked));
                }
                (Some(&"end"), None, Some(behind)) if words.get(1) == Some(&"too-slow") => {
                    return Ok(Some(Frame::TooSlow(behind)));
                }
                _ => return Err(unknown(&line)),
            }
        }
        Ok(None)
    }
}

fn unknown(line: &[u8]) -> Failure {
    let line = String::from_utf8_lossy(line);
    format!("unexpected data for a viewer: {line:?}").into()
}

#[cfg(test)]
mod tests {
    use super::{Frame, Frames};

    #[test]
    fn frames_are_taken_apart_however_they_are_cut() {
        let sent =
            b"data 7 4\none\ngap 11 20\ndata 20 3\n\n\nxend too-slow 9\nend removed\nend revoked\n";
        let whole: Vec<&[u8]> = vec![&sent[..]];
        for pieces in [whole, sent.chunks(1).collect(), sent.chunks(5).collect()] {
            let mut frames = Frames::default();
            let (mut data, mut told) = (Vec::new(), String::new());
            for mut piece in pieces {
                while let Some(frame) = frames.next(&mut piece).expect("frames") {
                    match frame {
                        Frame::Data(bytes) => data.extend_from_slice(bytes),
                        other => told += &format!("{other:?} at {}; ", data.len()),
                    }
                }
            }
            assert_eq!(data, b"one\n\n\nx");
            assert_eq!(
                told,
                "Gap(11, 20) at 4; TooSlow(9) at 7; Removed at 7; Revoked at 7; "
            );
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for sent in [
            &b"date 1 2\n"[..],
            b"data x 2\n",
            b"end\n",
            b"\xff\n",
            &[b'x'; 200],
        ] {
            assert!(Frames::default().next(&mut &sent[..]).is_err(), "{sent:?}");
        }
    }
}
