//! The guest's report about itself: lines on COM2.

use chardev_load::report::Fact;

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

    /// Prints a fact as a line.
    pub fn tell(&self, fact: Fact) {
        self.to.print(self.tag);
        fact.write(&mut |piece| self.to.print(piece));
    }
}
