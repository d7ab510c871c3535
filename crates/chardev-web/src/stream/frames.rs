//! Output for pages: many that look at one console are at the same place, and are sent the same
//! frame.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use chardev::{ViewPlace, Viewed, Viewer};

use super::said::HEAD;

/// The most output in a frame.
pub(crate) const PIECE: usize = 64 << 10;
/// How many are kept: one page may be sent a whole window before the next one's turn.
const KEPT: usize = 6;

/// The last frames that were made, while anybody is sent some. Clones of their bytes share them.
#[derive(Debug, Default)]
pub(crate) struct Frames(Mutex<VecDeque<Frame>>);

#[derive(Debug)]
struct Frame {
    /// Where its output begins.
    place: ViewPlace,
    bytes: Bytes,
}

impl Frames {
    /// What `viewer` reads next, of output up to `room` bytes behind their offset. What all are
    /// sent ends at the same places, so that who has begun elsewhere is soon where the others are.
    pub(crate) fn next(&self, viewer: &mut Viewer, room: usize) -> Option<(Viewed, Bytes)> {
        let place = viewer.place();
        let there = viewer.end().saturating_sub(place.offset());
        let there = usize::try_from(there).unwrap_or(usize::MAX);
        let piece = PIECE - (place.offset() % PIECE as u64) as usize;
        let most = there.min(room).min(piece).max(1);
        let mut kept = self.kept();
        if let Some(bytes) = kept.iter().find_map(|frame| frame.part(&place, most)) {
            let viewed = Viewed::Data {
                offset: place.offset(),
                count: bytes.len() - HEAD,
            };
            viewer.accept(viewed);
            return Some((viewed, bytes));
        }
        let mut bytes = vec![0; HEAD + most];
        let viewed = viewer.read(&mut bytes[HEAD..])?;
        let Viewed::Data { offset, count } = viewed else {
            return Some((viewed, Bytes::new()));
        };
        bytes[..HEAD].copy_from_slice(&offset.to_be_bytes());
        bytes.truncate(HEAD + count);
        let bytes = Bytes::from(bytes);
        kept.truncate(KEPT - 1);
        kept.push_front(Frame {
            place,
            bytes: bytes.clone(),
        });
        Some((viewed, bytes))
    }

    /// Lets go of them. Who is still there has new ones made.
    pub(crate) fn forget(&self) {
        *self.kept() = VecDeque::new();
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Frame>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frame {
    /// As much of it as there is room for, for one who is at its place; none if that would be much
    /// less than what there is by now.
    fn part(&self, place: &ViewPlace, most: usize) -> Option<Bytes> {
        let count = most.min(self.bytes.len() - HEAD);
        let is_enough = count >= most.div_ceil(2);
        (is_enough && self.place == *place).then(|| self.bytes.slice(..HEAD + count))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chardev::spec::Options;
    use chardev::{Chardevs, FrontEnd, Slow, ViewFrom};

    use super::*;

    fn console(chardevs: &Chardevs, id: &str) -> FrontEnd {
        chardevs.blocking_add(id, Options::new("null")).unwrap();
        chardevs.front_end(id, Arc::new(())).unwrap()
    }

    fn viewer(chardevs: &Chardevs, id: &str) -> Viewer {
        chardevs.view(id, ViewFrom::Now, Slow::Skip).unwrap()
    }

    /// The output in the next frame, and where its bytes are.
    fn next(frames: &Frames, viewer: &mut Viewer, room: usize) -> (Vec<u8>, *const u8) {
        let offset = viewer.offset();
        let (viewed, bytes) = frames.next(viewer, room).unwrap();
        let output = bytes[HEAD..].to_vec();
        let count = output.len();
        assert_eq!(viewed, Viewed::Data { offset, count });
        assert_eq!(bytes[..HEAD], offset.to_be_bytes());
        assert_eq!(viewer.offset(), offset + count as u64);
        (output, bytes.as_ptr())
    }

    #[test]
    fn who_is_at_the_same_place_is_sent_the_same_frame_and_nobody_else() {
        let chardevs = Chardevs::new().unwrap();
        let frames = Frames::default();
        let one = console(&chardevs, "one");
        let other = console(&chardevs, "other");
        let [mut a, mut b, mut c] = [(); 3].map(|()| viewer(&chardevs, "one"));
        let mut beside = viewer(&chardevs, "other");
        one.write(b"first");
        other.write(b"other");
        let (output, place) = next(&frames, &mut a, PIECE);
        assert_eq!(output, b"first");
        assert_eq!(next(&frames, &mut b, PIECE), (output, place));
        let part = (b"fi".to_vec(), place);
        assert_eq!(next(&frames, &mut c, 2), part, "it has no room for more");
        assert_eq!(next(&frames, &mut beside, PIECE).0, b"other");
        one.write(b"!");
        assert_eq!(next(&frames, &mut a, PIECE).0, b"!");
        assert_eq!(next(&frames, &mut c, PIECE).0, b"rst!", "more has come");
        assert_eq!(frames.next(&mut a, PIECE), None);
        // A console that comes in the place of one begins at the same offset.
        drop(one);
        chardevs.blocking_remove("one").unwrap();
        let end = frames.next(&mut a, PIECE).unwrap();
        assert_eq!(end.0, Viewed::End(chardev::ViewEnd::Removed));
        let one = console(&chardevs, "one");
        let mut again = viewer(&chardevs, "one");
        one.write(b"again");
        assert_eq!(next(&frames, &mut again, PIECE).0, b"again");
    }

    #[test]
    fn who_has_begun_elsewhere_is_soon_where_the_others_are() {
        let chardevs = Chardevs::new().unwrap();
        let frames = Frames::default();
        let front = console(&chardevs, "one");
        let mut a = viewer(&chardevs, "one");
        front.write(&[b'.'; 100]);
        let mut late = viewer(&chardevs, "one");
        front.write(&vec![b'.'; 3 * PIECE]);
        assert_eq!(next(&frames, &mut a, PIECE).0.len(), PIECE);
        assert_eq!(next(&frames, &mut late, PIECE).0.len(), PIECE - 100);
        let (output, place) = next(&frames, &mut a, PIECE);
        assert_eq!(output.len(), PIECE);
        assert_eq!(next(&frames, &mut a, 1).0, b".");
        assert_eq!(next(&frames, &mut late, PIECE).1, place);
        frames.forget();
        assert!(frames.kept().is_empty());
    }
}
