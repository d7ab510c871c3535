//! The output side: numbered lines, made without memory of their own.

use crate::decimal::{Decimal, parse, parse_padded};

/// The longest line: what comes before the number, twenty digits and a line end.
const LONGEST: usize = 48;
/// How many digits a padded number has.
const DIGITS: usize = 10;
/// How long a line of [`Form::Padded`] is.
pub const PADDED: usize = DIGITS + 1;

/// How the lines of a stream are spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `0`, `1` … `10`; the last line says how many there were: `end 11`.
    #[default]
    Plain,
    /// `0000000000`, `0000000001` …, so that any piece of the stream tells where it is from; the
    /// last line is `END`.
    Padded,
}

/// What a stream's last line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// How many lines there were.
    Count(u64),
    /// Nothing more.
    Bare,
}

impl Form {
    /// How the last line begins.
    fn last_word(self) -> &'static [u8] {
        match self {
            Form::Plain => b"end ",
            Form::Padded => b"END",
        }
    }

    /// The number of a line, without its line end, in the one spelling that is right.
    pub fn number(self, line: &[u8]) -> Option<u64> {
        match self {
            Form::Plain => parse(line),
            Form::Padded => parse_padded(line).filter(|_| line.len() == DIGITS),
        }
    }

    /// What a line, without its line end, says if it is the last one.
    pub fn last(self, line: &[u8]) -> Option<Last> {
        let rest = line.strip_prefix(self.last_word())?;
        match self {
            Form::Plain => parse(rest).map(Last::Count),
            Form::Padded => rest.is_empty().then_some(Last::Bare),
        }
    }

    fn least_digits(self) -> usize {
        match self {
            Form::Plain => 1,
            Form::Padded => DIGITS,
        }
    }
}

/// A line that ends in a number and counts up in place. A machine that emulates its guest takes
/// long for every instruction, so counting and comparing have to make do with few.
#[derive(Clone, Debug)]
pub struct Line {
    text: [u8; LONGEST],
    /// Where the number begins, how many digits it has at least, and where the line ends.
    digits: usize,
    least: usize,
    length: usize,
}

impl Line {
    /// Line 0 of a stream.
    pub fn new(form: Form) -> Self {
        Line::after(&[], form.least_digits())
    }

    /// `prefix`, which has at most 27 bytes, 0 and a line end.
    pub(crate) fn with_prefix(prefix: &[&[u8]]) -> Self {
        Line::after(prefix, 1)
    }

    fn after(prefix: &[&[u8]], least: usize) -> Self {
        let mut line = Line {
            text: [0; LONGEST],
            digits: 0,
            least,
            length: 0,
        };
        for piece in prefix {
            let end = line.digits + piece.len();
            line.text[line.digits..end].copy_from_slice(piece);
            line.digits = end;
        }
        line.set_number(0);
        line
    }

    /// The line, with its line end.
    pub fn text(&self) -> &[u8] {
        &self.text[..self.length]
    }

    /// The number alone.
    pub fn number(&self) -> &[u8] {
        &self.text[self.digits..self.length - 1]
    }

    /// Sets the number.
    pub fn set_number(&mut self, number: u64) {
        let number = Decimal::new(number);
        let digits = number.digits();
        let zeros = self.least.saturating_sub(digits.len());
        let start = self.digits + zeros;
        let end = start + digits.len();
        self.text[self.digits..start].fill(b'0');
        self.text[start..end].copy_from_slice(digits);
        self.text[end] = b'\n';
        self.length = end + 1;
    }

    /// Counts up by one.
    pub fn increment(&mut self) {
        let mut at = self.length - 2;
        while self.text[at] == b'9' {
            self.text[at] = b'0';
            if at == self.digits {
                self.text[at] = b'1';
                self.text[self.length - 1..=self.length].copy_from_slice(b"0\n");
                self.length += 1;
                return;
            }
            at -= 1;
        }
        self.text[at] += 1;
    }
}

/// Writes a stream of lines, in batches that end wherever they are full.
#[derive(Clone, Debug)]
pub struct Lines {
    form: Form,
    /// The line under way, and how much of it was written.
    line: Line,
    used: usize,
}

impl Lines {
    /// The stream, from line 0 on.
    pub fn new(form: Form) -> Self {
        Lines::of(form, Line::new(form))
    }

    /// The stream, from its byte `offset` on.
    pub fn from_offset(form: Form, offset: u64) -> Self {
        let (mut first, mut left) = (0, offset);
        let mut length = form.least_digits() as u64 + 1;
        if form == Form::Plain {
            let mut next = 10;
            while left / length >= next - first {
                left -= (next - first) * length;
                (first, next, length) = (next, next * 10, length + 1);
            }
        }
        let mut line = Line::new(form);
        line.set_number(first + left / length);
        Lines {
            form,
            line,
            used: (left % length) as usize,
        }
    }

    pub(crate) fn of(form: Form, line: Line) -> Self {
        Lines {
            form,
            line,
            used: 0,
        }
    }

