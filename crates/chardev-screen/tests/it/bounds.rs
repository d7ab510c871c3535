//! Whatever it is fed, it neither grows nor takes long.

use chardev_screen::{ANSWERS_LIMIT, Screen, Size, TITLE_LIMIT};

#[test]
fn answers_and_titles_have_their_limits() {
    let mut screen = Screen::new(Size::DEFAULT);
    screen.feed_all(&b"\x1b[6n".repeat(10_000));
    let answers = screen.take_answers();
    assert!(answers.len() <= ANSWERS_LIMIT && answers.len() > ANSWERS_LIMIT - 16);
    // No answer is cut.
    assert_eq!(answers, b"\x1b[1;1R".repeat(answers.len() / 6));
    screen.feed_all(b"\x1b[6n");
    assert_eq!(screen.take_answers(), b"\x1b[1;1R");

    screen.feed_all(b"\x1b]2;");
    screen.feed_all(&"é".repeat(1 << 20).into_bytes());
    screen.feed_all(b"\x07");
    assert_eq!(screen.snapshot().title(), "é".repeat(TITLE_LIMIT));
    screen.feed_all(&b"\x1b[".repeat(1 << 16));
    screen.feed_all(&b"1;".repeat(1 << 20));
    screen.feed_all(b"Hx");
    assert_eq!(screen.snapshot().row_text(0), "x");
}

#[test]
fn much_work_is_done_in_parts() {
    let mut screen = Screen::new(Size::LARGEST);
    for costly in [
        &b"\x1b[2J"[..],
        b"\x1b[65535b",
        b"\x1bc",
        b"\x1b#8",
        b"\x1b[?1049h\x1b[?1049l",
        b"\x1b[S",
        b"\x1b[99L",
        b"\x1b[4hx",
        b"\n",
    ] {
        screen.feed_all(b"\x1bcx");
        let all = costly.repeat(1 << 16);
        let mut count = screen.feed(&all);
        assert!(count > 0 && count < all.len(), "{costly:?}: {count}");
        // Each further part goes on, if by little.
        for _ in 0..3 {
            let more = screen.feed(&all[count..]);
            assert!(more > 0, "{costly:?}");
            count += more;
        }
    }
    // What is usual is taken as it comes.
    let mut screen = Screen::new(Size::DEFAULT);
    let usual = b"a line of a usual length, as they come\r\n".repeat(100);
    assert_eq!(screen.feed(&usual), usual.len());
}

#[test]
fn repetition_is_as_long_as_a_screen_at_most_and_ends_in_the_same_column() {
    for (cols, rows) in [(80, 24), (7, 3), (1, 1), (512, 256)] {
        let size = Size::new(cols, rows).unwrap();
        let (mut repeated, mut printed) = (Screen::new(size), Screen::new(size));
        repeated.feed_all(b"ab\x1b[60000b");
        printed.feed_all(b"ab");
        printed.feed_all(&b"b".repeat(60_000));
        assert_eq!(repeated.snapshot(), printed.snapshot(), "{cols}x{rows}");
    }
}

#[test]
fn sizes_are_of_one_cell_at_least_and_not_large() {
    assert_eq!(Size::new(80, 24), Some(Size::DEFAULT));
    assert_eq!(Size::of_pixels(647, 399), Some(Size::DEFAULT));
    for (cols, rows) in [(0, 24), (80, 0), (513, 24), (80, 257), (usize::MAX, 1)] {
        assert_eq!(Size::new(cols, rows), None, "{cols}x{rows}");
    }
    assert_eq!(Size::of_pixels(7, 100), None);
}
