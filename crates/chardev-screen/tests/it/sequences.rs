//! What programs write to terminals, each as tmux shows it.

use chardev_screen::{Screen, Size};

use crate::tmux::{Shown, Tmux};

/// What a terminal is given, by what it does.
const SEQUENCES: &[(&str, &str)] = &[
    ("text", "hello\r\nworld"),
    ("controls", "abc\x08X\r\n\tt\tu\x0b\x0cv\x07w"),
    ("deleted", "a\x7fb"),
    ("wrap", "{80}x{3}y"),
    ("about to wrap, then CR", "{80}x\ry"),
    ("about to wrap, then erased", "{80}x\x1b[K"),
    ("no wrap", "\x1b[?7l{90}xy\x1b[?7hz"),
    ("scrolling", "{30}n"),
    (
        "cursor position",
        "\x1b[5;10Ha\x1b[24;80Hb\x1b[fc\x1b[999;999Hd\x1b[0;0He",
    ),
    (
        "cursor movement",
        "\x1b[10;10H\x1b[3Aa\x1b[2Bb\x1b[5Cc\x1b[4Dd\x1b[Ee\x1b[2Ff\x1b[30Gg\x1b[12dh",
    ),
    (
        "movement stops at the edges",
        "\x1b[99Aa\x1b[99Db\x1b[99Bc\x1b[99Cd",
    ),
    ("HPA", "\x1b[7`a"),
    (
        "save and restore",
        "\x1b[3;3H\x1b7\x1b[10;10Hx\x1b8y\x1b[s\x1b[Hz\x1b[uw",
    ),
    (
        "index and reverse index",
        "\x1b[24;1Ha\x1bDb\x1bEc\x1b[Hd\x1bMe",
    ),
    (
        "scroll region",
        "\x1b[5;10r\x1b[10;1Ha\nb\nc\nd\x1b[5;1He\x1bMf\x1bMg",
    ),
    (
        "below a scroll region",
        "\x1b[5;10r\x1b[20;1Ha\n\n\n\n\n\n\nb",
    ),
    ("a scroll region homes the cursor", "\x1b[9;9Hx\x1b[3;6ry"),
    (
        "a scroll region taller than the screen",
        "{20}l\x1b[3;99r\x1b[24;1Hx\ny",
    ),
    ("no scroll region", "\x1b[9;9Hx\x1b[6;3ry\x1b[5;5rz"),
    (
        "origin mode",
        "\x1b[5;10r\x1b[?6h\x1b[1;1Ha\x1b[3;3Hb\x1b[99;1Hc\x1b[?6l\x1b[1;1Hd",
    ),
    ("scroll up and down", "{20}l\x1b[3Sx\x1b[5Ty"),
    ("insert lines", "{20}l\x1b[5;5H\x1b[3Lx"),
    ("delete lines", "{20}l\x1b[5;5H\x1b[3Mx"),
    (
        "insert lines in a region",
        "{20}l\x1b[4;8r\x1b[6;1H\x1b[9Lx\x1b[7;1H\x1b[My",
    ),
    (
        "insert lines outside a region",
        "{20}l\x1b[4;8r\x1b[12;1H\x1b[2Lx",
    ),
    ("insert characters", "abcdef\x1b[3G\x1b[2@x"),
    ("delete characters", "abcdef\x1b[3G\x1b[2Px"),
    ("erase characters", "abcdef\x1b[3G\x1b[2Xx"),
    (
        "more than there are",
        "abcdef\x1b[3G\x1b[99@x\x1b[2G\x1b[99Py",
    ),
    ("insert mode", "abcdef\x1b[3G\x1b[4hXY\x1b[4lZ"),
    (
        "erase in line",
        "{20}l\x1b[3;3H\x1b[K\x1b[4;3H\x1b[1K\x1b[5;3H\x1b[2K",
    ),
    ("erase below", "{20}l\x1b[10;3H\x1b[J"),
    ("erase above", "{20}l\x1b[10;3H\x1b[1J"),
    ("erase all", "{20}l\x1b[10;3H\x1b[2Jx"),
    (
        "tab stops",
        "\ta\tb\x1b[3g\x1b[5G\x1bH\x1b[20G\x1bH\r\tc\td\te",
    ),
    ("a tab stop cleared", "\x1b[9G\x1b[g\r\ta"),
    ("tabs back and forth", "\t\t\ta\x1b[2Zb\x1b[9Zc"),
    (
        "line drawing",
        "\x1b(0lqqk\x1b(B\r\n\x1b(0x\x1b(B x\r\n\x1b(0mqqj\x1b(Bmqqj",
    ),
    ("line drawing by shifting", "\x1b)0q\x0eq\x0fq"),
    ("wide characters", "中文 ok\r\n{79}x中"),
    ("UTF-8", "Grüße, Ωμέγα, привет ─┼─"),
    ("the alternate screen", "before\x1b[?1049hinside\x1b[5;5Hx"),
    (
        "the alternate screen and back",
        "before\x1b[?1049hin\x1b[5;5Hx\x1b[?1049lafter",
    ),
    ("repetition", "a\x1b[5bb"),
    ("alignment", "x\x1b#8y"),
    ("reset", "\x1b[5;10r\x1b[?6h\x1b[7mx\x1bcy"),
    ("soft reset", "\x1b[5;10r\x1b[4h\x1b[9;9Hx\x1b[!py"),
    (
        "unknown sequences",
        "a\x1b[?2004hb\x1b[>4;1mc\x1b[=1ud\x1b[18;2;3xe\x1b%Gf",
    ),
    (
        "strings",
        "a\x1bP1$qm\x1b\\b\x1b]0;title\x07c\x1b]8;;http://x/\x1b\\d\x1b_app\x1b\\e\x1b^pm\x1b\\f",
    ),
    ("a sequence given up", "a\x1b[12\x18b\x1b[3\x1b[4Gc"),
    ("a control inside a sequence", "ab\x1b[2\rCx"),
    (
        "many parameters",
        "\x1b[1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20mx",
    ),
    ("large numbers", "\x1b[99999;99999Ha\x1b[65535Ab"),
    (
        "colours",
        "\x1b[31ma\x1b[1;44mb\x1b[0;97;100mc\x1b[38;5;200md\x1b[48;2;1;2;3me\x1b[39;49mf",
    ),
    (
        "attributes",
        "\x1b[1ma\x1b[2mb\x1b[22;3mc\x1b[23;4md\x1b[24;5me\x1b[25;7mf\x1b[27;9mg\x1b[mh",
    ),
];

