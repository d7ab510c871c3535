//! Text too long to be held in one piece, generated as it is sent.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the text comes from, piece by piece.
pub trait TextSource: Send {
    /// Appends the next piece to `out`, some tens of kibibytes; `false` once there is no more.
    fn next_piece(&mut self, out: &mut String) -> bool;
}

/// A text of any length, read once. Clones read the same text, each piece going to one of them.
#[derive(Clone)]
pub struct LazyText(Arc<Mutex<Box<dyn TextSource>>>);

impl LazyText {
    /// The text that `source` makes.
    pub fn new(source: impl TextSource + 'static) -> Self {
        LazyText(Arc::new(Mutex::new(Box::new(source))))
    }

    /// Appends the next piece to `out`; `false` once there is no more.
    pub fn next_piece(&self, out: &mut String) -> bool {
        self.source().next_piece(out)
    }

    /// This text with each piece put through `change`, which must not care where pieces end.
    #[must_use]
    pub fn map(&self, change: fn(&str) -> String) -> Self {
        struct Mapped(LazyText, fn(&str) -> String);
        impl TextSource for Mapped {
            fn next_piece(&mut self, out: &mut String) -> bool {
                let mut piece = String::new();
                let more = self.0.next_piece(&mut piece);
                out.push_str(&(self.1)(&piece));
                more
            }
        }
        Self::new(Mapped(self.clone(), change))
    }

    /// This text and, behind it, `end`.
    #[must_use]
    pub fn followed_by(&self, end: &'static str) -> Self {
        struct Followed(LazyText, &'static str);
        impl TextSource for Followed {
            fn next_piece(&mut self, out: &mut String) -> bool {
                let more = self.0.next_piece(out);
                if !more {
                    out.push_str(std::mem::take(&mut self.1));
                }
                more
            }
        }
        Self::new(Followed(self.clone(), end))
    }

    /// All that is left of it.
    pub fn rest(&self) -> String {
        let mut text = String::new();
        while self.next_piece(&mut text) {}
        text
    }

    fn source(&self) -> MutexGuard<'_, Box<dyn TextSource>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LazyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyText").finish_non_exhaustive()
    }
}

/// Whether both are the same text by the same reader.
impl PartialEq for LazyText {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
