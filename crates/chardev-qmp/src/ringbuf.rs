//! How `ringbuf-read` and `ringbuf-write` put bytes into text.

use chardev_core::RingBuffer;
use chardev_core::spec::{Expected, ParameterError};
use chardev_qapi::{Json, LazyText, TextSource, unicode};

/// QAPI `DataFormat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text; what is not valid UTF-8 is lost.
    #[default]
    Utf8,
    /// Any bytes.
    Base64,
}

/// The bytes that `ringbuf-write` is to store.
///
/// As in QEMU, U+0000 is stored as C0 80, and base64 may contain newlines and end in an
/// incomplete group, which is dropped.
///
/// # Errors
/// `Base64 data contains invalid characters`
pub fn decode(text: &str, format: Format) -> Result<Vec<u8>, ParameterError> {
    match format {
        Format::Utf8 => Ok(unicode::encode(text)),
        Format::Base64 => decode_base64(text),
    }
}

/// How many bytes of `ring` make up a text of at most `size` bytes.
///
/// A character is not split: one that does not fit any more, or whose last bytes have not come
/// yet, stays in the ring. One that does not fit although it is the first is taken whole, or a
/// client with little room would never get on, and so is what can never be completed because the
/// ring is full.
pub fn text_len(ring: &RingBuffer, size: usize) -> usize {
    let all = ring.len();
    let count = size.min(all);
    let whole = count - begun_at_end(ring, count);
    if whole > 0 || count == 0 {
        return whole;
    }
    let mut bytes = [0; LONGEST];
    let there = ring.peek(0, &mut bytes);
    if begun_at_end(ring, there) == there && there == all && ring.room() > 0 {
        return 0;
    }
    unicode::decode_char(&bytes[..there]).0
}

/// How many bytes at the end of the first `count` bytes are the beginning of a character that has
/// not ended there.
fn begun_at_end(ring: &RingBuffer, count: usize) -> usize {
    let from = count.saturating_sub(LONGEST - 1);
    let mut bytes = [0; LONGEST - 1];
    let there = ring.peek(from, &mut bytes[..count - from]);
    let bytes = &bytes[..there];
    let Some(lead) = bytes.iter().rposition(|byte| byte & 0xc0 != 0x80) else {
        return 0;
    };
    let needed = match bytes[lead] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    let begun = bytes.len() - lead;
    if begun < needed { begun } else { 0 }
}

/// The longest character, in bytes.
const LONGEST: usize = 4;

/// What `ringbuf-read` returns for what was taken out of a ring.
///
/// In text each invalid sequence becomes U+FFFD. What is long is made as it is sent.
pub fn encode(content: RingBuffer, format: Format) -> Json {
    let mut pieces = Pieces { content, format };
    if pieces.content.len() > PIECE {
        return LazyText::new(pieces).into();
    }
    let mut text = String::new();
    while pieces.next_piece(&mut text) {}
    Json::Str(text)
}

/// How many bytes are encoded at once; whole groups of base64.
const PIECE: usize = 48 << 10;

/// The content of a ring as text, piece by piece.
struct Pieces {
    content: RingBuffer,
    format: Format,
}

impl TextSource for Pieces {
    fn next_piece(&mut self, out: &mut String) -> bool {
        let count = match self.format {
            Format::Utf8 => match text_len(&self.content, PIECE) {
                0 => PIECE,
                count => count,
            },
            Format::Base64 => PIECE,
        };
        let bytes = self.content.take(count);
        match self.format {
            Format::Utf8 => match unicode::decode_strict(&bytes) {
                Some(text) => out.push_str(&text),
                None => out.push_str(&unicode::decode_lossy(&bytes)),
            },
            Format::Base64 => out.push_str(&encode_base64(&bytes)),
        }
        !self.content.is_empty()
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn decode_base64(text: &str) -> Result<Vec<u8>, ParameterError> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut group = [0; 4];
    let mut filled = 0;
    for c in text.bytes().filter(|&c| c != b'\n') {
        if sextet(c).is_none() {
            let words = "Base64 data contains invalid characters";
            let expected = Expected::Other("base64");
            return Err(ParameterError::expects("data", expected).shown_as(words));
        }
        group[filled] = c;
        filled += 1;
        if filled == 4 {
            filled = 0;
            let bits = group
                .iter()
                .fold(0, |bits, &c| bits << 6 | sextet(c).unwrap_or(0));
            let [_, first, second, third] = bits.to_be_bytes();
            bytes.push(first);
            if group[2] != b'=' {
                bytes.push(second);
            }
            if group[3] != b'=' {
                bytes.push(third);
            }
        }
    }
    Ok(bytes)
}

/// The six bits of a base64 digit; padding counts as zero wherever it stands.
fn sextet(c: u8) -> Option<u32> {
    Some(u32::from(match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        b'=' => 0,
        _ => return None,
    }))
}

