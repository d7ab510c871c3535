//! What the guest tells of itself: lines on COM2, each with a word that says whose it is.

use crate::records::Decimal;
use crate::uart::Uart;

/// Where the facts about one channel go.
pub struct Report<'a> {
    to: &'a Uart,
    /// In front of every line.
    tag: &'static [u8],
}

impl<'a> Report<'a> {
    /// Lines on `to` that begin with `tag`.
    pub fn new(to: &'a Uart, tag: &'static [u8]) -> Self {
        Report { to, tag }
    }

    /// Prints a word and numbers as a line.
    pub fn print(&self, word: &[u8], numbers: &[u64]) {
        self.to.print(self.tag);
        self.to.print(word);
        for &number in numbers {
            self.to.print(b" ");
            self.to.print(Decimal::new(number).digits());
        }
        self.to.print(b"\n");
    }
}
