//! front → chardev → [back] → host: where the peers of a socket come from, and how the next one is
//! found.
//!
//! A listener has them come to it, a client goes to its server, once or again and again, and a
//! descriptor that was given has one peer and no other.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chardev_core::spec::SocketAddress;
use chardev_core::{OpenError, Ready};
use rustix::io::Errno;

use super::config::Config;
use super::connect::Target;
use super::lent::Lent;
use super::listen::{Listener, WantListener};
use super::unix;
use crate::back::LayerKind;
#[cfg(feature = "dbus")]
use crate::dbus::Registration;
use crate::port::{OwnedTask, Port};
use crate::shortage::{self, Turn, is_shortage};
use crate::sys::strerror;
use crate::tasks::TaskKind;

/// The pause before the next attempt to accept when the host is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where peers come from.
pub(super) struct Source {
    port: Port,
    way: Way,
    /// A descriptor that goes back if the back end never goes live.
    lent: Option<Box<Lent>>,
}

enum Way {
    Listener {
        listener: Listener,
        pause: Option<Box<Pause>>,
    },
    Client {
        name: String,
        again: Option<Box<Again>>,
        /// It did not connect, because it is to take over its predecessor's connection.
        awaits_peer: bool,
    },
    Given {
        name: String,
    },
    /// They are registered over D-Bus.
    #[cfg(feature = "dbus")]
    Registered(Registration),
}

/// Why no client is looked for just now.
enum Pause {
    Task(#[allow(dead_code, reason = "ends when it is dropped")] OwnedTask),
    Turn(#[allow(dead_code, reason = "ends when it is dropped")] Turn),
}

/// How a client connects again.
struct Again {
    target: Target,
    interval: Duration,
    connector: Option<Connector>,
}

/// A connection being made in the background.
struct Connector {
    reached: Arc<Mutex<Option<OwnedFd>>>,
    _task: OwnedTask,
}

/// A wish for the connected peer of a back end that gets its peers from the same place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WantPeer {
    place: String,
    server: bool,
    layers: Vec<String>,
}

impl WantPeer {
    /// The peer of a client.
    pub(super) fn of_client(config: &Config) -> Self {
        WantPeer::new(show(&config.address), false, &config.layers)
    }

    fn new(place: String, server: bool, layers: &[LayerKind]) -> Self {
        let layers = layers.iter().map(|layer| layer.name().to_owned()).collect();
        WantPeer {
            place,
            server,
            layers,
        }
    }
}

impl Source {
    /// Clients of `listener`.
    pub(super) fn listener(port: &Port, listener: Listener) -> Self {
        Source::new(
            port,
            Way::Listener {
                listener,
                pause: None,
            },
        )
    }

    /// The server that a client has connected to, and does not connect to again.
    pub(super) fn server(port: &Port, config: &Config) -> Self {
        Source::new(
            port,
            Way::Client {
                name: show(&config.address),
                again: None,
                awaits_peer: false,
            },
        )
    }

    /// The server at `target`, to be connected to in the background whenever there is no peer.
    pub(super) fn reconnecting(
        port: &Port,
        config: &Config,
        target: Target,
        interval: Duration,
    ) -> Self {
        let mut source = Source::server(port, config);
        source.again(target, interval);
        source.connect_after(Duration::ZERO);
        source
    }

    /// The connection of the back end that is replaced, and then that back end's server.
    pub(super) fn succeeding(port: &Port, config: &Config, target: Target) -> Self {
        let mut source = Source::server(port, config);
        if let Some(interval) = config.reconnect {
            source.again(target, interval);
        }
        if let Way::Client { awaits_peer, .. } = &mut source.way {
            *awaits_peer = true;
        }
        source
    }

    /// The connected socket that was given as `name`.
    pub(super) fn given(port: &Port, name: &str) -> Self {
        Source::new(
            port,
            Way::Given {
                name: format!("fd:{name}"),
            },
        )
    }

    /// Those who are registered over D-Bus.
    #[cfg(feature = "dbus")]
    pub(super) fn registered(port: &Port, registration: Registration) -> Self {
        Source::new(port, Way::Registered(registration))
    }

    /// The registration over D-Bus, where peers come by one.
    #[cfg(feature = "dbus")]
    pub(super) fn registration(&self) -> Option<&Registration> {
        match &self.way {
            Way::Registered(registration) => Some(registration),
            _ => None,
        }
    }

    /// Holds on to a descriptor that goes back if the back end never goes live.
    pub(super) fn keep_lent(&mut self, lent: Lent) {
        self.lent = Some(Box::new(lent));
    }

