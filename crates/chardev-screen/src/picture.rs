//! A screen drawn in pixels, as PNG and PPM.

use std::io;

use crate::font::{CELL_HEIGHT, CELL_WIDTH, glyph};
use crate::snapshot::{Cell, Color, Snapshot, Style};

type Rgb = [u8; 3];

/// The colours of text and of what is behind it where no other is set.
const TEXT: Rgb = [0xaa; 3];
const BEHIND: Rgb = [0; 3];
/// The row of pixels that underlines a cell, and the one that strikes it through.
const UNDERLINE: usize = 14;
const STRIKETHROUGH: usize = 8;
/// What stands for a character that the font does not have.
const MISSING: [u8; CELL_HEIGHT] = [
    0, 0, 0x7e, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42, 0x7e, 0, 0,
];

/// A picture of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// Draws all cells, and the cursor as a block, if it is shown.
    pub fn of(shown: &Snapshot) -> Self {
        let size = shown.size();
        let cells = (usize::from(size.cols()), usize::from(size.rows()));
        Picture::sized(shown, cells.0 * CELL_WIDTH, cells.1 * CELL_HEIGHT)
    }

    /// As [`Picture::of`], on a display of so many pixels: what the cells do not fill stays black,
    /// and what has no room is not drawn.
    pub fn sized(shown: &Snapshot, width: usize, height: usize) -> Self {
        let mut picture = Picture {
            width,
            height,
            rgb: vec![0; width * height * 3],
        };
        let cursor = shown.cursor();
        for row in 0..usize::from(shown.size().rows()) {
            let mut before = None;
            for (col, mut cell) in shown.row(row).enumerate() {
                if let (0, Some(style)) = (cell.width, before) {
                    // The second half of a wide character is drawn as the first one is.
                    cell.style = style;
                }
                before = Some(cell.style);
                if cursor.visible && (cursor.col, cursor.row) == (col, row) {
                    cell.style.reverse = !cell.style.reverse;
                }
                picture.draw(col, row, &cell);
            }
        }
        picture
    }

    /// Its width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Its height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The colour of a pixel; black outside.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let place = (x < self.width).then(|| (y * self.width + x) * 3);
        let found = place.and_then(|place| self.rgb.get(place..place + 3));
        found.map_or(BEHIND, |rgb| [rgb[0], rgb[1], rgb[2]])
    }

    /// As a PNG file.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn png(&self) -> io::Result<Vec<u8>> {
        let mut file = Vec::new();
        let length = |pixels| u32::try_from(pixels).map_err(io::Error::other);
        let mut encoder = png::Encoder::new(&mut file, length(self.width)?, length(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        writer.finish()?;
        Ok(file)
    }

    /// As a PPM file, of the kind P6.
    pub fn ppm(&self) -> Vec<u8> {
        let mut file = format!("P6\n{} {}\n255\n", self.width, self.height).into_bytes();
        file.extend_from_slice(&self.rgb);
        file
    }

    fn draw(&mut self, col: usize, row: usize, cell: &Cell) {
        let (text, behind) = colors(&cell.style);
        let (left, top) = (col * CELL_WIDTH, row * CELL_HEIGHT);
        for (y, bits) in (top..self.height).zip(rows(cell)) {
            for x in left..(left + CELL_WIDTH).min(self.width) {
                let ink = bits & (0x80 >> (x - left)) != 0;
                let place = (y * self.width + x) * 3;
                let color = if ink { text } else { behind };
                self.rgb[place..place + 3].copy_from_slice(&color);
            }
        }
    }
}

/// The pixels of a cell.
fn rows(cell: &Cell) -> [u8; CELL_HEIGHT] {
    let mut rows = match cell.width {
        1 => glyph(cell.ch).unwrap_or(MISSING),
        // The font has no wide characters: a frame over both cells.
        2 => MISSING.map(|bits| half(bits, 0x7f, 0x40)),
        _ => MISSING.map(|bits| half(bits, 0xfe, 0x02)),
    };
    if cell.style.underline {
        rows[UNDERLINE] = 0xff;
    }
    if cell.style.strikethrough {
        rows[STRIKETHROUGH] = 0xff;
    }
    rows
}

/// A row of half a frame instead of `bits` of a whole one.
fn half(bits: u8, full: u8, side: u8) -> u8 {
    match bits {
        0 => 0,
        0x7e => full,
        _ => side,
    }
}

fn colors(style: &Style) -> (Rgb, Rgb) {
    let mut text = match style.fg {
        // Bold is bright, as on the consoles that these colours are from.
        Some(Color::Indexed(index @ 0..8)) if style.bold => indexed(index + 8),
        Some(color) => rgb(color),
        None if style.bold => [0xff; 3],
        None => TEXT,
    };
    if style.faint {
        text = text.map(|part| part / 2);
    }
    let behind = style.bg.map_or(BEHIND, rgb);
    match style.reverse {
        true => (behind, text),
        false => (text, behind),
    }
}

fn rgb(color: Color) -> Rgb {
    match color {
        Color::Indexed(index) => indexed(index),
        Color::Rgb(r, g, b) => [r, g, b],
    }
}

/// The 16 colours of a VGA card, but with yellow for brown, as in QEMU; then those of xterm.
fn indexed(index: u8) -> Rgb {
    let bit = |bit: u8| index & bit != 0;
    match index {
        0..16 => {
            let base = if bit(8) { 0x55 } else { 0 };
            [bit(1), bit(2), bit(4)].map(|on| if on { base + 0xaa } else { base })
        }
        16..232 => {
            let step = |part: u8| match part % 6 {
                0 => 0,
                part => 55 + 40 * part,
            };
            let index = index - 16;
            [step(index / 36), step(index / 6), step(index)]
        }
        232.. => [8 + 10 * (index - 232); 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_have_their_numbers() {
        for (index, rgb) in [
            (0, [0, 0, 0]),
            (1, [0xaa, 0, 0]),
            (7, [0xaa; 3]),
            (8, [0x55; 3]),
            (12, [0x55, 0x55, 0xff]),
            (15, [0xff; 3]),
            (16, [0; 3]),
            (21, [0, 0, 255]),
            (196, [255, 0, 0]),
            (231, [255; 3]),
            (232, [8; 3]),
            (255, [238; 3]),
        ] {
            assert_eq!(indexed(index), rgb, "{index}");
        }
    }
}