    /// Fills `batch` with what comes next.
    pub fn fill(&mut self, batch: &mut [u8]) {
        let mut at = 0;
        while at < batch.len() {
            let rest = &self.line.text()[self.used..];
            let count = rest.len().min(batch.len() - at);
            batch[at..at + count].copy_from_slice(&rest[..count]);
            at += count;
            self.used += count;
            if self.used == self.line.text().len() {
                self.line.increment();
                self.used = 0;
            }
        }
    }

    /// What is missing of the line under way; nothing between two lines.
    pub fn rest_of_line(&self) -> &[u8] {
        match self.used {
            0 => &[],
            used => &self.line.text()[used..],
        }
    }

    /// Completes the line under way and puts the last one behind it.
    pub fn end(mut self, put: &mut dyn FnMut(&[u8])) {
        if self.used > 0 {
            put(self.rest_of_line());
            self.line.increment();
        }
        put(self.form.last_word());
        if self.form == Form::Plain {
            put(self.line.number());
        }
        put(b"\n");
    }
}

/// The lines of these numbers.
#[cfg(feature = "std")]
pub fn text(form: Form, numbers: core::ops::Range<u64>) -> Vec<u8> {
    let mut line = Line::new(form);
    line.set_number(numbers.start);
    let mut text = Vec::new();
    for _ in numbers {
        text.extend_from_slice(line.text());
        line.increment();
    }
    text
}

/// A whole stream of `count` lines, the last one included.
#[cfg(feature = "std")]
pub fn stream(form: Form, count: u64) -> Vec<u8> {
    let mut line = Line::new(form);
    line.set_number(count);
    let mut whole = text(form, 0..count);
    let lines = Lines::of(form, line);
    lines.end(&mut |piece| whole.extend_from_slice(piece));
    whole
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::{Form, Last, Line, Lines};
    use crate::lines;

    #[test]
    fn counts_as_the_standard_library_prints() {
        let (mut plain, mut padded) = (Line::new(Form::Plain), Line::new(Form::Padded));
        for number in 0..12_000_u64 {
            assert_eq!(plain.text(), format!("{number}\n").as_bytes());
            assert_eq!(padded.text(), format!("{number:010}\n").as_bytes());
            assert_eq!(Form::Plain.number(plain.number()), Some(number));
            assert_eq!(Form::Padded.number(padded.number()), Some(number));
            plain.increment();
            padded.increment();
        }
        for number in [0, 9, 99_999, u64::MAX] {
            plain.set_number(number);
            assert_eq!(plain.text(), format!("{number}\n").as_bytes());
        }
    }

    #[test]
    fn a_stream_is_the_same_in_batches_of_every_size() {
        for (form, end) in [(Form::Plain, "end 12\n"), (Form::Padded, "END\n")] {
            for size in 1..40 {
                let (mut writer, mut text) = (Lines::new(form), Vec::new());
                let mut batch = vec![0; size];
                let mut expected = lines::text(form, 0..12);
                while text.len() + size <= expected.len() {
                    writer.fill(&mut batch);
                    text.extend_from_slice(&batch);
                }
                let rest = expected.len() - text.len();
                writer.fill(&mut batch[..rest]);
                text.extend_from_slice(&batch[..rest]);
                writer.end(&mut |piece| text.extend_from_slice(piece));
                expected.extend_from_slice(end.as_bytes());
                assert_eq!(text, expected, "{form:?}, {size}");
                assert_eq!(text, lines::stream(form, 12));
            }
        }
    }

    #[test]
    fn a_stream_can_be_entered_anywhere() {
        for form in [Form::Padded, Form::Plain] {
            let whole = lines::text(form, 0..1100);
            for offset in (0..100).chain(2_700..2_800).chain(3_880..4_000) {
                let mut rest = vec![0; whole.len() - offset];
                Lines::from_offset(form, offset as u64).fill(&mut rest);
                assert_eq!(rest, whole[offset..], "{form:?} {offset}");
            }
        }
    }

    #[test]
    fn the_line_under_way_is_completed_before_the_last() {
        let mut lines = Lines::new(Form::Padded);
        let mut text = vec![0; 15];
        lines.fill(&mut text);
        lines.end(&mut |piece| text.extend_from_slice(piece));
        assert_eq!(text, b"0000000000\n0000000001\nEND\n");
    }

    #[test]
    fn a_last_line_is_told_from_others() {
        assert_eq!(Form::Plain.last(b"end 17"), Some(Last::Count(17)));
        assert_eq!(Form::Padded.last(b"END"), Some(Last::Bare));
        for (form, line) in [
            (Form::Plain, &b"end"[..]),
            (Form::Plain, b"end 017"),
            (Form::Padded, b"END "),
            (Form::Padded, b"0000000017"),
        ] {
            assert_eq!(form.last(line), None, "{form:?}");
        }
        assert_eq!(Form::Padded.number(b"17"), None);
        assert_eq!(Form::Plain.number(b"0000000017"), None);
    }
}
