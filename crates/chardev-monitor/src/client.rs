//! Who is at a monitor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use chardev_qapi::Object;
use chardev_qmp::Event;

use crate::access::{Identity, Role};
use crate::events::{MAX_WAITING, now};
use crate::monitors::Terms;
use crate::tokens::Origin;
use crate::tunnels::Tunnel;

/// Who is at a monitor.
#[derive(Debug)]
pub(crate) struct Client {
    who: Who,
    /// What it may do goes by these: who it is, and the most that its monitor lets anybody do.
    identity: Mutex<Identity>,
    terms: Mutex<Terms>,
    /// The client who brought this one, and whose place it has: a connection that somebody brings
    /// may be another's.
    sponsor: Option<Arc<Client>>,
    since: u64,
    /// Whether it has asked for events about chardevs.
    hears: AtomicBool,
    mail: Mutex<Mail>,
    /// Its connection is its own, and may become a tunnel.
    may_carry: AtomicBool,
    /// What its connection is to carry.
    tunnel: Mutex<Option<Tunnel>>,
}

/// A peer, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who {
    /// Its address or process, as `x-query-chardev-stats` shows it.
    pub peer: Option<String>,
    /// Its process, over a Unix socket.
    pub pid: Option<i32>,
    /// Its user, likewise.
    pub uid: Option<u32>,
    /// The names that it has proven by a certificate.
    pub names: Vec<String>,
    /// What its process runs, once it is known.
    pub program: Arc<OnceLock<String>>,
    /// What its user is called, likewise.
    pub user: Arc<OnceLock<String>>,
}

/// Events for one client alone.
#[derive(Debug, Default)]
struct Mail {
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

impl Client {
    /// Nobody, who may do nothing.
    pub(crate) fn nobody() -> Self {
        Client::new(Who::default(), Role::View.into())
    }

    /// The program itself, or somebody whom it answers for.
    pub(crate) fn known(identity: Identity, peer: Option<String>) -> Self {
        let who = Who {
            peer,
            ..Who::default()
        };
        let client = Client::new(who, Terms::default());
        client.set_identity(identity);
        client
    }

    /// A client that has just come to a monitor with these terms.
    pub(crate) fn new(who: Who, terms: Terms) -> Self {
        let by_user = || who.uid.map(Identity::User);
        let identity = Identity::of_names(who.names.clone()).or_else(by_user);
        Client {
            identity: Mutex::new(identity.unwrap_or_default()),
            terms: Mutex::new(terms),
            sponsor: None,
            who,
            since: now().as_secs(),
            hears: AtomicBool::new(false),
            mail: Mutex::default(),
            may_carry: AtomicBool::new(false),
            tunnel: Mutex::default(),
        }
    }

    /// The same as one who may do what `sponsor` may.
    pub(crate) fn brought_by(mut self, sponsor: Arc<Client>) -> Self {
        // Not a chain of them, which would grow with each that brings the next.
        let first = sponsor.sponsor.clone();
        self.sponsor = Some(first.unwrap_or(sponsor));
        self
    }

    /// Who it has proven to be, or whose place it has.
    pub(crate) fn identity(&self) -> Identity {
        let own = lock(&self.identity).clone();
        match (&self.sponsor, &own) {
            (Some(sponsor), Identity::Nobody | Identity::User(_)) => sponsor.identity(),
            _ => own,
        }
    }

    /// It has proven to be somebody else.
    #[cfg_attr(not(feature = "tokens"), allow(dead_code))]
    pub(crate) fn set_identity(&self, identity: Identity) {
        *lock(&self.identity) = identity;
    }

    /// Who it is, if the program carries what it says.
    pub(crate) fn carried(&self) -> Option<Who> {
        let is_carried = matches!(*lock(&self.identity), Identity::Vouched(_));
        is_carried.then(|| self.who.clone())
    }

    /// Whether it has yet to prove who it is before it may do anything.
    pub(crate) fn is_stranger(&self) -> bool {
        lock(&self.terms).known_only && self.identity().is_nobody()
    }