/// `{80}x` stands for eighty of them, `{20}l` for twenty numbered lines.
fn expand(text: &str) -> Vec<u8> {
    let mut all = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (count, behind) = behind.split_once('}').unwrap();
        let count: usize = count.parse().unwrap();
        all.push_str(before);
        let what = behind.chars().next().unwrap();
        match what {
            'l' | 'n' => all.extend((1..=count).map(|number| format!("line {number}\r\n"))),
            ch => all.extend(std::iter::repeat_n(ch, count)),
        }
        rest = &behind[what.len_utf8()..];
    }
    all.push_str(rest);
    all.into_bytes()
}

fn screen(bytes: &[u8]) -> Screen {
    let mut screen = Screen::new(Size::DEFAULT);
    screen.feed_all(bytes);
    screen
}

#[test]
fn sequences_do_what_tmux_makes_of_them() {
    let mut tmux = Tmux::start();
    let mut wrong = Vec::new();
    for (name, text) in SEQUENCES {
        let bytes = expand(text);
        let (ours, mut theirs) = (Shown::by(&screen(&bytes)), tmux.show(&bytes));
        if name.starts_with("line drawing") {
            // It shows these as such only among colours.
            theirs.rows = Shown::by(&tmux.cells()).rows;
        }
        if ours != theirs {
            let rows = ours.rows.iter().zip(&theirs.rows).enumerate();
            let rows: Vec<_> = rows.filter(|(_, (ours, theirs))| ours != theirs).collect();
            let cursors = (ours.cursor, theirs.cursor);
            wrong.push(format!("{name}: {cursors:?}, {rows:?}"));
        }
        let (ours, theirs) = (screen(&bytes).snapshot(), tmux.cells().snapshot());
        for row in 0..24 {
            let cells = ours.row(row).zip(theirs.row(row));
            // How a blank is drawn is not told for all of them.
            let other = cells.filter(|(a, b)| a.ch != ' ' && (a.ch, a.style) != (b.ch, b.style));
            wrong.extend(other.map(|(a, b)| format!("{name}: {a:?} instead of {b:?}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where tmux does otherwise than xterm, or knows nothing: what xterm does.
#[test]
fn sequences_do_what_xterm_makes_of_them() {
    for (text, row, cursor) in [
        (
            "{78}x\r\x1b[79Gab\x1b[Dy",
            format!("{}yb", "x".repeat(78)),
            (79, 0),
        ),
        (
            "{78}x\r\x1b[79Gab\x08y",
            format!("{}yb", "x".repeat(78)),
            (79, 0),
        ),
        ("a\x1b[3ab", "a   b".to_owned(), (5, 0)),
        ("\x1b[2ea\x1b[Hb", "b".to_owned(), (1, 0)),
        ("\x1b[2Ia", format!("{}a", " ".repeat(16)), (17, 0)),
        // Half of a wide character takes the other half with it.
        ("中文\x1b[2Gx\x1b[3Gy", " xy".to_owned(), (3, 0)),
        (
            "中文字\x1b[2G\x1b[X\x1b[5G\x1b[K",
            "  文".to_owned(),
            (4, 0),
        ),
        ("中文字\x1b[2G\x1b[P", " 文字".to_owned(), (1, 0)),
        ("中文\x1b[2G\x1b[@x", " x 文".to_owned(), (2, 0)),
        // Not xterm's: a cell has room for one character.
        ("e\u{301}x", "ex".to_owned(), (2, 0)),
    ] {
        let shown = Shown::by(&screen(&expand(text)));
        assert_eq!((&shown.rows[0], shown.cursor), (&row, cursor), "{text:?}");
    }
}

#[test]
fn it_answers_what_it_is_asked() {
    for (asked, answers) in [
        ("\x1b[5n", "\x1b[0n"),
        ("\x1b[6n", "\x1b[1;1R"),
        ("\x1b[3;4H\x1b[6n", "\x1b[3;4R"),
        ("\x1b[999;999H\x1b[6n", "\x1b[24;80R"),
        ("{80}x\x1b[6n", "\x1b[1;80R"),
        ("\x1b[?6n", "\x1b[?1;1;1R"),
        ("\x1b[c", "\x1b[?6c"),
        ("\x1b[0c", "\x1b[?6c"),
        ("\x1bZ", "\x1b[?6c"),
        ("\x1b[>c", "\x1b[>0;0;0c"),
        ("\x1b[18t", "\x1b[8;24;80t"),
        ("\x1b[c\x1b[5n", "\x1b[?6c\x1b[0n"),
        ("\x1b[1c", ""),
        ("\x1b[?1;2c", ""),
        ("\x1b[0n", ""),
        ("\x1b[7;1R", ""),
        ("\x1b[6 n", ""),
        ("\x1b[66666666666666n", ""),
        ("\x1b[6\x18n", ""),
        ("\x1bP6n\x1b\\", ""),
        ("\x1b]6n\x07", ""),
        ("Z", ""),
    ] {
        let mut screen = screen(&expand(asked));
        let said = String::from_utf8(screen.take_answers()).unwrap();
        assert_eq!(said, answers, "{asked:?}");
        assert_eq!(screen.take_answers(), b"");
    }
}

#[test]
fn it_has_the_title_that_was_given_last() {
    for (text, title) in [
        ("", ""),
        ("\x1b]0;one\x07", "one"),
        ("\x1b]2;one\x1b\\\x1b]2;two; three\x07", "two; three"),
        ("\x1b]1;icon\x07", ""),
        ("\x1b]2;given up\x18", ""),
        ("\x1b]2;not over", ""),
        ("\x1b]2;Gr\u{fc}\u{df}e\x07", "Grüße"),
        ("\x1b]2;one\x07\x1b]2;\x07", ""),
        ("\x1b]22;no\x07", ""),
    ] {
        assert_eq!(
            screen(text.as_bytes()).snapshot().title(),
            title,
            "{text:?}"
        );
    }
}