fn encode_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 0x3f;
            let padding = digit > chunk.len();
            text.push(if padding {
                '='
            } else {
                char::from(ALPHABET[index as usize])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_lax_in_and_exact_out() {
        let cases: [(&str, &[u8]); 6] = [
            ("AAECAw==", &[0, 1, 2, 3]),
            ("AAE", &[]),
            ("AA==\n", &[0]),
            ("", &[]),
            ("YQBi", b"a\0b"),
            ("YWJj\nZA==", b"abcd"),
        ];
        for (text, bytes) in cases {
            assert_eq!(
                decode(text, Format::Base64).as_deref(),
                Ok(bytes),
                "{text:?}"
            );
        }
        assert!(decode("!!!!", Format::Base64).is_err());
        let encoded = |bytes: &[u8]| encode(bytes.to_vec().into(), Format::Base64);
        assert_eq!(encoded(&[0, 1, 2, 3]), Json::from("AAECAw=="));
        assert_eq!(encoded(b"abc"), Json::from("YWJj"));
        assert_eq!(encoded(b"ab"), Json::from("YWI="));
    }

    #[test]
    fn text_has_its_nuls_and_marks_what_is_broken() {
        let encoded = |bytes: &[u8]| encode(bytes.to_vec().into(), Format::Utf8);
        assert_eq!(encoded(b"a\0b"), Json::from("a\0b"));
        assert_eq!(encoded(&[0xc3]), Json::from("\u{fffd}"));
        assert_eq!(
            decode("a\0b", Format::Utf8),
            Ok(vec![b'a', 0xc0, 0x80, b'b'])
        );
    }

    #[test]
    fn characters_are_taken_whole() {
        let euro = "€".as_bytes();
        for (content, room, size, taken) in [
            ("日本語".as_bytes(), 9, 4, 3),
            ("日本語".as_bytes(), 9, 9, 9),
            // It does not fit, so it is taken whole.
            ("日本語".as_bytes(), 9, 1, 3),
            ("a日".as_bytes(), 9, 3, 1),
            ("a日".as_bytes(), 9, 4, 4),
            // Its last byte has not come yet, or will never come.
            (&euro[..2], 9, 9, 0),
            (&euro[..2], 9, 1, 0),
            (&euro[..2], 0, 9, 2),
            (&[b'a', 0xf0, 0x9f, 0x98][..], 9, 9, 1),
            (&[0xe2, 0x82, b'x'][..], 9, 1, 2),
            (&[0x80, 0x80, 0x80, 0x80, 0x80][..], 9, 3, 3),
            (&[0xff, 0xff][..], 9, 9, 2),
            (b"", 9, 9, 0),
            (b"ab", 9, 0, 0),
        ] {
            let mut ring = RingBuffer::new(content.len() + room);
            ring.push(content);
            assert_eq!(text_len(&ring, size), taken, "{content:x?} {size}");
        }
    }

    #[test]
    fn long_content_is_the_same_in_pieces() {
        let text = "0123456\0日本語€😀".repeat(9000);
        let mut broken = text.clone().into_bytes();
        broken.extend([0xe2, 0x82]);
        for (bytes, format, expected) in [
            (text.clone().into_bytes(), Format::Utf8, text.clone()),
            (broken, Format::Utf8, text.clone() + "\u{fffd}"),
            (
                text.clone().into_bytes(),
                Format::Base64,
                encode_base64(text.as_bytes()),
            ),
        ] {
            let Json::Lazy(lazy) = encode(bytes.into(), format) else {
                panic!("it is all there at once");
            };
            assert!(lazy.rest() == expected, "{format:?}");
        }
    }
}
