//! How `ringbuf-read` and `ringbuf-write` put bytes into text.

use chardev_qapi::{Json, unicode};

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
pub fn decode(text: &str, format: Format) -> Result<Vec<u8>, String> {
    match format {
        Format::Utf8 => Ok(unicode::encode(text)),
        Format::Base64 => decode_base64(text),
    }
}

/// What `ringbuf-read` returns for `bytes`.
///
/// Text ends at the first NUL, and each invalid sequence in it becomes U+FFFD.
pub fn encode(bytes: &[u8], format: Format) -> Json {
    match format {
        Format::Utf8 => {
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            Json::Str(unicode::decode_lossy(&bytes[..end]))
        }
        Format::Base64 => Json::Str(encode_base64(bytes)),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut group = [0; 4];
    let mut filled = 0;
    for c in text.bytes().filter(|&c| c != b'\n') {
        if sextet(c).is_none() {
            return Err("Base64 data contains invalid characters".to_owned());
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
        assert_eq!(
            encode(&[0, 1, 2, 3], Format::Base64),
            Json::from("AAECAw==")
        );
        assert_eq!(encode(b"abc", Format::Base64), Json::from("YWJj"));
        assert_eq!(encode(b"ab", Format::Base64), Json::from("YWI="));
    }

    #[test]
    fn utf8_ends_at_nul_and_marks_what_is_broken() {
        assert_eq!(encode(b"a\0b", Format::Utf8), Json::from("a"));
        assert_eq!(encode(&[0xc3], Format::Utf8), Json::from("\u{fffd}"));
        assert_eq!(
            decode("a\0b", Format::Utf8),
            Ok(vec![b'a', 0xc0, 0x80, b'b'])
        );
    }
}
