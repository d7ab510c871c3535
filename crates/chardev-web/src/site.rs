//! What all requests share.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev_logs::Shelf;
use chardev_monitor::Server;
use tokio::sync::watch;

use crate::blocking::Blocking;
use crate::login::{Addresses, Links, Sessions, Users};
use crate::serve::{Door, Places};
use crate::settings::{Listen, Settings};
use crate::stream::frames::Frames;
use crate::tls::Loaded;

/// Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Site(Arc<Ground>);

#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) server: Server,
    pub(crate) sessions: Sessions,
    pub(crate) links: Links,
    /// Who comes from where, before anybody knows who that is.
    pub(crate) addresses: Addresses,
    pub(crate) places: Places,
    pub(crate) blocking: Blocking,
    pub(crate) users: Users,
    /// What was found in the indexes of logs.
    pub(crate) shelf: Shelf,
    /// What pages were sent last.
    pub(crate) frames: Frames,
    /// Changes whenever somebody joins a console or leaves it.
    pub(crate) joined: watch::Sender<u64>,
    now: Mutex<Now>,
}

/// What may be changed while it is served.
#[derive(Clone, Debug)]
struct Now {
    settings: Arc<Settings>,
    /// Where it listens in fact, if that is an address.
    bound: Option<SocketAddr>,
    /// What TLS is spoken with.
    tls: Option<Loaded>,
}

impl Site {
    pub(crate) fn new(server: Server, settings: Settings) -> Self {
        Site(Arc::new(Ground {
            server,
            sessions: Sessions::default(),
            links: Links::default(),
            addresses: Addresses::default(),
            places: Places::default(),
            blocking: Blocking::new(),
            users: Users::default(),
            shelf: Shelf::default(),
            frames: Frames::default(),
            joined: watch::Sender::new(0),
            now: Mutex::new(Now {
                settings: Arc::new(settings),
                bound: None,
                tls: None,
            }),
        }))
    }

    /// Somebody has joined a console, or left it.
    pub(crate) fn announce(&self) {
        self.joined.send_modify(|count| *count += 1);
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.now().settings)
    }

    pub(crate) fn set(&self, settings: Settings, tls: Option<Loaded>) {
        let mut now = self.now();
        now.settings = Arc::new(settings);
        now.tls = tls;
    }

    /// Speaks TLS by `tls` from here on, unless other settings than these have been given.
    pub(crate) fn renew(&self, settings: &Arc<Settings>, tls: Loaded) -> bool {
        let mut now = self.now();
        let is_same = Arc::ptr_eq(&now.settings, settings);
        if is_same {
            now.tls = Some(tls);
        }
        is_same
    }

    pub(crate) fn tls(&self) -> Option<Loaded> {
        self.now().tls.clone()
    }

    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.now().bound
    }

    pub(crate) fn set_bound(&self, door: &Door) {
        self.now().bound = match door {
            Door::Inet(address) => Some(*address),
            Door::Unix(_) => None,
        };
    }

    /// How browsers ask for it, for a link.
    pub(crate) fn origin(&self) -> String {
        let now = self.now().clone();
        let scheme = if now.tls.is_some() { "https" } else { "http" };
        let named = now.settings.hosts.first();
        let (host, port) = match &now.settings.listen {
            // Whoever has put a server in front knows what that is called.
            Listen::Unix(_) => {
                return match named {
                    Some(host) => format!("https://{host}"),
                    None => format!("{scheme}://localhost"),
                };
            }
            Listen::Inet { host, port } => (host, *port),
        };
        let bound = now.bound;
        let port = bound.map_or(port, |bound| bound.port());
        let is_any = bound.is_some_and(|bound| bound.ip().is_unspecified());
        let host = match named {
            Some(host) if host.contains(':') => return format!("{scheme}://{host}"),
            Some(host) => host.clone(),
            None if is_any => "localhost".to_owned(),
            None => host.clone(),
        };
        format!("{scheme}://{}", Listen::Inet { host, port })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::ops::Deref for Site {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.0
    }
}
