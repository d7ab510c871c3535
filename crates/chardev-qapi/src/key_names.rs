//! The names of keys, as QMP has them (`QKeyCode`), and the numbers some of them have.

/// All names, in QEMU's order.
#[doc(alias = "QKeyCode")]
#[rustfmt::skip]
pub const KEY_NAMES: &[&str] = &[
    "unmapped", "shift", "shift_r", "alt", "alt_r", "ctrl", "ctrl_r", "menu", "esc", "1", "2", "3",
    "4", "5", "6", "7", "8", "9", "0", "minus", "equal", "backspace", "tab", "q", "w", "e", "r",
    "t", "y", "u", "i", "o", "p", "bracket_left", "bracket_right", "ret", "a", "s", "d", "f", "g",
    "h", "j", "k", "l", "semicolon", "apostrophe", "grave_accent", "backslash", "z", "x", "c", "v",
    "b", "n", "m", "comma", "dot", "slash", "asterisk", "spc", "caps_lock", "f1", "f2", "f3", "f4",
    "f5", "f6", "f7", "f8", "f9", "f10", "num_lock", "scroll_lock", "kp_divide", "kp_multiply",
    "kp_subtract", "kp_add", "kp_enter", "kp_decimal", "sysrq", "kp_0", "kp_1", "kp_2", "kp_3",
    "kp_4", "kp_5", "kp_6", "kp_7", "kp_8", "kp_9", "less", "f11", "f12", "print", "home", "pgup",
    "pgdn", "end", "left", "up", "down", "right", "insert", "delete", "stop", "again", "props",
    "undo", "front", "copy", "open", "paste", "find", "cut", "lf", "help", "meta_l", "meta_r",
    "compose", "pause", "ro", "hiragana", "henkan", "yen", "muhenkan", "katakanahiragana",
    "kp_comma", "kp_equals", "power", "sleep", "wake", "audionext", "audioprev", "audiostop",
    "audioplay", "audiomute", "volumeup", "volumedown", "mediaselect", "mail", "calculator",
    "computer", "ac_home", "ac_back", "ac_forward", "ac_refresh", "ac_bookmarks", "lang1", "lang2",
    "f13", "f14", "f15", "f16", "f17", "f18", "f19", "f20", "f21", "f22", "f23", "f24",
];

/// The keys of a PC's keyboard in the order of their numbers (scancodes of set 1), from 1 on; an
/// empty name is a number that no key has.
#[rustfmt::skip]
const SCANCODES: [&str; 88] = [
    "esc", "1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "minus", "equal", "backspace", "tab",
    "q", "w", "e", "r", "t", "y", "u", "i", "o", "p", "bracket_left", "bracket_right", "ret",
    "ctrl", "a", "s", "d", "f", "g", "h", "j", "k", "l", "semicolon", "apostrophe", "grave_accent",
    "shift", "backslash", "z", "x", "c", "v", "b", "n", "m", "comma", "dot", "slash", "shift_r",
    "kp_multiply", "alt", "spc", "caps_lock", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9",
    "f10", "num_lock", "scroll_lock", "kp_7", "kp_8", "kp_9", "kp_subtract", "kp_4", "kp_5", "kp_6",
    "kp_add", "kp_1", "kp_2", "kp_3", "kp_0", "kp_decimal", "sysrq", "", "less", "f11", "f12",
];

/// Keys that have the number of another one and 128 more, since they came later.
#[rustfmt::skip]
const EXTENDED: [(i64, &str); 18] = [
    (0x9c, "kp_enter"), (0x9d, "ctrl_r"), (0xb5, "kp_divide"), (0xb7, "print"), (0xb8, "alt_r"),
    (0xc6, "pause"), (0xc7, "home"), (0xc8, "up"), (0xc9, "pgup"), (0xcb, "left"),
    (0xcd, "right"), (0xcf, "end"), (0xd0, "down"), (0xd1, "pgdn"), (0xd2, "insert"),
    (0xd3, "delete"), (0xdb, "meta_l"), (0xdc, "meta_r"),
];

/// The name of the key with the number `number`, as QEMU numbers them.
pub fn name_of_scancode(number: i64) -> Option<&'static str> {
    let extended = EXTENDED.iter().find(|(own, _)| *own == number);
    if let Some((_, name)) = extended {
        return Some(name);
    }
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    SCANCODES
        .get(place)
        .copied()
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_of_keys_with_names() {
        for (number, name) in [
            (1, "esc"),
            (2, "1"),
            (0x1e, "a"),
            (0x1c, "ret"),
            (0x39, "spc"),
            (0x3b, "f1"),
            (0x57, "f11"),
            (0x58, "f12"),
            (0xc8, "up"),
            (0x9c, "kp_enter"),
        ] {
            assert_eq!(name_of_scancode(number), Some(name), "{number}");
        }
        for number in [i64::MIN, -1, 0, 0x55, 0x59, 0x7f, 0x80, 0xff, i64::MAX] {
            assert_eq!(name_of_scancode(number), None, "{number}");
        }
        for number in 0..256 {
            let name = name_of_scancode(number);
            assert!(
                name.is_none_or(|name| KEY_NAMES.contains(&name)),
                "{name:?}"
            );
        }
    }
}
