//! front → [chardev] → back → host: ring buffers, read and written by their ids.

use chardev_core::RingBuffer;

use super::Chardevs;

/// Why a ring buffer was not read or written (QEMU's words).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingError {
    /// There is no such chardev.
    NotFound(String),
    /// The chardev's back end is not a ring buffer.
    NotRing(String),
}

impl std::fmt::Display for RingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RingError::NotFound(id) => write!(f, "Device '{id}' not found"),
            RingError::NotRing(id) => write!(f, "{id} is not a ringbuf device"),
        }
    }
}

impl std::error::Error for RingError {}

impl Chardevs {
    /// Writes into the ring buffer `id` (`ringbuf-write`). When it is full the oldest bytes are
    /// overwritten and counted, also where the policy is to hold, which only the front end heeds.
    ///
    /// # Errors
    /// There is none, or it is not a ring buffer.
    pub fn ring_write(&self, id: &str, bytes: &[u8]) -> Result<(), RingError> {
        let chardev = self
            .registry
            .get(id)
            .ok_or_else(|| RingError::NotFound(id.to_owned()))?;
        let written = chardev.with(|chardev| chardev.ring_write(bytes));
        written.ok_or_else(|| RingError::NotRing(id.to_owned()))
    }

    /// Takes up to `size` of the oldest bytes out of the ring buffer `id` (`ringbuf-read`). They
    /// are moved out under the chardev's lock and copied without it, so a large ring delays nobody.
    ///
    /// # Errors
    /// There is none, or it is not a ring buffer.
    pub fn ring_read(&self, id: &str, size: usize) -> Result<Vec<u8>, RingError> {
        let content = self.ring_take(id, |_| size)?;
        Ok(content.slices().collect::<Vec<_>>().concat())
    }

    /// Moves as many of the oldest bytes out of the ring buffer `id` as `most` says, or as there
    /// are. Nothing is copied, however many they are; `most` is called with the chardev's lock held
    /// and must not take long.
    ///
    /// # Errors
    /// There is none, or it is not a ring buffer.
    pub fn ring_take(
        &self,
        id: &str,
        most: impl FnOnce(&RingBuffer) -> usize,
    ) -> Result<RingBuffer, RingError> {
        let chardev = self
            .registry
            .get(id)
            .ok_or_else(|| RingError::NotFound(id.to_owned()))?;
        let take = |ring: &mut RingBuffer| {
            let most = most(ring);
            ring.split_front(most)
        };
        let content = chardev.with(|chardev| chardev.with_ring(take));
        content.ok_or_else(|| RingError::NotRing(id.to_owned()))
    }
}