    fn new(port: &Port, way: Way) -> Self {
        Source {
            port: port.clone(),
            way,
            lent: None,
        }
    }

    fn again(&mut self, target: Target, interval: Duration) {
        if let Way::Client { again, .. } = &mut self.way {
            *again = Some(Box::new(Again {
                target,
                interval,
                connector: None,
            }));
        }
    }

    /// Where they come from, as QEMU writes it.
    pub(super) fn name(&self) -> String {
        match &self.way {
            Way::Listener { listener, .. } => listener.filename(),
            Way::Client { name, .. } | Way::Given { name } => name.clone(),
            // What QEMU shows, whose kind listens on no descriptor.
            #[cfg(feature = "dbus")]
            Way::Registered(_) => "fd:,server=on".to_owned(),
        }
    }

    /// The wish for a peer that comes from here and is spoken to over `layers`.
    pub(super) fn own_peer(&self, layers: &[LayerKind]) -> WantPeer {
        WantPeer::new(self.name(), self.is_listener(), layers)
    }

    /// Whether there was one, and no other will come.
    pub(super) fn is_given(&self) -> bool {
        matches!(self.way, Way::Given { .. })
    }

    /// Whether connections are made here, so that nobody else has a descriptor of one.
    pub(super) fn connects(&self) -> bool {
        matches!(self.way, Way::Listener { .. } | Way::Client { .. })
    }

    /// Whether it is a server that was connected to.
    pub(super) fn is_client(&self) -> bool {
        matches!(self.way, Way::Client { .. })
    }

    /// Whether they come to a listener.
    pub(super) fn is_listener(&self) -> bool {
        matches!(self.way, Way::Listener { .. })
    }

    /// Peers are taken as they come from now on.
    pub(super) fn expect_many(&self) {
        if let Way::Listener { listener, .. } = &self.way {
            listener.expect_many();
        }
    }

    /// The next peer, if it has come by now, whether or not anything told of it yet. A client that
    /// has not is told of when it comes.
    pub(super) fn next(&mut self) -> Option<OwnedFd> {
        let found = match &mut self.way {
            Way::Listener { listener, pause } => {
                *pause = None;
                match listener.accept() {
                    Err(error) if is_shortage(error) => {
                        self.wait_for_descriptor(error);
                        return None;
                    }
                    found => found.map_err(strerror),
                }
            }
            Way::Client { again, .. } => return again.as_mut()?.take_reached(),
            Way::Given { .. } => return None,
            #[cfg(feature = "dbus")]
            Way::Registered(registration) => return registration.next(),
        };
        let outcome = match found {
            Ok(Some(fd)) => return Some(fd),
            Ok(None) => self.watch(),
            Err(cause) => Err(cause.into()),
        };
        if let Err(cause) = outcome {
            self.pause_accepting(&cause);
        }
        None
    }

    /// Asks to be told of a client that comes to the listener, if there is one.
    ///
    /// # Errors
    /// The host is out of watches.
    pub(super) fn watch(&mut self) -> Result<(), OpenError> {
        match &mut self.way {
            Way::Listener { listener, .. } => listener.watch(&self.port),
            _ => Ok(()),
        }
    }

    /// A peer is there: nobody else is looked for before it has left.
    pub(super) fn rest(&mut self) {
        if let Way::Listener { listener, .. } = &mut self.way {
            listener.rest();
        }
    }

    /// The peer has left. Nothing of a next one is looked at here: the machine has to be told of
    /// this one's end first, so that neither input nor output crosses over.
    pub(super) fn peer_left(&mut self) {
        match &self.way {
            Way::Listener { .. } => {
                if let Err(cause) = self.watch() {
                    self.pause_accepting(&cause);
                }
            }
            Way::Client {
                again: Some(again), ..
            } => self.connect_after(again.interval),
            #[cfg(feature = "dbus")]
            Way::Registered(registration) => registration.peer_left(),
            Way::Client { again: None, .. } | Way::Given { .. } => {}
        }
    }

    /// A peer that came could not be used.
    pub(super) fn retry_later(&mut self, cause: &OpenError) {
        match &self.way {
            Way::Listener { .. } => self.pause_accepting(cause),
            Way::Client {
                again: Some(again), ..
            } => {
                let (label, interval) = (self.port.label(), again.interval);
                tracing::warn!(
                    console = label,
                    event = "connect-failed",
                    "Unable to connect character device {label}: {cause}"
                );
                self.connect_after(interval);
            }
            #[cfg(feature = "dbus")]
            Way::Registered(registration) => registration.peer_left(),
            Way::Client { again: None, .. } | Way::Given { .. } => {}
        }
    }

