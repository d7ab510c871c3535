//! The same bytes make the same screen, however they are cut.

use chardev_screen::{Screen, Size};
use proptest::prelude::*;

/// Pieces of what programs write, so that sequences are met often.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => "[ -~]{0,20}".prop_map(String::into_bytes),
        2 => (0..40_u16, 0..90_u16, "[A-HJ-MPSTX@bcdfghlmnrstu]")
            .prop_map(|(a, b, end)| format!("\x1b[{a};{b}{end}").into_bytes()),
        1 => "\\?(6|7|25|47|1047|1048|1049)[hl]".prop_map(|mode| format!("\x1b[{mode}").into_bytes()),
        1 => "[78DEMHcZ=>]|[()][0B]".prop_map(|end| format!("\x1b{end}").into_bytes()),
        1 => "[\\r\\n\\t\\x08\\x0e\\x0f]{1,4}".prop_map(String::into_bytes),
        1 => "[中文é─\u{301}😀]{1,4}".prop_map(String::into_bytes),
        1 => "\x1b\\]2;[a-zé]{0,9}(\x07|\x1b\\\\|\x18)".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// The same without a broken character, of which nothing is told.
fn text() -> impl Strategy<Value = Vec<u8>> {
    stream().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned().into_bytes())
}

/// Wherever it is cut, what was drawn again takes the rest as the first one would have.
#[test]
fn a_sequence_that_has_only_begun_goes_on_where_it_is_drawn_again() {
    for text in [
        "\x1b[3;4Hx",
        "\x1b[1;38;5;200;4mx",
        "\x1b[?25lx",
        "\x1b[12\r;3Hx",
        "\x1b]2;a title\x07x",
        "\x1b]2;a title\x1b\\x",
        "\x1bP1$qm\x1b\\x",
        "\x1b(0q\x1b(Bq",
        "\u{9b}5Cx",
        "\x1b[5\x1b[6Cx",
        "\x1b[5;\x18x",
    ] {
        for (cut, _) in text.char_indices() {
            let (before, behind) = text.split_at(cut);
            let mut screen = Screen::new(Size::DEFAULT);
            screen.feed_all(before.as_bytes());
            let mut again = Screen::new(Size::DEFAULT);
            again.feed_all(screen.redraw().as_bytes());
            screen.feed_all(behind.as_bytes());
            again.feed_all(behind.as_bytes());
            assert_eq!(
                screen.snapshot(),
                again.snapshot(),
                "{before:?}, {behind:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_cut_is_seen(
        bytes in stream(),
        cuts in proptest::collection::vec(1..9_usize, 1..20),
        cols in 1..90_usize,
        rows in 1..30_usize,
    ) {
        let size = Size::new(cols, rows).unwrap();
        let (mut whole, mut cut) = (Screen::new(size), Screen::new(size));
        whole.feed_all(&bytes);
        let mut rest = &bytes[..];
        for length in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(rest.len().min(*length));
            cut.feed_all(piece);
            rest = behind;
        }
        prop_assert_eq!(whole.take_answers(), cut.take_answers());
        prop_assert_eq!(whole.redraw(), cut.redraw());
        prop_assert_eq!(whole.snapshot(), cut.snapshot());
    }

    #[test]
    fn what_redraws_it_makes_the_same(bytes in text(), more in text()) {
        let mut screen = Screen::new(Size::DEFAULT);
        screen.feed_all(&bytes);
        let mut again = Screen::new(Size::DEFAULT);
        again.feed_all(b"left behind\x1b[3;7r\x1b[4h\x1b(0\x1b[?1049h\x1b[41mx");
        again.feed_all(screen.redraw().as_bytes());
        prop_assert_eq!(screen.snapshot(), again.snapshot());
        // Whatever comes next does the same to both.
        screen.feed_all(&more);
        again.feed_all(&more);
        prop_assert_eq!(screen.snapshot(), again.snapshot());
    }
}
