//! Pictures, cell by cell against the font.

use chardev_screen::{CELL_HEIGHT, CELL_WIDTH, Picture, Screen, Size, glyph};

const TEXT: [u8; 3] = [0xaa; 3];
const BLACK: [u8; 3] = [0; 3];

/// The pixels of a cell, row by row.
fn cell(picture: &Picture, col: usize, row: usize) -> Vec<[u8; 3]> {
    let rows = row * CELL_HEIGHT..(row + 1) * CELL_HEIGHT;
    rows.flat_map(|y| {
        let columns = col * CELL_WIDTH..(col + 1) * CELL_WIDTH;
        columns.map(move |x| picture.pixel(x, y))
    })
    .collect()
}

/// A character of the font in two colours.
fn drawn(ch: char, text: [u8; 3], behind: [u8; 3]) -> Vec<[u8; 3]> {
    let rows = glyph(ch).unwrap_or_else(|| panic!("the font has no {ch:?}"));
    let bits = rows
        .into_iter()
        .flat_map(|row| (0..8).map(move |x| row & (0x80 >> x) != 0));
    bits.map(|ink| if ink { text } else { behind }).collect()
}

fn screen(bytes: &str) -> Screen {
    let mut screen = Screen::new(Size::DEFAULT);
    screen.feed_all(bytes.as_bytes());
    screen
}

#[test]
fn every_cell_of_a_png_is_as_in_the_font() {
    let text: String = (' '..='~')
        .chain('\u{a1}'..='\u{ac}')
        .chain('\u{ae}'..='\u{ff}')
        .chain('─'..='╿')
        .collect();
    let shown = screen(&format!("\x1b[?25l{text}")).snapshot();
    let png = Picture::of(&shown).png().unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(png))
        .read_info()
        .unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut rgb).unwrap();
    assert_eq!((info.width, info.height), (640, 384));
    assert_eq!(info.color_type, png::ColorType::Rgb);
    let mut seen = 0;
    for row in 0..24 {
        for (col, here) in shown.row(row).enumerate() {
            let wanted = drawn(here.ch, TEXT, BLACK);
            let pixels = (0..CELL_HEIGHT).flat_map(|y| {
                let start = ((row * CELL_HEIGHT + y) * 640 + col * CELL_WIDTH) * 3;
                rgb[start..start + 3 * CELL_WIDTH].chunks_exact(3)
            });
            assert!(pixels.eq(wanted), "{:?} at {col}, {row}", here.ch);
            seen += usize::from(here.ch != ' ');
        }
    }
    assert_eq!(seen, text.chars().filter(|ch| *ch != ' ').count());
}

#[test]
fn attributes_and_the_cursor_are_drawn() {
    let picture = Picture::of(
        &screen(
            "a\x1b[1mb\x1b[0;31;44mc\x1b[7md\x1b[0;1;32me\x1b[0;4mf\x1b[0;9mg\x1b[0;2mh\x1b[0m",
        )
        .snapshot(),
    );
    let (red, blue) = ([0xaa, 0, 0], [0, 0, 0xaa]);
    for (col, ch, text, behind) in [
        (0, 'a', TEXT, BLACK),
        (1, 'b', [0xff; 3], BLACK),
        (2, 'c', red, blue),
        (3, 'd', blue, red),
        (4, 'e', [0x55, 0xff, 0x55], BLACK),
        (7, 'h', [0x55; 3], BLACK),
        // The cursor.
        (8, ' ', BLACK, TEXT),
        (9, ' ', TEXT, BLACK),
    ] {
        assert!(cell(&picture, col, 0) == drawn(ch, text, behind), "{ch:?}");
    }
    let line = |col, y: usize| cell(&picture, col, 0)[y * 8..y * 8 + 8] == [TEXT; 8];
    assert!(line(5, 14) && !line(5, 8));
    assert!(line(6, 8) && !line(6, 14));
}

#[test]
fn what_the_font_lacks_is_a_frame() {
    let picture = Picture::of(&screen("\x1b[?25l中x\u{2fff}").snapshot());
    let frame: Vec<_> = (0..2).map(|col| cell(&picture, col, 0)).collect();
    let ink = |col: usize, x: usize, y: usize| frame[col][y * 8 + x] == TEXT;
    // The upper edge runs over both cells, the sides are at the ends.
    assert!((1..8).all(|x| ink(0, x, 2)) && (0..7).all(|x| ink(1, x, 2)));
    assert!(ink(0, 1, 7) && !ink(0, 7, 7) && !ink(1, 0, 7) && ink(1, 6, 7));
    assert!(cell(&picture, 2, 0) == drawn('x', TEXT, BLACK));
    assert!(cell(&picture, 3, 0).contains(&TEXT));
}

#[test]
fn a_display_that_is_no_multiple_of_cells_has_a_black_rest() {
    let shown = screen("\x1b[?25l\x1b[41m\x1b[2J").snapshot();
    let picture = Picture::sized(&shown, 645, 390);
    let ppm = picture.ppm();
    assert!(ppm.starts_with(b"P6\n645 390\n255\n"));
    assert_eq!(ppm.len(), 15 + 645 * 390 * 3);
    assert_eq!(picture.pixel(639, 383), [0xaa, 0, 0]);
    assert_eq!(picture.pixel(640, 383), BLACK);
    assert_eq!(picture.pixel(639, 384), BLACK);
    // A display that is smaller shows what it has room for.
    let small = Picture::sized(&shown, 3, 3);
    assert_eq!(small.ppm().len(), 11 + 27);
    assert_eq!(small.pixel(2, 2), [0xaa, 0, 0]);
}
