//! The font of pictures: Spleen, 8 by 16 pixels.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The width of a cell in pixels.
pub const CELL_WIDTH: usize = 8;
/// The height of a cell in pixels.
pub const CELL_HEIGHT: usize = 16;

/// The rows of a character from above, of which the highest bit is on the left; `None` for one that
/// the font does not have. It has Latin, Cyrillic, some Greek, and all of box drawing.
pub fn glyph(ch: char) -> Option<[u8; CELL_HEIGHT]> {
    static FONT: LazyLock<HashMap<char, [u8; CELL_HEIGHT]>> =
        LazyLock::new(|| read(spleen_font::FONT_8X16).unwrap_or_default());
    FONT.get(&ch).copied()
}

/// Reads a font of the kind PSF 1 with a table of characters. (The reader that comes with the font
/// takes the two bytes of this kind's header for each other.)
fn read(file: &[u8]) -> Option<HashMap<char, [u8; CELL_HEIGHT]>> {
    let (&[0x36, 0x04, mode, height], rest) = file.split_first_chunk()? else {
        return None;
    };
    if usize::from(height) != CELL_HEIGHT || mode & 2 == 0 {
        return None;
    }
    let count = if mode & 1 != 0 { 512 } else { 256 };
    let (glyphs, table) = rest.split_at_checked(count * CELL_HEIGHT)?;
    let mut glyphs = glyphs.chunks_exact(CELL_HEIGHT);
    let mut glyph = glyphs.next();
    let mut font = HashMap::new();
    let mut in_sequence = false;
    for unit in table.chunks_exact(2) {
        match u16::from_le_bytes([unit[0], unit[1]]) {
            0xffff => {
                glyph = glyphs.next();
                in_sequence = false;
            }
            // What follows are characters that make one glyph together.
            0xfffe => in_sequence = true,
            unit if !in_sequence => {
                let ch = char::from_u32(unit.into());
                if let (Some(ch), Some(Ok(rows))) = (ch, glyph.map(TryInto::try_into)) {
                    font.insert(ch, rows);
                }
            }
            _ => {}
        }
    }
    Some(font)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_latin_and_box_drawing() {
        let wanted = (' '..='~').chain('\u{a0}'..='\u{ff}');
        for ch in wanted
            .chain('\u{2500}'..='\u{257f}')
            .chain(['█', '░', '\u{fffd}'])
        {
            assert!(glyph(ch).is_some(), "{ch:?}");
        }
        assert_eq!(glyph('\u{4e00}'), None);
        assert_eq!(glyph('│'), Some([0b0001_1000; 16]));
        assert_eq!(glyph(' '), Some([0; 16]));
        let ink = |ch| glyph(ch).map(|rows| rows.iter().map(|row| row.count_ones()).sum::<u32>());
        assert!(ink('A') > ink('.') && ink('.') > Some(0));
    }

    #[test]
    fn what_is_no_such_font_is_no_font() {
        let file = spleen_font::FONT_8X16;
        assert!(read(file).is_some_and(|font| font.len() > 700));
        for length in [0, 3, 4, 100, 8000] {
            assert!(read(&file[..length]).is_none(), "{length}");
        }
        let mut other = file.to_vec();
        other[3] = 8;
        assert!(read(&other).is_none());
    }
}
