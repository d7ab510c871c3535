//! Memory of messages that the stream has, for those that come next: to get a large piece of
//! memory, fill it with zeros and give it back costs about as much as to copy into it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::publisher::LARGEST;

/// How many pieces are kept, each for a message of any size.
const KEPT: usize = 32;
/// For less than this it is not worth it.
const SMALLEST: usize = 16 << 10;

/// The memory that is kept for all consoles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<BytesMut>>>);

impl Pool {
    /// How much memory so many bytes take.
    pub(crate) fn size(count: usize) -> usize {
        match count {
            SMALLEST..LARGEST => LARGEST,
            _ => count,
        }
    }

    /// Memory for so many bytes, whatever is in it.
    pub(crate) fn take(&self, count: usize) -> BytesMut {
        let size = Pool::size(count);
        let kept = match size {
            LARGEST => self.lock().pop(),
            _ => None,
        };
        let mut buffer = kept.unwrap_or_else(|| BytesMut::with_capacity(size));
        buffer.resize(count, 0);
        buffer
    }

    /// Takes memory back, if nobody else has it any more.
    pub(crate) fn give(&self, bytes: Bytes) {
        let Ok(buffer) = bytes.try_into_mut() else {
            return;
        };
        let mut kept = self.lock();
        if buffer.capacity() == LARGEST && kept.len() < KEPT {
            kept.push(buffer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nobody_else_has_it() {
        let pool = Pool::default();
        let bytes = pool.take(20_000).freeze();
        let (place, other) = (bytes.as_ptr(), bytes.clone());
        pool.give(bytes);
        let next = pool.take(20_000);
        assert_ne!(next.as_ptr(), place, "somebody has it");
        pool.give(other);
        let again = pool.take(LARGEST);
        assert_eq!((again.as_ptr(), again.len()), (place, LARGEST));
    }

    #[test]
    fn what_is_kept_is_bounded_and_of_one_size() {
        let pool = Pool::default();
        for count in [1, SMALLEST - 1, LARGEST + 1] {
            let buffer = pool.take(count);
            assert_eq!((buffer.len(), buffer.capacity()), (count, count));
            pool.give(buffer.freeze());
        }
        assert!(pool.lock().is_empty());
        let all: Vec<_> = (0..2 * KEPT).map(|_| pool.take(SMALLEST)).collect();
        for buffer in all {
            pool.give(buffer.freeze());
        }
        assert_eq!(pool.lock().len(), KEPT);
    }
}
