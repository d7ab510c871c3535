//! Who is at a monitor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use chardev_qapi::Object;
use chardev_qmp::Event;

use crate::events::{MAX_WAITING, now};

/// Who is at a monitor.
#[derive(Debug)]
pub(crate) struct Client {
    who: Who,
    since: u64,
    /// Whether it has asked for events about chardevs.
    hears: AtomicBool,
    mail: Mutex<Mail>,
}

/// A peer, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who {
    /// Its address or process, as `x-query-chardev-stats` shows it.
    pub peer: Option<String>,
    /// Its process, over a Unix socket.
    pub pid: Option<i32>,
    /// What that runs, once it is known.
    pub program: Arc<OnceLock<String>>,
}

/// Events for one client alone.
#[derive(Debug, Default)]
struct Mail {
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

impl Client {
    /// A client that has just come.
    pub(crate) fn new(who: Who) -> Self {
        Client {
            who,
            since: now().as_secs(),
            hears: AtomicBool::new(false),
            mail: Mutex::default(),
        }
    }

    /// Who it is.
    pub(crate) fn who(&self) -> &Who {
        &self.who
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

    pub(crate) fn describe(&self) -> Object {
        let Who { peer, pid, program } = &self.who;
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
        let pid: Option<i32> = peer.as_deref().and_then(|peer| {
            let (pid, _) = peer.strip_prefix("pid ")?.split_once(',')?;
            pid.parse().ok()
        });
        let program = Arc::<OnceLock<String>>::default();
        if let Some(pid) = pid {
            // Whoever comes to a monitor is not to hold up the others, however slow the host is.
            let found = Arc::clone(&program);
            #[expect(clippy::disallowed_methods, reason = "this file is on no disk")]
            let look = move || {
                if let Ok(name) = std::fs::read(format!("/proc/{pid}/comm")) {
                    let _ = found.set(String::from_utf8_lossy(&name).trim_end().to_owned());
                }
            };
            // Without a thread the name stays unknown.
            let _ = chardev::new_thread("who").and_then(|thread| thread.spawn(look));
        }
        Who { peer, pid, program }
    }
}

/// For people: `chardevctl (pid 4711, uid 0)`, or what is known of that.
impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.program.get(), &self.peer) {
            (Some(program), Some(peer)) => write!(f, "{} ({peer})", program.escape_debug()),
            (None, Some(peer)) => f.write_str(peer),
            (_, None) => f.write_str("somebody"),
        }
    }
}

fn lock(mail: &Mutex<Mail>) -> MutexGuard<'_, Mail> {
    mail.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_named_by_its_program_where_that_is_known() {
        let id = std::process::id();
        let own = Who::of(Some(format!("pid {id}, uid 7")));
        assert_eq!(own.pid, Some(id as i32));
        // It is looked up elsewhere.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while own.program.get().is_none() && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        assert!(own.to_string().ends_with(&format!(" (pid {id}, uid 7)")));
        let far = Who::of(Some("192.0.2.1:99".to_owned()));
        assert_eq!((far.pid, far.to_string().as_str()), (None, "192.0.2.1:99"));
        assert_eq!(Who::of(None).to_string(), "somebody");
    }
}
