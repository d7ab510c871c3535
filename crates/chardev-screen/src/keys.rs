//! What keys say: names of keys in, bytes out, by the layout of a keyboard of the USA.

/// The keys that change what others say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modifiers {
    /// Shift, on either side.
    pub shift: bool,
    /// Control, on either side.
    pub ctrl: bool,
    /// Alt, on either side.
    pub alt: bool,
}

impl Modifiers {
    /// The number that stands for them in a sequence of xterm's; 1 is none.
    fn number(self) -> u8 {
        1 + u8::from(self.shift) + 2 * u8::from(self.alt) + 4 * u8::from(self.ctrl)
    }
}

/// A keyboard whose keys are pressed and let go one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keyboard {
    held: Held,
    caps_lock: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    shift: [bool; 2],
    ctrl: [bool; 2],
    alt: [bool; 2],
}

impl Keyboard {
    /// The modifiers that are held.
    pub fn modifiers(&self) -> Modifiers {
        let either = |keys: [bool; 2]| keys[0] || keys[1];
        Modifiers {
            shift: either(self.held.shift),
            ctrl: either(self.held.ctrl),
            alt: either(self.held.alt),
        }
    }

    /// The key called `name` is pressed or let go; returns what a terminal sends for it.
    /// `application` is the form of the cursor keys. A name that is none says nothing.
    pub fn key(&mut self, name: &str, down: bool, application: bool) -> Vec<u8> {
        let held = &mut self.held;
        let (keys, side) = match name {
            "shift" => (&mut held.shift, 0),
            "shift_r" => (&mut held.shift, 1),
            "ctrl" => (&mut held.ctrl, 0),
            "ctrl_r" => (&mut held.ctrl, 1),
            "alt" => (&mut held.alt, 0),
            "alt_r" => (&mut held.alt, 1),
            "caps_lock" => {
                self.caps_lock ^= down;
                return Vec::new();
            }
            _ if !down => return Vec::new(),
            _ => return self.press(name, application),
        };
        keys[side] = down;
        Vec::new()
    }

    fn press(&self, name: &str, application: bool) -> Vec<u8> {
        let modifiers = self.modifiers();
        if let Some(bytes) = special(name, modifiers, application) {
            return bytes;
        }
        let Some((plain, shifted)) = printable(name) else {
            return Vec::new();
        };
        let shift = modifiers.shift ^ (self.caps_lock && plain.is_ascii_lowercase());
        let mut byte = if shift { shifted } else { plain };
        if modifiers.ctrl {
            byte = control(byte);
        }
        match modifiers.alt {
            true => vec![0x1b, byte],
            false => vec![byte],
        }
    }
}

/// A character with Control held; one that has no control character stays as it is.
fn control(byte: u8) -> u8 {
    match byte {
        b'@'..=b'_' | b'a'..=b'z' => byte & 0x1f,
        b' ' | b'2' => 0,
        b'/' | b'-' => 0x1f,
        b'3'..=b'7' => byte - b'3' + 0x1b,
        b'8' | b'?' => 0x7f,
        other => other,
    }
}

/// What a key prints, without Shift and with it.
fn printable(name: &str) -> Option<(u8, u8)> {
    const PAIRS: [(&str, &[u8; 2]); 22] = [
        ("minus", b"-_"),
        ("equal", b"=+"),
        ("bracket_left", b"[{"),
        ("bracket_right", b"]}"),
        ("semicolon", b";:"),
        ("apostrophe", b"'\""),
        ("grave_accent", b"`~"),
        ("backslash", b"\\|"),
        ("comma", b",<"),
        ("dot", b".>"),
        ("slash", b"/?"),
        ("less", b"<>"),
        ("asterisk", b"**"),
        ("spc", b"  "),
        ("kp_divide", b"//"),
        ("kp_multiply", b"**"),
        ("kp_subtract", b"--"),
        ("kp_add", b"++"),
        ("kp_decimal", b".."),
        ("kp_comma", b",,"),
        ("kp_equals", b"=="),
        ("lf", b"\n\n"),
    ];
    let digits = b")!@#$%^&*(";
    match name.as_bytes() {
        [letter @ b'a'..=b'z'] => return Some((*letter, letter.to_ascii_uppercase())),
        [digit @ b'0'..=b'9'] => return Some((*digit, digits[usize::from(digit - b'0')])),
        [b'k', b'p', b'_', digit @ b'0'..=b'9'] => return Some((*digit, *digit)),
        _ => {}
    }
    let pair = PAIRS.iter().find(|(own, _)| *own == name);
    pair.map(|(_, [plain, shifted])| (*plain, *shifted))
}

