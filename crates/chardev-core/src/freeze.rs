//! front → [chardev] → back → host: for how long transactions keep a front end still.

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

/// Who watches, and what there is to see.
#[derive(Default)]
pub(crate) struct Freezes {
    watch: Option<Box<dyn FreezeWatch>>,
    /// Output was refused because of a transaction and has not been tried again.
    refused: bool,
}

impl Freezes {
    pub(crate) fn set_watch(&mut self, watch: Box<dyn FreezeWatch>) {
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
