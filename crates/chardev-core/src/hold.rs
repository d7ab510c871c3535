//! front → [chardev] → back → host: for how long transactions hold a front end still.

/// Told when a transaction holds a chardev's front end still, and when that is over, for a
/// measurement: the core has no clock.
///
/// Called under the chardev's lock, so it should take the time and nothing else.
pub trait HoldWatch: Send {
    /// A transaction is being decided: nothing is taken or given until it has been.
    fn begin(&mut self);
    /// The front end goes on: the transaction is over, and output that was refused because of it
    /// has been tried again.
    fn end(&mut self);
}

/// Whether a transaction holds a chardev still: for a moment nothing is taken and nothing given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Free,
    /// The transaction is being decided.
    Frozen,
    /// It happens, and the old back end has handed over all its input: what is replaced above reads
    /// what is its own.
    Cut,
}

impl Hold {
    pub(crate) fn is_cut(self) -> bool {
        self == Hold::Cut
    }
}

/// Who watches, and what there is to see.
#[derive(Default)]
pub(crate) struct Holds {
    watch: Option<Box<dyn HoldWatch>>,
    /// Output was refused because of a transaction and has not been tried again.
    refused: bool,
}

impl Holds {
    pub(crate) fn set_watch(&mut self, watch: Box<dyn HoldWatch>) {
        self.watch = Some(watch);
    }

    pub(crate) fn begin(&mut self) {
        if let Some(watch) = self.watch.as_mut().filter(|_| !self.refused) {
            watch.begin();
        }
    }

    /// Output was refused because of the transaction.
    pub(crate) fn refuse(&mut self) {
        self.refused = true;
    }

    /// The transaction has been decided.
    pub(crate) fn thaw(&mut self) {
        if let Some(watch) = self.watch.as_mut().filter(|_| !self.refused) {
            watch.end();
        }
    }

    /// The front end is not held: it tries to write, or is gone.
    pub(crate) fn go_on(&mut self) {
        if std::mem::take(&mut self.refused) {
            if let Some(watch) = &mut self.watch {
                watch.end();
            }
        }
    }
}