/// Keys that say more than a character, as VT220 and xterm have them.
fn special(name: &str, modifiers: Modifiers, application: bool) -> Option<Vec<u8>> {
    let number = modifiers.number();
    let letter = |letter: char, ss3: bool| match (number, ss3) {
        (1, true) => format!("\x1bO{letter}"),
        (1, false) => format!("\x1b[{letter}"),
        _ => format!("\x1b[1;{number}{letter}"),
    };
    let tilde = |code: u8| match number {
        1 => format!("\x1b[{code}~"),
        _ => format!("\x1b[{code};{number}~"),
    };
    // Alt comes as an escape before what the key says.
    let byte = |byte: &str| match modifiers.alt {
        true => format!("\x1b{byte}"),
        false => byte.to_owned(),
    };
    let text = match name {
        "ret" | "kp_enter" => byte("\r"),
        "esc" => byte("\x1b"),
        "tab" if modifiers.shift => "\x1b[Z".to_owned(),
        "tab" => byte("\t"),
        "backspace" if modifiers.ctrl => byte("\x08"),
        "backspace" => byte("\x7f"),
        "up" => letter('A', application),
        "down" => letter('B', application),
        "right" => letter('C', application),
        "left" => letter('D', application),
        // As QEMU's consoles and Linux's own say these two.
        "home" => tilde(1),
        "insert" => tilde(2),
        "delete" => tilde(3),
        "end" => tilde(4),
        "pgup" => tilde(5),
        "pgdn" => tilde(6),
        "f1" => letter('P', true),
        "f2" => letter('Q', true),
        "f3" => letter('R', true),
        "f4" => letter('S', true),
        _ => match name
            .strip_prefix('f')
            .and_then(|number| number.parse().ok())
        {
            Some(key @ 5_u8..=20) => tilde(function_key(key)),
            _ => return None,
        },
    };
    Some(text.into_bytes())
}

/// The number of a function key in its sequence, which leaves some out.
fn function_key(key: u8) -> u8 {
    key + match key {
        ..6 => 10,
        6..11 => 11,
        11..15 => 12,
        15..17 => 13,
        _ => 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the last of `keys` says with the others held.
    fn said(keys: &str) -> String {
        let mut keyboard = Keyboard::default();
        let all = keys.split('-').map(|key| keyboard.key(key, true, false));
        String::from_utf8(all.last().unwrap()).unwrap()
    }

    #[test]
    fn keys_say_what_a_terminal_sends() {
        for (keys, bytes) in [
            ("a", "a"),
            ("shift-a", "A"),
            ("shift_r-1", "!"),
            ("shift-0", ")"),
            ("ctrl-c", "\x03"),
            ("ctrl_r-shift-c", "\x03"),
            ("ctrl-spc", "\0"),
            ("ctrl-bracket_right", "\x1d"),
            ("ctrl-4", "\x1c"),
            ("alt-x", "\x1bx"),
            ("alt-ctrl-x", "\x1b\x18"),
            ("caps_lock-a", "A"),
            ("caps_lock-shift-a", "a"),
            ("caps_lock-1", "1"),
            ("ret", "\r"),
            ("kp_enter", "\r"),
            ("kp_7", "7"),
            ("backspace", "\x7f"),
            ("tab", "\t"),
            ("shift-tab", "\x1b[Z"),
            ("esc", "\x1b"),
            ("up", "\x1b[A"),
            ("ctrl-left", "\x1b[1;5D"),
            ("shift-home", "\x1b[1;2~"),
            ("delete", "\x1b[3~"),
            ("f1", "\x1bOP"),
            ("f5", "\x1b[15~"),
            ("f6", "\x1b[17~"),
            ("f10", "\x1b[21~"),
            ("f12", "\x1b[24~"),
            ("shift-f12", "\x1b[24;2~"),
            ("less", "<"),
            ("apostrophe", "'"),
            ("volumeup", ""),
            ("shift", ""),
            ("nosuch", ""),
        ] {
            assert_eq!(said(keys), bytes, "{keys}");
        }
        assert_eq!(Keyboard::default().key("up", true, true), b"\x1bOA");
    }

    #[test]
    fn what_is_let_go_says_nothing_and_holds_nothing() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.key("ctrl", true, false), b"");
        assert_eq!(keyboard.key("ctrl_r", true, false), b"");
        assert_eq!(keyboard.key("ctrl", false, false), b"");
        assert_eq!(keyboard.key("c", true, false), b"\x03");
        assert_eq!(keyboard.key("c", false, false), b"");
        assert_eq!(keyboard.key("ctrl_r", false, false), b"");
        assert_eq!(keyboard.key("c", true, false), b"c");
    }
}
