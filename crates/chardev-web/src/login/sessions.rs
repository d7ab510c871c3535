//! Who is logged in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chardev_monitor::{Caller, Identity, Tokens};
use tokio::sync::Notify;

use super::bucket::{Bucket, Rate};
use super::secret::{Hash, fresh, hash};
use crate::stream::Inputs;

/// How long a session is kept that asks for nothing.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// How many there are at a time; the one that has been silent longest goes.
const MOST: usize = 1024;
/// How many of them are of one identity, whose own go then: nobody logs others out by coming in.
const EACH: usize = 256;
/// How often a session may ask.
const ASKS: Rate = Rate {
    a_second: 100.0,
    burst: 300.0,
};

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Map>);

type Map = HashMap<Hash, Arc<Session>>;

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
        let session = Session::begin(caller, how);
        insert(&mut self.lock(), key("cookie", &secret), session);
        secret
    }

    /// The session of whoever shows `secret`, unless what gave it is worth nothing any more.
    pub(crate) fn find(&self, secret: &str, tokens: &Tokens) -> Option<Arc<Session>> {
        self.find_at(secret, tokens, Instant::now())
    }

    fn find_at(&self, secret: &str, tokens: &Tokens, now: Instant) -> Option<Arc<Session>> {
        find(&mut self.lock(), &key("cookie", secret), tokens, now)
    }

    /// The session of somebody who proves with every request who they are: by what is called
    /// `how`, as `name`. `begin` makes who they are with the first.
    pub(crate) fn standing(
        &self,
        how: &'static str,
        name: &str,
        tokens: &Tokens,
        begin: impl FnOnce() -> Caller,
    ) -> Arc<Session> {
        let key = key(how, name);
        let mut all = self.lock();
        find(&mut all, &key, tokens, Instant::now()).unwrap_or_else(|| {
            let session = Session::begin(begin(), how);
            insert(&mut all, key, Arc::clone(&session));
            session
        })
    }

    /// Ends the session of whoever shows `secret`.
    pub(crate) fn close(&self, secret: &str) {
        end(self.lock().remove(&key("cookie", secret)));
    }

    fn lock(&self) -> MutexGuard<'_, Map> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept of what somebody shows: two sorts of that are never taken for each other.
fn key(sort: &str, shown: &str) -> Hash {
    hash(&format!("{sort} {shown}"))
}

fn find(all: &mut Map, key: &Hash, tokens: &Tokens, now: Instant) -> Option<Arc<Session>> {
    let session = all.get(key)?;
    let idle = now.saturating_duration_since(session.lock().seen);
    if idle > IDLE || !session.is_good(tokens) {
        end(all.remove(key));
        return None;
    }
    session.lock().seen = now;
    Some(Arc::clone(session))
}

fn insert(all: &mut Map, key: Hash, session: Arc<Session>) {
    let identity = session.caller.identity();
    let is_own = |other: &Session| other.caller.identity() == identity;
    if all.values().filter(|other| is_own(other)).count() >= EACH {
        end_oldest(all, is_own);
    } else if all.len() >= MOST {
        end_oldest(all, |_| true);
    }
    end(all.insert(key, session));
}

/// Ends the one of these that has been silent longest.
fn end_oldest(all: &mut Map, is_one: impl Fn(&Session) -> bool) {
    let ones = all.iter().filter(|(_, session)| is_one(session));
    let oldest = ones.min_by_key(|(_, session)| session.lock().seen);
    if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
        end(all.remove(&oldest));
    }
}

fn end(session: Option<Arc<Session>>) {
    if let Some(session) = session {
        session.over.store(true, Ordering::SeqCst);
        session.ended.notify_waiters();
    }
}

impl Session {
    fn begin(caller: Caller, how: &'static str) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Session {
            caller,
            how,
            inputs: Inputs::default(),
            state: Mutex::new(Use {
                seen: now,
                asks: Bucket::new(ASKS, now),
            }),
            over: AtomicBool::new(false),
            ended: Notify::new(),
        })
    }

    /// Whether what it was given for is worth something still.
    fn is_good(&self, tokens: &Tokens) -> bool {
        match self.caller.identity() {
            Identity::Token(token) => tokens.is_good(&token),
            _ => true,
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::links::Links;
    use chardev_monitor::Server;

    #[test]
    fn a_session_ends_that_asks_for_nothing_for_long_and_so_many_are_kept() {
        let chardevs = chardev::Chardevs::new().expect("a thread");
        let server = Server::builder(&chardevs).start().expect("a thread");
        let tokens = server.access().tokens();
        let sessions = Sessions::default();
        let secret = sessions.open(server.caller(), "link");
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let find = |at| sessions.find_at(&secret, tokens, at).is_some();
        assert!(find(now + 11 * hour) && find(now + 22 * hour));
        assert!(!find(now + 35 * hour));
        assert!(!find(now + 22 * hour), "it does not come back");
        let open = |user| {
            let caller = server.caller_as(Identity::User(user), None);
            sessions.open(caller, "link")
        };
        let first = open(0);
        let all: Vec<_> = (0..=MOST).map(|_| open(1)).collect();
        assert_eq!(sessions.lock().len(), EACH + 1);
        assert!(sessions.find(&all[MOST], tokens).is_some());
        assert!(sessions.find(&all[MOST - EACH], tokens).is_none());
        assert!(
            sessions.find(&first, tokens).is_some(),
            "somebody else's stays"
        );
        (0..=MOST).for_each(|user| drop(open(2 + user as u32)));
        assert_eq!(sessions.lock().len(), MOST);
        // What proves who somebody is with each request is no cookie's secret.
        sessions.standing("proxy", "ann", tokens, || server.caller());
        for forged in ["ann", "proxy ann", "cookie ann"] {
            assert!(sessions.find(forged, tokens).is_none(), "{forged}");
        }
    }

    #[test]
    fn a_link_is_good_for_a_minute_and_once() {
        let chardevs = chardev::Chardevs::new().expect("a thread");
        let server = Server::builder(&chardevs).start().expect("a thread");
        let links = Links::default();
        let (code, late) = (links.add(server.caller()), links.add(server.caller()));
        let now = Instant::now();
        assert!(
            links
                .take_at(&code, now + Duration::from_secs(58))
                .is_some()
        );
        assert!(links.take_at(&code, now).is_none());
        assert!(
            links
                .take_at(&late, now + Duration::from_secs(61))
                .is_none()
        );
    }
}
