//! What is typed, as what is to be done.

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Enter,
    Back,
    Escape,
    /// Anything else.
    Letter(char),
}

/// Takes keys apart. A sequence comes in one piece from a terminal; an ESC alone is the key.
pub(super) fn read(typed: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let text = String::from_utf8_lossy(typed);
    let mut rest = &text[..];
    while let Some(letter) = rest.chars().next() {
        let known = SEQUENCES
            .iter()
            .find(|(sequence, _)| rest.starts_with(sequence));
        if let Some((sequence, key)) = known {
            keys.push(*key);
            rest = &rest[sequence.len()..];
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        keys.push(match letter {
            '\r' | '\n' => Key::Enter,
            '\x08' | '\x7f' => Key::Back,
            '\x1b' => Key::Escape,
            letter => Key::Letter(letter),
        });
    }
    keys
}

const SEQUENCES: [(&str, Key); 12] = [
    ("\x1b[A", Key::Up),
    ("\x1b[B", Key::Down),
    ("\x1bOA", Key::Up),
    ("\x1bOB", Key::Down),
    ("\x1b[5~", Key::PageUp),
    ("\x1b[6~", Key::PageDown),
    ("\x1b[H", Key::First),
    ("\x1b[F", Key::Last),
    ("\x1bOH", Key::First),
    ("\x1bOF", Key::Last),
    ("\x1b[1~", Key::First),
    ("\x1b[4~", Key::Last),
];

#[cfg(test)]
mod tests {
    use super::{Key, read};

    #[test]
    fn keys_are_taken_apart() {
        let keys = read("\x1b[Aj\x1bOB\rä\x7f\x1b".as_bytes());
        let expected = [
            Key::Up,
            Key::Letter('j'),
            Key::Down,
            Key::Enter,
            Key::Letter('ä'),
            Key::Back,
            Key::Escape,
        ];
        assert_eq!(keys, expected);
    }
}
