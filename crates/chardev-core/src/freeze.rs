//! front → [chardev] → back → host: for how long transactions keep a front end still.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::chardev::{Chardev, ChardevRef};
use crate::held::is_locked_here;

/// How often a front end that writes looks whether a transaction is over: for 20 to 100 µs.
const LOOKS: usize = 2000;

/// How many transactions hold chardevs still.
static DECIDING: AtomicUsize = AtomicUsize::new(0);

/// Told when a transaction freezes a chardev's front end, and when that is over, for a
/// measurement: the core has no clock.
///
/// Called under the chardev's lock, so it should take the time and nothing else.
pub trait FreezeWatch: Send {
    /// A transaction is being decided: nothing is taken or given until it has been.
    fn begin(&mut self);
    /// The front end goes on: the transaction is over, and output that was refused because of it
    /// has been tried again.
    fn end(&mut self);
}

/// Whether a transaction has frozen a chardev: for a moment nothing is taken and nothing given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freeze {
    Free,
    /// The transaction is being decided.
    Frozen,
    /// It happens, and the old back end has handed over all its input: what is replaced above reads
    /// what is its own.
    Cut,
}

impl Freeze {
    pub(crate) fn is_cut(self) -> bool {
        self == Freeze::Cut
    }
}

/// A transaction that holds chardevs still, until this is dropped.
pub(crate) struct Deciding(());

impl Deciding {
    pub(crate) fn begin() -> Self {
        DECIDING.fetch_add(1, Ordering::Release);
        Deciding(())
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        DECIDING.fetch_sub(1, Ordering::Release);
    }
}

impl ChardevRef {
    /// [`ChardevRef::with`] for output. If a transaction refuses it that is over in a moment,
    /// `write` is called again then: a thread that goes to sleep for that is woken much later.
    pub(crate) fn with_output<R>(&self, mut write: impl FnMut(&mut Chardev) -> R) -> R {
        let (result, refused) = self.with(|chardev| (write(chardev), chardev.output_refused));
        // Whoever decides may need what is locked here.
        if !refused || is_locked_here() || !is_decided_soon() {
            return result;
        }
        self.with(write)
    }
}

fn is_decided_soon() -> bool {
    (0..LOOKS).any(|_| {
        spin_loop();
        DECIDING.load(Ordering::Acquire) == 0
    })
}

impl Chardev {
    /// Reports to `watch` when transactions hold the front end still.
    pub fn watch_freezes(&mut self, watch: Box<dyn FreezeWatch>) {
        self.rare.freeze_watch = Some(watch);
    }

    /// A transaction begins to be decided.
    pub(crate) fn freeze_begins(&mut self) {
        if !self.output_refused {
            self.freeze_watch().into_iter().for_each(|it| it.begin());
        }
    }

    /// The transaction has been decided.
    pub(crate) fn freeze_ends(&mut self) {
        if !self.output_refused {
            self.freeze_watch().into_iter().for_each(|it| it.end());
        }
    }

    /// The front end is not held: it tries to write, or is gone.
    pub(crate) fn output_goes_on(&mut self) {
        if std::mem::take(&mut self.output_refused) {
            self.freeze_watch().into_iter().for_each(|it| it.end());
        }
    }

    fn freeze_watch(&mut self) -> Option<&mut Box<dyn FreezeWatch>> {
        self.rare.there()?.freeze_watch.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, IoSliceMut};
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::backend::{Backend, BackendId, Ready, Sent};
    use crate::drain::{Drain, NothingToDrain};
    use crate::policy::Policy;

    /// A back end that takes everything.
    struct Taker;

    impl Backend for Taker {
        fn kind(&self) -> &'static str {
            "taker"
        }

        fn filename(&self) -> String {
            "taker".to_owned()
        }

        fn is_open(&self) -> bool {
            true
        }

        fn write(&mut self, bufs: &[IoSlice<'_>], _: &mut Vec<OwnedFd>) -> Sent {
            Sent::Taken(bufs.iter().map(|buf| buf.len()).sum())
        }

        fn read(&mut self, _: &mut [IoSliceMut<'_>]) -> usize {
            0
        }

        fn watch(&mut self, _: Ready) {}

        fn retire(self: Box<Self>) -> Box<dyn Drain> {
            Box::new(NothingToDrain)
        }
    }

    fn frozen() -> (ChardevRef, Deciding) {
        let chardev = ChardevRef::new("c", BackendId(1), Box::new(Taker), Policy::default(), None);
        let deciding = Deciding::begin();
        chardev.with(|chardev| chardev.freeze = Freeze::Frozen);
        (chardev, deciding)
    }

    /// How often it was tried, and what was taken at last; the transaction is over after the first
    /// time.
    fn tries(chardev: &ChardevRef, deciding: Deciding) -> (usize, usize) {
        let (mut deciding, mut tries) = (Some(deciding), 0);
        let taken = chardev.with_output(|chardev| {
            tries += 1;
            let taken = chardev.write(&[IoSlice::new(b"abc")]);
            if deciding.take().is_some() {
                chardev.thaw();
            }
            taken
        });
        (tries, taken)
    }

    #[test]
    fn what_a_transaction_refuses_is_tried_again_when_that_is_over() {
        let (chardev, deciding) = frozen();
        assert_eq!(tries(&chardev, deciding), (2, 3));
        assert_eq!(tries(&chardev, Deciding::begin()), (1, 3));
    }

    #[test]
    fn nobody_waits_for_long_nor_under_the_lock_of_another_chardev() {
        let (chardev, _deciding) = frozen();
        let mut tries_until_now = 0;
        let taken = chardev.with_output(|chardev| {
            tries_until_now += 1;
            chardev.write(&[IoSlice::new(b"abc")])
        });
        assert_eq!((tries_until_now, taken), (1, 0));

        let (chardev, deciding) = frozen();
        let (above, above_is_decided) = frozen();
        drop(above_is_decided);
        assert_eq!(above.with(|_| tries(&chardev, deciding)), (1, 0));
    }
}
