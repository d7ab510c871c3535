//! What few chardevs have at a time. There may be ten thousand of them, so what a chardev does not
//! have costs it a word.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use crate::backend::{Backend, BackendId};
use crate::freeze::FreezeWatch;
use crate::log::Hole;
use crate::parked::Awaited;
use crate::ringbuf::RingBuffer;
use crate::tails::TailWaker;

/// A `T` that is empty until it is first written to, and has no memory until then. Whoever may find
/// nothing to write asks [`Seldom::there`].
#[derive(Debug)]
pub struct Seldom<T>(Option<Box<T>>);

/// What may be empty, and what is read then.
pub trait Empty: Default + 'static {
    /// As [`Default::default`].
    const EMPTY: &'static Self;
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Seldom(None)
    }
}

impl<T> Seldom<T> {
    /// What was written to, if anything was.
    pub fn there(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: Empty> Seldom<T> {
    /// Takes what is there, and its memory.
    pub fn take(&mut self) -> T {
        self.0.take().map_or_else(T::default, |there| *there)
    }
}

impl<T: Empty> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: 'static> Empty for Vec<T> {
    const EMPTY: &'static Self = &Vec::new();
}

impl<T: 'static> Empty for VecDeque<T> {
    const EMPTY: &'static Self = &VecDeque::new();
}

impl<const N: usize> Empty for [u64; N]
where
    [u64; N]: Default,
{
    const EMPTY: &'static Self = &[0; N];
}

impl Empty for RingBuffer {
    const EMPTY: &'static Self = &RingBuffer::empty();
}

/// Of a chardev, what is there only while something out of the ordinary goes on.
#[derive(Default)]
pub(crate) struct Rare {
    /// A back end set aside by a temporary one; it comes back when that one closes.
    pub(crate) parked: Option<(BackendId, Box<dyn Backend>)>,
    /// The size of a ring buffer that was replaced by a back end nobody has come to yet.
    pub(crate) ring_goes_on: usize,
    /// Descriptors that go out with the next byte.
    pub(crate) output_fds: Vec<std::os::fd::OwnedFd>,
    /// Who watches for how long transactions keep the front end still.
    pub(crate) freeze_watch: Option<Box<dyn FreezeWatch>>,
    /// What is still on its way through a back end that was set aside.
    pub(crate) awaited: Option<Awaited>,
    /// What the log misses, if it does not take output now.
    pub(crate) hole: Option<Hole>,
    /// Descriptors that came with input whose source has gone, until the input is read.
    pub(crate) input_fds: Vec<std::os::fd::OwnedFd>,
    /// Who above still reads what came before it was replaced, and is to be woken for it.
    pub(crate) tails: Vec<TailWaker>,
    /// Marks of the reader above that are on their way through the back end.
    pub(crate) marks_later: Vec<u64>,
}

impl Empty for Rare {
    const EMPTY: &'static Self = &Rare {
        parked: None,
        ring_goes_on: 0,
        output_fds: Vec::new(),
        freeze_watch: None,
        awaited: None,
        hole: None,
        input_fds: Vec::new(),
        tails: Vec::new(),
        marks_later: Vec::new(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chardev::Chardev;

    #[test]
    fn what_a_chardev_does_not_have_costs_it_a_word() {
        assert_eq!(size_of::<Seldom<Rare>>(), size_of::<usize>());
        // With ten thousand of them each byte counts; what is seldom there belongs to `Rare`.
        let size = size_of::<Chardev>();
        assert!(size <= 672, "a chardev is {size} bytes large");
    }

    #[test]
    fn what_is_taken_has_no_memory_any_more() {
        let mut seldom = Seldom::<VecDeque<u8>>::default();
        assert!(seldom.is_empty() && seldom.there().is_none());
        seldom.push_back(7);
        assert_eq!(seldom.there().map(|there| there.len()), Some(1));
        assert_eq!(seldom.take(), [7]);
        assert!(seldom.is_empty() && seldom.there().is_none());
    }
}