    /// Where it comes from, as far as guesses are counted.
    #[cfg_attr(not(feature = "tokens"), allow(dead_code))]
    pub(crate) fn origin(&self) -> Origin {
        match &self.sponsor {
            Some(sponsor) => sponsor.origin(),
            None => Origin::of_peer(self.who.peer.as_deref(), self.who.uid),
        }
    }

    /// Who it is, for the log of who did what: `user ann (uid 1000) with chardevctl (pid 4711)`,
    /// or its title.
    pub(crate) fn full_title(&self) -> String {
        match (self.identity(), self.who.titled()) {
            (Identity::User(_), Some(titled)) => titled,
            _ => self.title(),
        }
    }

    /// Who it is, for people: `token lab1 (192.0.2.1:99)`, `chardevctl (pid 4711, user ann)`.
    pub(crate) fn title(&self) -> String {
        let from = self.who.to_string();
        match self.identity() {
            Identity::Nobody | Identity::User(_) => from,
            Identity::Program if self.who.peer.is_none() => "the program".to_owned(),
            known => format!("{known} ({from})"),
        }
    }

    /// The most that it may do.
    pub(crate) fn limit(&self) -> Role {
        let own = lock(&self.terms).role;
        let sponsor = self.sponsor.as_ref();
        sponsor.map_or(own, |sponsor| own.min(sponsor.limit()))
    }

    pub(crate) fn set_terms(&self, terms: Terms) {
        *lock(&self.terms) = terms;
    }

    /// Whether it has asked for events about chardevs.
    pub(crate) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }

    /// Notes whether it wants them.
    pub(crate) fn set_hears(&self, hears: bool) {
        self.hears.store(hears, Ordering::Relaxed);
    }

    /// Tells this client alone.
    pub(crate) fn tell(&self, event: Event) {
        let waker = {
            let mut mail = lock(&self.mail);
            if mail.events.len() == MAX_WAITING {
                mail.events.pop_front();
            }
            mail.events.push_back(event);
            mail.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// The next event for this client alone, for its monitor.
    pub(crate) fn poll_mail(&self, cx: &Context<'_>) -> Poll<Event> {
        let mut mail = lock(&self.mail);
        match mail.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                mail.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether its connection may become a tunnel.
    pub(crate) fn may_carry(&self) -> bool {
        self.may_carry.load(Ordering::Relaxed)
    }

    /// Its connection is its own.
    pub(crate) fn set_may_carry(&self) {
        self.may_carry.store(true, Ordering::Relaxed);
    }

    /// Its connection carries this once it has been told so.
    pub(crate) fn set_tunnel(&self, tunnel: Tunnel) {
        *lock(&self.tunnel) = Some(tunnel);
    }

    pub(crate) fn has_tunnel(&self) -> bool {
        lock(&self.tunnel).is_some()
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        lock(&self.tunnel).take()
    }

    pub(crate) fn describe(&self) -> Object {
        let Who {
            peer, pid, program, ..
        } = &self.who;
        let mut described = Object::new();
        if let Some(peer) = peer {
            described.insert("peer", peer.as_str());
        }
        if let Some(pid) = *pid {
            described.insert("pid", i64::from(pid));
        }
        if let Some(program) = program.get() {
            described.insert("program", program.as_str());
        }
        described.with("since", self.since)
    }
}

impl Who {
    /// Who is behind a name that a back end gave its peer.
    pub(crate) fn of(peer: Option<String>) -> Self {
        // No other kind of peer is called so.
        let process = peer.as_deref().and_then(|peer| {
            let (pid, uid) = peer.strip_prefix("pid ")?.split_once(", uid ")?;
            Some((pid.parse::<i32>().ok()?, uid.parse::<u32>().ok()?))
        });
        let (pid, uid) = process.unzip();
        let program = Arc::<OnceLock<String>>::default();
        let user = Arc::<OnceLock<String>>::default();
        if let (Some(pid), Some(uid)) = (pid, uid) {
            // Whoever comes to a monitor is not to hold up the others, however slow the host is.
            let (found, called) = (Arc::clone(&program), Arc::clone(&user));
            #[expect(clippy::disallowed_methods, reason = "a thread of its own may wait")]
            let look = move || {
                if let Ok(name) = std::fs::read(format!("/proc/{pid}/comm")) {
                    let _ = found.set(String::from_utf8_lossy(&name).trim_end().to_owned());
                }
                let users = std::fs::read("/etc/passwd").unwrap_or_default();
                if let Some(name) = name_of(uid, &String::from_utf8_lossy(&users)) {
                    let _ = called.set(name.to_owned());
                }
            };
            // Without a thread the names stay unknown.
            let _ = chardev::new_thread("who").and_then(|thread| thread.spawn(look));
        }
        Who {
            peer,
            pid,
            uid,
            names: Vec::new(),
            program,
            user,
        }
    }

    /// `user ann (uid 1000) with chardevctl (pid 4711)`, if that much is known.
    fn titled(&self) -> Option<String> {
        let (program, user) = (self.program.get()?, self.user.get()?);
        let (pid, uid) = (self.pid?, self.uid?);
        let (program, user) = (program.escape_debug(), user.escape_debug());
        Some(format!(
            "user {user} (uid {uid}) with {program} (pid {pid})"
        ))
    }
}

/// The name of user `uid` in `users`, the host's own file of them.
fn name_of(uid: u32, users: &str) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, number) = (parts.next()?, parts.nth(1)?);
        (number.parse() == Ok(uid) && !name.is_empty()).then_some(name)
    })
}

