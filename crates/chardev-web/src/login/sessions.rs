//! Who is logged in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chardev_monitor::Caller;
use tokio::sync::Notify;

use super::bucket::{Bucket, Rate};
use super::secret::{Hash, fresh, hash};
use crate::stream::Inputs;

/// How long a session is kept that asks for nothing.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// How many there are at a time; the one that has been silent longest goes.
const MOST: usize = 1024;
/// How often a session may ask.
const ASKS: Rate = Rate {
    a_second: 100.0,
    burst: 300.0,
};

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<Hash, Arc<Session>>>);

/// Somebody who is logged in.
#[derive(Debug)]
pub(crate) struct Session {
    /// Whose commands those of the session are.
    pub(crate) caller: Caller,
    /// How they came in.
    pub(crate) how: &'static str,
    /// What they have typed, by console and key.
    pub(crate) inputs: Inputs,
    state: Mutex<Use>,
    over: AtomicBool,
    ended: Notify,
}

#[derive(Debug)]
struct Use {
    seen: Instant,
    asks: Bucket,
}

impl Sessions {
    /// Somebody has come in; returns what they have to show from here on.
    pub(crate) fn open(&self, caller: Caller, how: &'static str) -> String {
        let secret = fresh();
        let now = Instant::now();
        let session = Arc::new(Session {
            caller,
            how,
            inputs: Inputs::default(),
            state: Mutex::new(Use {
                seen: now,
                asks: Bucket::new(ASKS, now),
            }),
            over: AtomicBool::new(false),
            ended: Notify::new(),
        });
        let mut all = self.lock();
        if all.len() >= MOST {
            let oldest = all.iter().min_by_key(|(_, session)| session.lock().seen);
            if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
                end(all.remove(&oldest));
            }
        }
        all.insert(hash(&secret), session);
        secret
    }

    /// The session of whoever shows `secret`.
    pub(crate) fn find(&self, secret: &str) -> Option<Arc<Session>> {
        let key = hash(secret);
        let mut all = self.lock();
        let session = all.get(&key)?;
        let now = Instant::now();
        let idle = now.saturating_duration_since(session.lock().seen);
        if idle > IDLE {
            end(all.remove(&key));
            return None;
        }
        session.lock().seen = now;
        Some(Arc::clone(session))
    }

    /// Ends the session of whoever shows `secret`.
    pub(crate) fn close(&self, secret: &str) {
        end(self.lock().remove(&hash(secret)));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(session: Option<Arc<Session>>) {
    if let Some(session) = session {
        session.over.store(true, Ordering::SeqCst);
        session.ended.notify_waiters();
    }
}

impl Session {
    /// Whether it may ask once more.
    pub(crate) fn may_ask(&self) -> bool {
        let now = Instant::now();
        self.lock().asks.take(ASKS, now)
    }

    /// What it does over a connection that stays keeps it.
    pub(crate) fn is_used(&self) {
        self.lock().seen = Instant::now();
    }

    /// Waits until it is over.
    pub(crate) async fn ended(&self) {
        let ended = self.ended.notified();
        tokio::pin!(ended);
        ended.as_mut().enable();
        if !self.over.load(Ordering::SeqCst) {
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Use> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
