//! How much is on its way to a page, which says what it has shown.

use std::collections::VecDeque;

/// The most bytes that a page is sent beyond what it has shown.
pub const WINDOW: u64 = 256 << 10;
/// The most frames, however short.
const FRAMES: usize = 1024;

/// What a page was sent and has not shown.
#[derive(Debug, Default)]
pub struct Window {
    /// Each frame's first offset and the one after its last, without gaps that were told between.
    frames: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Window {
    /// How many more bytes may be sent.
    pub fn room(&self) -> usize {
        match self.frames.len() < FRAMES {
            true => usize::try_from(WINDOW.saturating_sub(self.bytes)).unwrap_or(0),
            false => 0,
        }
    }

    /// A frame of `count` bytes from `offset` on was sent.
    pub fn sent(&mut self, offset: u64, count: u64) {
        self.frames.push_back((offset, offset + count));
        self.bytes += count;
    }

    /// All before `offset` is shown.
    pub fn shown(&mut self, offset: u64) {
        while let Some((from, to)) = self.frames.front_mut() {
            let upto = offset.clamp(*from, *to);
            self.bytes -= upto - *from;
            *from = upto;
            if upto < *to {
                return;
            }
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_bounded_and_counted_across_gaps() {
        let mut window = Window::default();
        window.sent(0, WINDOW - 10);
        assert_eq!(window.room(), 10);
        // A gap that was told, however wide, is nothing on its way.
        window.sent(10 * WINDOW, 10);
        assert_eq!(window.room(), 0);
        window.shown(5);
        assert_eq!(window.room(), 5);
        window.shown(3);
        assert_eq!(window.room(), 5);
        window.shown(WINDOW);
        assert_eq!(window.room(), (WINDOW - 10) as usize);
        window.shown(u64::MAX);
        assert_eq!(window.room(), WINDOW as usize);
        assert!(window.frames.is_empty());
    }

    #[test]
    fn short_frames_do_not_pile_up() {
        let mut window = Window::default();
        let mut sent = 0;
        while window.room() > 0 {
            window.sent(sent, 1);
            sent += 1;
        }
        assert_eq!(sent, FRAMES as u64);
        window.shown(1);
        assert!(window.room() > 0);
    }
}
