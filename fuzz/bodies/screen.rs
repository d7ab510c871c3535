//! What must hold for a console's screen, whatever is written to it and however that is cut.

use chardev_screen::{ANSWERS_LIMIT, Picture, Screen, Size, Snapshot, TITLE_LIMIT};

/// The first two bytes are the size, the third says how what follows is cut.
pub(crate) fn run(data: &[u8]) {
    let [cols, rows, cut, said @ ..] = data else {
        return;
    };
    let (cols, rows) = (1 + usize::from(*cols) % 40, 1 + usize::from(*rows) % 12);
    let size = Size::new(cols, rows).unwrap_or(Size::DEFAULT);
    let (mut whole, mut pieces) = (Screen::new(size), Screen::new(size));
    feed(&mut whole, said);
    for piece in said.chunks(usize::from(*cut).max(1)) {
        feed(&mut pieces, piece);
    }
    let shown = whole.snapshot();
    assert_eq!(shown, pieces.snapshot(), "the screen depends on the cut");
    let answers = whole.take_answers();
    assert!(answers.len() <= ANSWERS_LIMIT);
    assert_eq!(answers, pieces.take_answers(), "answers depend on the cut");
    check(&shown);
    if let Ok(text) = std::str::from_utf8(said) {
        let mut middle = (0..=text.len() / 2).rev();
        let middle = middle.find(|at| text.is_char_boundary(*at));
        let (before, behind) = text.split_at(middle.unwrap_or(0));
        let (mut first, mut again) = (Screen::new(size), Screen::new(size));
        feed(&mut first, before.as_bytes());
        feed(&mut again, first.redraw().as_bytes());
        feed(&mut again, behind.as_bytes());
        assert_eq!(
            shown,
            again.snapshot(),
            "it goes on otherwise where it is drawn again"
        );
    }
}

/// Each call takes something, whatever work it is.
fn feed(screen: &mut Screen, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let count = screen.feed(bytes);
        assert!(count > 0);
        bytes = &bytes[count..];
    }
}

fn check(shown: &Snapshot) {
    let (cols, rows) = (
        usize::from(shown.size().cols()),
        usize::from(shown.size().rows()),
    );
    assert!(shown.cursor().col < cols && shown.cursor().row < rows);
    assert!(shown.title().chars().count() <= TITLE_LIMIT);
    for row in 0..rows {
        let widths: Vec<u8> = shown.row(row).map(|cell| cell.width).collect();
        assert_eq!(widths.len(), cols);
        for (col, width) in widths.iter().enumerate() {
            match width {
                // A wide character has both its halves.
                2 => assert_eq!(widths.get(col + 1), Some(&0)),
                0 => assert!(col > 0 && widths[col - 1] == 2),
                width => assert_eq!(*width, 1),
            }
        }
        let runs = shown.runs(row);
        assert!(runs.iter().all(|run| run.width > 0));
        let ends = runs.iter().map(|run| run.col + run.width);
        assert!(ends.max().unwrap_or(0) <= cols);
        assert!(shown.row_text(row).chars().all(|ch| !ch.is_control()));
    }
    assert!(shown.row(rows).next().is_none());
    if cols * rows <= 128 {
        let picture = Picture::of(shown);
        let (width, height) = (picture.width(), picture.height());
        let head = format!("P6\n{width} {height}\n255\n");
        assert_eq!(picture.ppm().len(), head.len() + 3 * width * height);
    }
}