    /// Out of something: looking for a client at once would keep the I/O thread spinning.
    fn pause_accepting(&mut self, cause: &OpenError) {
        tracing::warn!(
            label = self.port.label(),
            "cannot serve a client for now: {cause}"
        );
        let Way::Listener { pause, .. } = &mut self.way else {
            return;
        };
        let port = self.port.clone();
        let task = OwnedTask::spawn_listed(&self.port, TaskKind::Timer, async move {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            // A front end that takes its clients itself is to try again.
            port.kick(Ready::READ);
        });
        *pause = Some(Box::new(Pause::Task(task)));
    }

    fn wait_for_descriptor(&mut self, error: Errno) {
        let turn = shortage::wait(&self.port, error);
        if let Way::Listener { pause, .. } = &mut self.way {
            *pause = Some(Box::new(Pause::Turn(turn)));
        }
    }

    fn connect_after(&mut self, delay: Duration) {
        let Way::Client {
            again: Some(again), ..
        } = &mut self.way
        else {
            return;
        };
        let reached = Arc::new(Mutex::new(None));
        let hand_over = Arc::clone(&reached);
        let (port, target, interval) = (self.port.clone(), again.target.clone(), again.interval);
        let task = OwnedTask::spawn_listed(&self.port, TaskKind::Connect, async move {
            tokio::time::sleep(delay).await;
            let fd = reach(port.label(), &target, interval).await;
            *hand_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(fd);
            port.kick(Ready::empty());
        });
        again.connector = Some(Connector {
            reached,
            _task: task,
        });
    }

    /// The predecessor's peer was taken over.
    pub(super) fn adopted(&mut self) {
        match &mut self.way {
            Way::Client { awaits_peer, .. } => *awaits_peer = false,
            #[cfg(feature = "dbus")]
            Way::Registered(registration) => registration.adopted(),
            _ => {}
        }
    }

    /// Takes a path into use: from here on clients come to the listener.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    pub(super) fn activate(&mut self) -> Result<(), OpenError> {
        match &mut self.way {
            Way::Listener { listener, .. } => listener.activate(),
            _ => Ok(()),
        }
    }

    /// Undoes [`Source::activate`].
    pub(super) fn deactivate(&mut self) {
        if let Way::Listener { listener, .. } = &mut self.way {
            listener.deactivate();
        }
    }

    /// What the back end was opened with is in use for good.
    pub(super) fn go_live(&mut self, has_peer: bool) {
        if let Some(lent) = self.lent.take() {
            lent.keep();
        }
        match &mut self.way {
            Way::Listener { listener, .. } => listener.keep(),
            Way::Client { awaits_peer, .. } => {
                // The peer that was to be kept has left meanwhile.
                if std::mem::take(awaits_peer) && !has_peer {
                    self.connect_after(Duration::ZERO);
                }
            }
            Way::Given { .. } => {}
            #[cfg(feature = "dbus")]
            Way::Registered(registration) => registration.go_live(),
        }
    }

    /// The same listener, for a back end that is to listen on `wanted`.
    pub(super) fn lend(&self, wanted: &WantListener) -> Option<Listener> {
        match &self.way {
            Way::Listener { listener, .. } => listener.lend(wanted),
            _ => None,
        }
    }
}

impl Again {
    fn take_reached(&mut self) -> Option<OwnedFd> {
        let connector = self.connector.as_ref()?;
        let fd = connector
            .reached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        self.connector = None;
        Some(fd)
    }
}

/// Connects until it works. The first failure of a row is reported.
async fn reach(label: &str, target: &Target, interval: Duration) -> OwnedFd {
    let mut told = false;
    loop {
        match target.clone().connect().await {
            Ok(fd) => return fd,
            Err(cause) if !told => {
                told = true;
                tracing::warn!(
                    console = label,
                    event = "connect-failed",
                    "Unable to connect character device {label}: {cause}"
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(interval).await;
    }
}

/// The address a client was given, as QEMU writes it.
fn show(address: &SocketAddress) -> String {
    match address {
        SocketAddress::Inet(inet) => format!("tcp:{}:{}", inet.host, inet.port),
        SocketAddress::Unix {
            path,
            abstract_name,
            tight,
        } => unix::show(path, *abstract_name, *tight),
        SocketAddress::Vsock { cid, port } => format!("vsock:{cid}:{port}"),
        SocketAddress::Fd(name) => format!("fd:{name}"),
    }
}
