//! Modified UTF-8, the text encoding of QMP: UTF-8 in which U+0000 may be spelled C0 80.

/// Decodes the character at the start of `bytes`.
///
/// Returns how many bytes were read and the character; `None` stands for an invalid or cut
/// sequence, a surrogate, or one of the code points Unicode reserves as noncharacters. For no bytes
/// at all it returns that none were read.
pub fn decode_char(bytes: &[u8]) -> (usize, Option<char>) {
    let Some(&first) = bytes.first() else {
        return (0, None);
    };
    let len = match first {
        0x00..=0x7f => return (1, Some(first as char)),
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        0xf8..=0xfb => 5,
        0xfc..=0xfd => 6,
        _ => return (1, None),
    };
    let mut code = u32::from(first) & (0x7f >> len);
    for at in 1..len {
        match bytes.get(at) {
            Some(byte) if byte & 0xc0 == 0x80 => code = code << 6 | u32::from(byte & 0x3f),
            _ => return (at, None),
        }
    }
    let shortest = [0, 0, 0x80, 0x800, 0x1_0000, 0x20_0000, 0x400_0000][len];
    let nul = code == 0 && len == 2;
    if code < shortest && !nul {
        return (len, None);
    }
    (len, valid_char(code))
}

/// The character with this code point, unless it is a surrogate or a noncharacter.
pub fn valid_char(code: u32) -> Option<char> {
    char::from_u32(code).filter(|&c| !is_noncharacter(c))
}

/// Decodes text strictly; `None` if any of it is invalid.
pub fn decode_strict(bytes: &[u8]) -> Option<String> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Every noncharacter is spelled with a lead byte of EF or above.
        let plain = bytes.iter().all(|&byte| byte < 0xef);
        if plain || !text.chars().any(is_noncharacter) {
            return Some(text.to_owned());
        }
        return None;
    }
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (used, c) = decode_char(rest);
        text.push(c?);
        rest = &rest[used..];
    }
    Some(text)
}

/// Decodes text; what is invalid becomes U+FFFD, one for each broken sequence.
pub fn decode_lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (used, c) = decode_char(rest);
        text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &rest[used..];
    }
    text
}

/// Encodes text as QEMU stores it: U+0000 becomes C0 80.
pub fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0 => bytes.extend_from_slice(&[0xc0, 0x80]),
            byte => bytes.push(byte),
        }
    }
    bytes
}

/// Whether Unicode reserves `c` for ever; QMP takes none of them and sends U+FFFD for them.
pub fn is_noncharacter(c: char) -> bool {
    let code = c as u32;
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_qemu_decodes() {
        assert_eq!(decode_char(b"a"), (1, Some('a')));
        assert_eq!(decode_char(&[0xc0, 0x80]), (2, Some('\0')));
        assert_eq!(decode_char("€".as_bytes()), (3, Some('€')));
        assert_eq!(decode_char("😀".as_bytes()), (4, Some('😀')));
    }

    #[test]
    fn refuses_overlong_cut_and_reserved() {
        assert_eq!(decode_char(&[0xc1, 0x81]), (2, None));
        assert_eq!(decode_char(&[0xe2, 0x82]), (2, None));
        assert_eq!(decode_char(&[0xed, 0xa0, 0x80]), (3, None));
        assert_eq!(decode_char(&[0xef, 0xbf, 0xbf]), (3, None));
        assert_eq!(decode_char(&[0xf8, 0x88, 0x80, 0x80, 0x80]), (5, None));
        assert_eq!(decode_char(&[0xff]), (1, None));
        assert_eq!(decode_strict("a\u{fffe}".as_bytes()), None);
    }

    #[test]
    fn lossy_marks_each_broken_sequence_once() {
        assert_eq!(decode_lossy(&[0xe2, 0x82, b'x', 0xff]), "\u{fffd}x\u{fffd}");
        assert_eq!(encode("a\0b"), [b'a', 0xc0, 0x80, b'b']);
    }
}
