//! The sessions that go on in a thread, and the last words of those that are over, for whoever has
//! not heard them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, Message};
use tokio::sync::{Notify, oneshot};

use crate::relay::{Session, headers};
use crate::session::{Fate, Frame, Id, Kind};

/// Of how many sessions that are over the last words are kept.
const MOST_REMEMBERED: usize = 256;
/// How long others may take to hear that a session has ended here.
pub(crate) const FAREWELL: Duration = Duration::from_millis(200);

/// What goes on, by its session.
#[derive(Debug)]
pub(crate) struct Ledger<T> {
    entries: Mutex<Entries<T>>,
    left: Notify,
}

#[derive(Debug)]
struct Entries<T> {
    open: HashMap<Id, T>,
    over: VecDeque<Frame>,
}

/// What goes on.
pub(crate) trait Entry: Clone {
    /// The session it is.
    fn session(&self) -> &Session;
}

impl<T: Entry> Ledger<T> {
    pub(crate) fn new() -> Ledger<T> {
        let entries = Entries {
            open: HashMap::new(),
            over: VecDeque::new(),
        };
        Ledger {
            entries: Mutex::new(entries),
            left: Notify::new(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().open.len()
    }

    pub(crate) fn insert(&self, id: Id, entry: T) {
        self.lock().open.insert(id, entry);
    }

    /// A session's frame has come in that message: it goes to the session, if that is `theirs`, or
    /// begins one by `open`. What is to be said otherwise is said.
    pub(crate) async fn take(
        &self,
        client: &Client,
        (frame, message): (Frame, Message),
        theirs: impl FnOnce(&T) -> bool,
        open: impl FnOnce(Frame, &Message) -> Result<(), String>,
    ) {
        let id = frame.session;
        let (known, over) = {
            let entries = self.lock();
            let over = entries.over.iter().find(|it| it.session == id);
            (entries.open.get(&id).cloned(), over.cloned())
        };
        let said = match (known, over) {
            // Somebody who came otherwise is somebody else.
            (Some(entry), _) => {
                if theirs(&entry) {
                    entry.session().take(frame, message.reply);
                }
                return;
            }
            (None, _) if matches!(frame.kind, Kind::Reset(_)) => return,
            (None, Some(last)) => last,
            (None, None) if frame.kind == Kind::Open => match open(frame, &message) {
                Ok(()) => return,
                Err(why) => Frame::reset(id, &why),
            },
            (None, None) => Frame::reset(id, ""),
        };
        if let Some(reply) = message.reply {
            // It fails where the client is no more.
            let sent = client.publish_with_headers(reply, headers(&said), said.payload());
            let _ = sent.await;
        }
    }

    /// A session does not go on any more. If it has come from elsewhere and ended well, its last
    /// word is kept.
    pub(crate) fn forget(&self, id: Id, session: &Session, is_theirs: bool) {
        let end = session.lock();
        let last = (is_theirs && end.fate() == Fate::Over).then(|| end.last_word());
        drop(end);
        let mut entries = self.lock();
        entries.open.remove(&id);
        entries.over.extend(last);
        if entries.over.len() > MOST_REMEMBERED {
            entries.over.pop_front();
        }
        drop(entries);
        self.left.notify_waiters();
    }

    /// Waits until it is to stop, then for up to that long until nothing goes on any more, and
    /// gives up what does. Sooner where `served` ends, by which sessions come.
    pub(crate) async fn end_well(
        &self,
        client: &Client,
        (mut served, stopped): (impl Future + Unpin, oneshot::Receiver<Duration>),
        why: &str,
    ) {
        let limit = tokio::select! {
            limit = stopped => limit.unwrap_or_default(),
            _ = &mut served => return,
        };
        tokio::select! {
            () = self.is_empty() => {}
            _ = &mut served => {}
            () = tokio::time::sleep(limit) => {}
        }
        let open: Vec<T> = self.lock().open.values().cloned().collect();
        open.iter().for_each(|it| it.session().give_up(why));
        let _ = tokio::time::timeout(FAREWELL, self.is_empty()).await;
        let _ = tokio::time::timeout(FAREWELL, client.flush()).await;
    }

    async fn is_empty(&self) {
        loop {
            let left = self.left.notified();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
