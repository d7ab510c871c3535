//! front → [chardev: scrollback] → viewers: one copy of some output for all who look at it.
//!
//! A thousand viewers of one console are at the same offset most of the time. The first to be
//! served copies what comes next out of the scrollback, the others take that copy.

use std::sync::{Arc, Weak};

use super::{Audience, Viewed, Viewer};

/// A copy of some output that viewers at the same place share.
///
/// It belongs to whoever serves the viewers, one after the other. It keeps no scrollback alive.
#[derive(Debug)]
pub struct Glance {
    audience: Weak<Audience>,
    from: u64,
    count: usize,
    buf: Box<[u8]>,
}

impl Glance {
    /// An empty one, for copies of up to `size` bytes.
    pub fn new(size: usize) -> Self {
        Glance {
            audience: Weak::new(),
            from: 0,
            count: 0,
            buf: vec![0; size].into(),
        }
    }

    /// The most bytes of one copy.
    pub fn size(&self) -> usize {
        self.buf.len()
    }

    /// Where in the copy the byte is that `viewer` reads next.
    fn position(&self, viewer: &Viewer) -> Option<usize> {
        let same = std::ptr::eq(self.audience.as_ptr(), Arc::as_ptr(&viewer.shared));
        let at = usize::try_from(viewer.at.checked_sub(self.from)?).ok()?;
        (same && at < self.count).then_some(at)
    }
}

/// Where a viewer is: two that are at equal places read the same next. It keeps no scrollback
/// alive.
#[derive(Clone, Debug)]
pub struct ViewPlace {
    audience: Weak<Audience>,
    at: u64,
}

impl ViewPlace {
    /// The offset of the byte that is read next.
    pub fn offset(&self) -> u64 {
        self.at
    }
}

impl PartialEq for ViewPlace {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && Weak::ptr_eq(&self.audience, &other.audience)
    }
}

impl Viewer {
    /// Where it is, for who serves many and has what another one has just read.
    pub fn place(&self) -> ViewPlace {
        ViewPlace {
            audience: Arc::downgrade(&self.shared),
            at: self.at,
        }
    }

    /// As [`Viewer::peek`], with the bytes: those in `glance`, if that is where this viewer is, or
    /// else what it holds afterwards. They are not more than `limit`.
    pub fn glance<'a>(&self, glance: &'a mut Glance, limit: usize) -> Option<(Viewed, &'a [u8])> {
        let at = match glance.position(self) {
            Some(at) if self.ended.is_none() => at,
            _ => {
                let viewed = self.peek(&mut glance.buf)?;
                let Viewed::Data { offset, count } = viewed else {
                    return Some((viewed, &[]));
                };
                glance.audience = Arc::downgrade(&self.shared);
                (glance.from, glance.count) = (offset, count);
                0
            }
        };
        let end = glance.count.min(at.saturating_add(limit));
        let bytes = &glance.buf[at..end];
        let viewed = Viewed::Data {
            offset: self.at,
            count: bytes.len(),
        };
        Some((viewed, bytes))
    }
}
