//! Where a host serves those who come over the fleet: sessions with its monitor, and single
//! commands. A thread and a connection of its own, so that output never holds them up.

mod counter;

use std::any::Any;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Event;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{oneshot, watch};

use crate::ledger::Ledger;
use crate::link::{self, Connection};
use crate::settings::Settings;
use crate::subject;
use crate::thread::Thread;
use counter::{Attended, Counter};

/// What a host does for those who come to its desk. `role` is that of the subject they came by,
/// which the servers let them; `from` is what the servers say of them (`Nats-Request-Info`), if
/// anything. Both are called on the desk's thread, and may not wait.
pub trait Serve: Send + Sync + 'static {
    /// A socket whose other end is what is `wanted`.
    ///
    /// # Errors
    /// Why not, for whoever has asked.
    fn session(&self, role: &str, from: Option<&str>, wanted: Wanted<'_>)
    -> Result<Served, String>;

    /// The answer to one command, which is a JSON object, as that is.
    fn request(&self, role: &str, from: Option<&str>, command: Bytes) -> Answered;
}

/// What a session is to be with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The host's monitor.
    Monitor,
    /// What somebody at the monitor has offered under this key.
    Tunnel {
        /// The key.
        key: &'a str,
        /// Whether it goes on when nothing more is said to it.
        half_close: bool,
    },
}

/// What a session carries.
pub struct Served {
    /// A socket; what is there at its other end is served.
    pub socket: UnixStream,
    /// Dropped once the session is over.
    pub place: Box<dyn Any + Send>,
}

/// How a wish for a tunnel begins: one that is over when nothing more is said to it, and the other.
pub(crate) const WHOLE: &str = "tunnel";
pub(crate) const HALF: &str = "half-tunnel";

impl<'a> Wanted<'a> {
    /// Reads what the message says that opens a session.
    fn parse(text: &'a [u8]) -> Option<Wanted<'a>> {
        if text.is_empty() {
            return Some(Wanted::Monitor);
        }
        let (sort, key) = std::str::from_utf8(text).ok()?.split_once(' ')?;
        let half_close = sort == HALF;
        (half_close || sort == WHOLE).then_some(Wanted::Tunnel { key, half_close })
    }
}

/// An answer to be waited for.
pub type Answered = Pin<Box<dyn Future<Output = Bytes> + Send>>;

/// A host that serves those who come over the fleet, until this is dropped.
#[derive(Debug)]
pub struct Desk {
    settings: Settings,
    sessions: Arc<Ledger<Attended>>,
    thread: Thread,
}

impl Desk {
    /// Serves those who come as one of `roles`. Returns at once; the servers need not be there.
    ///
    /// # Errors
    /// The process is out of threads.
    pub fn start(
        settings: Settings,
        roles: &'static [&'static str],
        serve: Arc<dyn Serve>,
    ) -> io::Result<Desk> {
        let ours = settings.clone();
        let sessions = Arc::new(Ledger::new());
        let (counted, with) = (Arc::clone(&sessions), (roles, serve));
        let work = move |stopped| work(ours, with, counted, stopped);
        let thread = Thread::start("fleet-qmp", work)?;
        Ok(Desk {
            settings,
            sessions,
            thread,
        })
    }

    /// What it goes by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// The host ends: waits until all sessions are over, but no longer than `limit`.
    pub fn finish(self, limit: Duration) {
        self.thread.finish(limit);
    }
}

async fn work(
    settings: Settings,
    (roles, serve): (&'static [&'static str], Arc<dyn Serve>),
    sessions: Arc<Ledger<Attended>>,
    stopped: oneshot::Receiver<Duration>,
) {
    let (told, connected) = watch::channel(Connection::default());
    let client = match connect(&settings, told).await {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(event = "fleet-failed", "fleet: {error}");
            return;
        }
    };
    let counter = Counter::new(client, connected, serve, sessions);
    let listening = counter.clone();
    // What is awaited here is looked at before all tasks, and after a look at the descriptors.
    let served = tokio::spawn(async move {
        if let Err(error) = listen(&settings, roles, &listening).await {
            tracing::error!(event = "fleet-failed", "fleet: {error}");
        }
    });
    let why = "the daemon has ended, or serves nobody over the fleet any more";
    let (sessions, client) = (&counter.sessions, &counter.client);
    sessions.end_well(client, (served, stopped), why).await;
}

/// Takes what comes.
async fn listen(
    settings: &Settings,
    roles: &'static [&'static str],
    counter: &Counter,
) -> io::Result<()> {
    let mut all = Vec::new();
    for role in roles {
        let Some(subject) = subject::qmp(&settings.cluster, &settings.host, role) else {
            return Err(io::Error::other(
                "the host's name is too long for a subject",
            ));
        };
        let heard = counter.client.subscribe(subject).await;
        let heard = heard.map_err(io::Error::other)?;
        all.push(heard.map(move |message| (*role, message)));
    }
    let mut all = futures_util::stream::select_all(all);
    while let Some((role, message)) = all.next().await {
        counter.take(role, message).await;
    }
    Ok(())
}

async fn connect(
    settings: &Settings,
    told: watch::Sender<Connection>,
) -> io::Result<async_nats::Client> {
    let tell = move |event: Event| {
        link::note(&told, &event);
        if let Event::ServerError(error) = event {
            tracing::warn!(event = "fleet-refused", "fleet: the server says: {error}");
        }
        async {}
    };
    let name = format!("chardevd {} qmp", settings.host);
    let options = link::options(settings, &name)?
        .retry_on_initial_connect()
        .event_callback(tell);
    let connecting = options.connect(&settings.servers[..]);
    connecting.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    #[test]
    fn what_is_wanted_is_read_as_it_was_said_or_not_at_all() {
        let tunnel = |half_close| Wanted::Tunnel {
            key: "k e y",
            half_close,
        };
        for (text, wanted) in [
            (&b""[..], Some(Wanted::Monitor)),
            (b"tunnel k e y", Some(tunnel(false))),
            (b"half-tunnel k e y", Some(tunnel(true))),
            (b"tunnel", None),
            (b"Tunnel k e y", None),
            (b"tunnel \xff", None),
        ] {
            assert_eq!(Wanted::parse(text), wanted);
        }
    }
}
