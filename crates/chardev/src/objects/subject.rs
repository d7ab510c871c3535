//! front → chardev → [back] → host: the name in a certificate, spelled as GnuTLS spells it, because
//! that is what lists of who may come are written for.

use std::fmt::Write;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
/// The tags of a certificate's version and of its extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// The extension with the other names of who it is about.
const SUBJECT_ALT_NAME: &[u8] = b"\x55\x1d\x11";

/// Attributes by their object identifiers, in DER.
const NAMES: &[(&[u8], &str)] = &[
    (b"\x55\x04\x03", "CN"),
    (b"\x55\x04\x04", "surName"),
    (b"\x55\x04\x05", "serialNumber"),
    (b"\x55\x04\x06", "C"),
    (b"\x55\x04\x07", "L"),
    (b"\x55\x04\x08", "ST"),
    (b"\x55\x04\x09", "street"),
    (b"\x55\x04\x0a", "O"),
    (b"\x55\x04\x0b", "OU"),
    (b"\x55\x04\x0c", "title"),
    (b"\x55\x04\x11", "postalCode"),
    (b"\x55\x04\x29", "name"),
    (b"\x55\x04\x2a", "givenName"),
    (b"\x55\x04\x2b", "initials"),
    (b"\x55\x04\x2c", "generationQualifier"),
    (b"\x55\x04\x2e", "dnQualifier"),
    (b"\x55\x04\x41", "pseudonym"),
    (b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01", "UID"),
    (b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19", "DC"),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01", "EMAIL"),
];

/// The subject of `certificate`, in the order it has there; `None` if it is no certificate.
pub fn subject(certificate: &[u8]) -> Option<String> {
    let (SEQUENCE, name, _) = element(from_subject(certificate)?)? else {
        return None;
    };
    spell(name)
}

/// The other names in `certificate`: `DNS:laptop.example`, `email:ann@example`, `URI:…`.
pub fn alternatives(certificate: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let Some(mut rest) = alternative_names(certificate) else {
        return names;
    };
    while let Some((tag, content, more)) = element(rest) {
        rest = more;
        let prefix = match tag {
            0x81 => "email",
            0x82 => "DNS",
            0x86 => "URI",
            _ => continue,
        };
        // These are ASCII; what is not is nobody's name.
        if let Some(text) = std::str::from_utf8(content).ok().filter(|it| it.is_ascii()) {
            names.push(format!("{prefix}:{text}"));
        }
    }
    names
}

/// The content of the extension that has them.
fn alternative_names(certificate: &[u8]) -> Option<&[u8]> {
    // Subject and public key.
    let mut rest = element(element(from_subject(certificate)?)?.2)?.2;
    let extensions = loop {
        let (tag, content, more) = element(rest)?;
        if tag == EXTENSIONS {
            break content;
        }
        rest = more;
    };
    let (SEQUENCE, mut rest, _) = element(extensions)? else {
        return None;
    };
    loop {
        let (SEQUENCE, extension, more) = element(rest)? else {
            return None;
        };
        rest = more;
        let (OBJECT, oid, mut value) = element(extension)? else {
            return None;
        };
        if value.first() == Some(&BOOLEAN) {
            value = element(value)?.2;
        }
        if oid == SUBJECT_ALT_NAME {
            let (OCTETS, value, _) = element(value)? else {
                return None;
            };
            let (SEQUENCE, names, _) = element(value)? else {
                return None;
            };
            return Some(names);
        }
    }
}

/// What a certificate says from its subject on.
fn from_subject(certificate: &[u8]) -> Option<&[u8]> {
    let (SEQUENCE, certificate, _) = element(certificate)? else {
        return None;
    };
    let (SEQUENCE, mut rest, _) = element(certificate)? else {
        return None;
    };
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, signature, issuer, validity.
    for _ in 0..4 {
        rest = element(rest)?.2;
    }
    Some(rest)
}

fn spell(mut name: &[u8]) -> Option<String> {
    let mut text = String::new();
    while !name.is_empty() {
        let (SET, mut parts, rest) = element(name)? else {
            return None;
        };
        name = rest;
        if !text.is_empty() {
            text.push(',');
        }
        let mut first = true;
        while !parts.is_empty() {
            let (SEQUENCE, part, rest) = element(parts)? else {
                return None;
            };
            parts = rest;
            if !std::mem::take(&mut first) {
                text.push('+');
            }
            spell_part(part, &mut text)?;
        }
    }
    Some(text)
}

fn spell_part(part: &[u8], text: &mut String) -> Option<()> {
    let (OBJECT, oid, value) = element(part)? else {
        return None;
    };
    let (tag, content, _) = element(value)?;
    let known = NAMES.iter().find(|(known, _)| *known == oid);
    match known {
        Some((_, name)) => text.push_str(name),
        None => dotted(oid, text)?,
    }
    text.push('=');
    match known.and_then(|_| decode(tag, content)) {
        Some(plain) => escape(&plain, text),
        None => {
            text.push('#');
            for byte in value {
                let _ = write!(text, "{byte:02x}");
            }
        }
    }
    Some(())
}

/// A string of one of the types that X.509 has.
fn decode(tag: u8, content: &[u8]) -> Option<String> {
    match tag {
        // UTF8String, NumericString, PrintableString, TeletexString, IA5String, VisibleString.
        0x0c | 0x12 | 0x13 | 0x14 | 0x16 | 0x1a => String::from_utf8(content.to_vec()).ok(),
        // BMPString.
        0x1e if content.len() % 2 == 0 => {
            let units = content.chunks_exact(2);
            let units = units.map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

fn escape(plain: &str, text: &mut String) {
    let last = plain.chars().count().saturating_sub(1);
    for (at, c) in plain.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '\0');
        let at_an_end = (at == 0 && matches!(c, ' ' | '#')) || (at == last && c == ' ');
        if special || at_an_end {
            text.push('\\');
        }
        match c {
            '\0' => text.push_str("00"),
            c => text.push(c),
        }
    }
}

/// An object identifier in numbers.
fn dotted(oid: &[u8], text: &mut String) -> Option<()> {
    let mut numbers = Vec::new();
    let mut number = 0u64;
    for byte in oid {
        number = number
            .checked_mul(128)?
            .checked_add(u64::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            numbers.push(std::mem::take(&mut number));
        }
    }
    let (first, others) = numbers.split_first()?;
    let top = (first / 40).min(2);
    let _ = write!(text, "{top}.{}", first - 40 * top);
    for number in others {
        let _ = write!(text, ".{number}");
    }
    Some(())
}

/// The element that `bytes` begin with: its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = length
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut all = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length @ ..0x80) => all.push(length),
            _ => {
                all.push(0x82);
                all.extend((content.len() as u16).to_be_bytes());
            }
        }
        all.extend_from_slice(content);
        all
    }

    fn part(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        tlv(SEQUENCE, &[tlv(OBJECT, oid), tlv(tag, value)].concat())
    }

    /// A certificate, as far as its name.
    fn certificate(name: &[Vec<u8>], version: bool) -> Vec<u8> {
        let name = tlv(SEQUENCE, &name.concat());
        let version = if version {
            tlv(VERSION, b"v")
        } else {
            Vec::new()
        };
        let before = [
            tlv(2, b"1"),
            tlv(0x30, b""),
            tlv(0x30, b"issuer"),
            tlv(0x30, b""),
        ];
        let body = [version, before.concat(), name, tlv(0x30, b"key")].concat();
        tlv(
            SEQUENCE,
            &[tlv(SEQUENCE, &body), tlv(3, b"signature")].concat(),
        )
    }

    /// What QEMU 10.0 was seen to hold against its lists for a certificate with this name.
    #[test]
    fn a_name_is_spelled_as_by_gnutls() {
        let one = |oid: &[u8], tag, value: &[u8]| tlv(SET, &part(oid, tag, value));
        let two = [
            part(b"\x55\x04\x0b", 0x0c, b"x"),
            part(b"\x55\x04\x0a", 0x0c, b"Example, Org"),
        ];
        let name = [
            one(b"\x55\x04\x06", 0x13, b"GB"),
            one(b"\x55\x04\x08", 0x0c, b"London"),
            tlv(SET, &two.concat()),
            one(b"\x55\x04\x03", 0x0c, b"laptop \\#1.example.com"),
            one(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01", 0x16, b"a@b"),
        ];
        let expected =
            "C=GB,ST=London,OU=x+O=Example\\, Org,CN=laptop \\\\#1.example.com,EMAIL=a@b";
        for version in [true, false] {
            let found = subject(&certificate(&name, version));
            assert_eq!(found.as_deref(), Some(expected));
        }
        assert_eq!(subject(&certificate(&[], true)).as_deref(), Some(""));
    }

    #[test]
    fn what_has_no_name_or_no_text_is_shown_in_numbers() {
        let name = [tlv(SET, &part(b"\x2a\x03\x88\x37", 0x0c, b"ab"))];
        let found = subject(&certificate(&name, true));
        assert_eq!(found.as_deref(), Some("1.2.3.1079=#0c026162"));
        let name = [tlv(
            SET,
            &part(b"\x55\x04\x03", 0x1e, &[0, b'a', 0x20, 0xac]),
        )];
        assert_eq!(subject(&certificate(&name, true)).as_deref(), Some("CN=a€"));
        let name = [tlv(SET, &part(b"\x55\x04\x03", 0x0c, b"\xff"))];
        assert_eq!(
            subject(&certificate(&name, true)).as_deref(),
            Some("CN=#0c01ff")
        );
    }

    /// Nobody who has cut or spoilt one is taken for somebody, or ends us.
    #[test]
    fn what_is_no_certificate_has_no_name() {
        let name = [tlv(SET, &part(b"\x55\x04\x03", 0x0c, &[b'x'; 200]))];
        let whole = certificate(&name, true);
        for end in 0..whole.len() {
            assert_eq!(subject(&whole[..end]), None, "{end}");
            assert!(alternatives(&whole[..end]).is_empty(), "{end}");
            let mut spoilt = whole.clone();
            spoilt[end] ^= 0x80;
            let _ = (subject(&spoilt), alternatives(&spoilt));
        }
    }
}
