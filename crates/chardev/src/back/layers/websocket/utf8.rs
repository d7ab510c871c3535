//! front → chardev → [back] → host: text that comes in pieces, held against UTF-8.

/// What is known of a text so far: the beginning of its last character, if that is not complete.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    kept: Vec<u8>,
}

impl Utf8 {
    /// Makes of the next piece the characters that are whole by now; `false` if what follows them
    /// cannot become one.
    pub(super) fn filter(&mut self, piece: &mut Vec<u8>) -> bool {
        if !self.kept.is_empty() {
            piece.splice(..0, self.kept.drain(..));
        }
        let Err(error) = std::str::from_utf8(piece) else {
            return true;
        };
        self.kept = piece.split_off(error.valid_up_to());
        error.error_len().is_none()
    }

    /// Whether the text may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_judged_the_same_however_it_is_cut() {
        let texts: [(&[u8], usize); 7] = [
            ("aé€𐍈z".as_bytes(), 11),
            (b"a\xf4\x90\x80\x80", 1),
            (b"\xed\xa0\x80", 0),
            (b"\xc0\xaf", 0),
            (b"ok\x80", 2),
            (b"x\xf0\x90\x8d", 1),
            (b"", 0),
        ];
        for (text, passed) in texts {
            for size in 1..=text.len().max(1) {
                let (mut state, mut all) = (Utf8::default(), Vec::new());
                let takes = text.chunks(size).all(|piece| {
                    let mut piece = piece.to_vec();
                    let right = state.filter(&mut piece);
                    all.extend(piece);
                    right
                });
                let whole = std::str::from_utf8(text).is_ok();
                assert_eq!(takes && state.is_whole(), whole, "{text:?} by {size}");
                assert_eq!(all, text[..passed], "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn what_cannot_become_right_is_refused_at_once() {
        let mut state = Utf8::default();
        assert!(state.filter(&mut b"\xf4".to_vec()));
        assert!(!state.filter(&mut b"\x90".to_vec()));
    }
}