/// For people: `chardevctl (pid 4711, user ann)`, or what is known of that.
impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Some(program), Some(user), Some(pid)) =
            (self.program.get(), self.user.get(), self.pid)
        {
            let (program, user) = (program.escape_debug(), user.escape_debug());
            return write!(f, "{program} (pid {pid}, user {user})");
        }
        match (self.program.get(), &self.peer) {
            (Some(program), Some(peer)) => write!(f, "{} ({peer})", program.escape_debug()),
            (None, Some(peer)) => f.write_str(peer),
            (_, None) => f.write_str("somebody"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_brings_a_client_stands_for_all_that_it_brings() {
        let uid = Who::of(Some("pid 4711, uid 7".to_owned()));
        let first = Arc::new(Client::new(uid, Role::Attach.into()));
        let mut last = Arc::clone(&first);
        for _ in 0..1_000_000 {
            let next = Client::new(Who::default(), Terms::default());
            last = Arc::new(next.brought_by(last));
        }
        assert_eq!(
            (last.identity(), last.limit()),
            (Identity::User(7), Role::Attach)
        );
        first.set_terms(Role::View.into());
        assert_eq!(last.limit(), Role::View);
    }

    #[test]
    fn a_peer_is_named_by_its_program_where_that_is_known() {
        let id = std::process::id();
        let own = Who::of(Some(format!("pid {id}, uid 4000000000")));
        assert_eq!(own.pid, Some(id as i32));
        // It is looked up elsewhere.
        let until_known = |name: &OnceLock<String>| {
            let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while name.get().is_none() && std::time::Instant::now() < end {
                std::thread::yield_now();
            }
        };
        until_known(&own.program);
        let unnamed = format!(" (pid {id}, uid 4000000000)");
        assert!(own.to_string().ends_with(&unnamed));
        let root = Who::of(Some(format!("pid {id}, uid 0")));
        until_known(&root.user);
        assert!(
            root.to_string()
                .ends_with(&format!(" (pid {id}, user root)"))
        );
        let title = Client::new(root, Terms::default()).full_title();
        assert!(title.starts_with("user root (uid 0) with "), "{title}");
        assert!(title.ends_with(&format!(" (pid {id})")), "{title}");
        let far = Who::of(Some("192.0.2.1:99".to_owned()));
        assert_eq!((far.pid, far.to_string().as_str()), (None, "192.0.2.1:99"));
        assert_eq!(Who::of(None).to_string(), "somebody");
    }

    #[test]
    fn a_user_has_the_name_in_the_file() {
        let users = "root:x:0:0:root:/root:/bin/sh\n# a note\n\n:x:7:7::/:\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_of(0, users), Some("root"));
        assert_eq!(name_of(1000, users), Some("ann"));
        assert_eq!(name_of(7, users), None);
        assert_eq!(name_of(1001, users), None);
    }
}
