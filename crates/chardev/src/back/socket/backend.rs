//! front → chardev → [back] → host: the socket as the machine sees it, with or without a peer.

use std::any::Any;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chardev_core::spec::SocketAddress;
use chardev_core::{
    Answers, Backend, BackendEvent, BackendId, Drain, Line, NothingToDrain, Presence, Ready, Sent,
    WeakChardev,
};
use rustix::io::Errno;

use super::config::Config;
use super::connect::Target;
use super::connection::Connection;
use super::lent::Lent;
use super::listen::{Listener, WantListener};
use super::unix;
use crate::port::{OwnedTask, Port};
use crate::shortage::{self, Turn, is_shortage};
use crate::sys::strerror;

/// The pause before the next attempt to accept when the host is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most input of a departed peer that is carried so that the next one may come.
const LEFT_LIMIT: usize = 1 << 20;

/// A socket: where its peers come from, and the one that is there.
pub(super) struct SocketBackend {
    port: Port,
    source: Source,
    nodelay: bool,
    unix: bool,
    connection: Option<Connection>,
    /// The peer takes nothing more, but left too much unread to be carried at once.
    only_reading: bool,
    /// A front end is there.
    attached: bool,
    /// A peer that ends its sending is kept, whatever the front end does.
    keeps: bool,
    /// It is kept, for that reason or because the front end answers it.
    half_close: bool,
    /// Such a peer has ended its sending, and all of it was read.
    input_ended: bool,
    events: VecDeque<BackendEvent>,
    /// Descriptors that came with the last input.
    fds: Vec<OwnedFd>,
    lent: Option<Lent>,
    /// How many clients its front end may take at a time, if it takes them itself.
    clients: Option<usize>,
    /// The front end takes them, and serves this many.
    accepts: bool,
    serving: usize,
    /// A client that did not connect, because it is to take over its predecessor's connection.
    awaits_peer: bool,
}

/// A wish for the connected peer of a back end that gets its peers from the same place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WantPeer {
    place: String,
    server: bool,
}

impl WantPeer {
    /// The peer of a client that connects to `address`.
    pub(super) fn of_client(address: &SocketAddress) -> Self {
        WantPeer {
            place: show(address),
            server: false,
        }
    }
}

/// Why no client is looked for just now.
enum Pause {
    Task(#[allow(dead_code, reason = "ends when it is dropped")] OwnedTask),
    Turn(#[allow(dead_code, reason = "ends when it is dropped")] Turn),
}

/// Where peers come from.
enum Source {
    Server {
        listener: Listener,
        pause: Option<Pause>,
    },
    Client {
        name: String,
        again: Option<Again>,
    },
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

impl SocketBackend {
    /// A server; `first` is a client that was waited for.
    pub(super) fn server(
        port: Port,
        config: &Config,
        listener: Listener,
        first: Option<OwnedFd>,
    ) -> Result<Self, String> {
        let unix = listener.is_unix();
        let source = Source::Server {
            listener,
            pause: None,
        };
        let mut backend = SocketBackend::new(port, source, config, unix);
        backend.clients = config.clients;
        match first {
            Some(fd) => backend.establish(Arc::new(fd))?,
            None => backend.watch_listener()?,
        }
        Ok(backend)
    }

    /// A client that is connected over `fd` and ends with its peer.
    pub(super) fn client(
        port: Port,
        config: &Config,
        target: &Target,
        fd: OwnedFd,
    ) -> Result<Self, String> {
        let source = Source::Client {
            name: show(&config.address),
            again: None,
        };
        let mut backend = SocketBackend::new(port, source, config, target.is_unix());
        backend.establish(Arc::new(fd))?;
        Ok(backend)
    }

    /// A client that takes over the connection of the back end it replaces.
    pub(super) fn succeeding(port: Port, config: &Config, target: Target) -> Self {
        let unix = target.is_unix();
        let again = config.reconnect.map(|interval| Again {
            target,
            interval,
            connector: None,
        });
        let source = Source::Client {
            name: show(&config.address),
            again,
        };
        let mut backend = SocketBackend::new(port, source, config, unix);
        backend.awaits_peer = true;
        backend
    }

    /// A client that connects in the background, whenever it has no peer.
    pub(super) fn reconnecting(
        port: Port,
        config: &Config,
        target: Target,
        interval: Duration,
    ) -> Self {
        let unix = target.is_unix();
        let again = Again {
            target,
            interval,
            connector: None,
        };
        let source = Source::Client {
            name: show(&config.address),
            again: Some(again),
        };
        let mut backend = SocketBackend::new(port, source, config, unix);
        backend.connect_after(Duration::ZERO);
        backend
    }

    /// The connected socket that was given as `name`.
    pub(super) fn given(
        port: Port,
        config: &Config,
        name: &str,
        fd: &Arc<OwnedFd>,
    ) -> Result<Self, String> {
        let source = Source::Client {
            name: format!("fd:{name}"),
            again: None,
        };
        let mut backend = SocketBackend::new(port, source, config, false);
        backend.establish(Arc::clone(fd))?;
        backend.unix = backend.connection.as_ref().is_some_and(Connection::is_unix);
        Ok(backend)
    }

    /// Holds on to a descriptor that goes back if this never goes live.
    pub(super) fn keep_lent(&mut self, lent: Lent) {
        self.lent = Some(lent);
    }

    fn new(port: Port, source: Source, config: &Config, unix: bool) -> Self {
        SocketBackend {
            port,
            source,
            nodelay: config.nodelay,
            unix,
            connection: None,
            only_reading: false,
            attached: false,
            keeps: config.half_close,
            half_close: config.half_close,
            input_ended: false,
            events: VecDeque::new(),
            fds: Vec::new(),
            lent: None,
            clients: None,
            accepts: false,
            serving: 0,
            awaits_peer: false,
        }
    }

    /// Whether clients wait to be taken by the front end, rather than becoming the peer. Before
    /// there is a front end nobody knows, so they wait.
    fn hands_out(&self) -> bool {
        self.clients.is_some() && (self.accepts || !self.attached)
    }

    /// Whether a peer that only ended its sending is kept. A front end that is still to come may answer
    /// it; over TCP that peer cannot be told from one that has left, which must not be in the way.
    fn keeps_half_closed(&self) -> bool {
        self.half_close || (!self.attached && self.unix && !self.input_ended)
    }

    /// Where its peers come from.
    fn own_peer(&self) -> WantPeer {
        match &self.source {
            Source::Server { listener, .. } => WantPeer {
                place: listener.filename(),
                server: true,
            },
            Source::Client { name, .. } => WantPeer {
                place: name.clone(),
                server: false,
            },
        }
    }

    fn establish(&mut self, fd: Arc<OwnedFd>) -> Result<(), String> {
        let connection = Connection::new(&self.port, fd, self.nodelay)?;
        if self.half_close {
            connection.keep_alive();
        }
        self.connection = Some(connection);
        self.events.push_back(BackendEvent::Opened);
        Ok(())
    }

    /// The peer is gone: what it had sent is handed over, and the next one may come.
    fn lose_peer(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let unread = connection.take_unread(&mut self.fds);
        drop(connection);
        self.after_peer(unread);
    }

    /// The peer is gone, but a lot of what it had sent is unread: then the connection stays until
    /// the front end has read to its end, rather than all of it in memory.
    fn lose_peer_unless_unread(&mut self) {
        self.only_reading = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.unread() > LEFT_LIMIT);
        if !self.only_reading {
            self.lose_peer();
        }
    }

    /// Nothing of a next peer is looked at here: the machine has to be told of this one's end
    /// first, so that neither input nor output crosses over.
    fn after_peer(&mut self, unread: Vec<u8>) {
        self.only_reading = false;
        self.input_ended = false;
        self.events.push_back(BackendEvent::Closed { unread });
        let interval = match &self.source {
            Source::Client {
                again: Some(again), ..
            } => again.interval,
            Source::Client { again: None, .. } => return,
            Source::Server { .. } => {
                if let Err(cause) = self.watch_listener() {
                    self.pause_accepting(&cause);
                }
                return;
            }
        };
        self.connect_after(interval);
    }

    /// Takes a peer that has come by now, whether or not anything told of it yet.
    fn find_peer(&mut self) {
        if self.connection.is_some() || self.hands_out() {
            return;
        }
        let found = match &mut self.source {
            Source::Server { listener, pause } => {
                *pause = None;
                match listener.accept() {
                    Err(error) if is_shortage(error) => return self.wait_for_descriptor(error),
                    found => found.map_err(strerror),
                }
            }
            Source::Client { again, .. } => Ok(again.as_mut().and_then(Again::take_reached)),
        };
        let outcome = match found {
            Ok(Some(fd)) => self.establish(Arc::new(fd)),
            Ok(None) => self.watch_listener(),
            Err(cause) => Err(cause),
        };
        if let Err(cause) = outcome {
            self.retry_later(&cause);
        }
    }

    fn watch_listener(&mut self) -> Result<(), String> {
        match &mut self.source {
            Source::Server { listener, .. } => listener.watch(&self.port),
            Source::Client { .. } => Ok(()),
        }
    }

    fn retry_later(&mut self, cause: &str) {
        match &self.source {
            Source::Server { .. } => self.pause_accepting(cause),
            Source::Client {
                again: Some(again), ..
            } => {
                let (label, interval) = (self.port.label(), again.interval);
                tracing::warn!("Unable to connect character device {label}: {cause}");
                self.connect_after(interval);
            }
            Source::Client { again: None, .. } => {}
        }
    }

    /// Out of something: looking for a client at once would keep the I/O thread spinning.
    fn pause_accepting(&mut self, cause: &str) {
        tracing::warn!(
            label = self.port.label(),
            "cannot serve a client for now: {cause}"
        );
        let Source::Server { pause, .. } = &mut self.source else {
            return;
        };
        let port = self.port.clone();
        *pause = Some(Pause::Task(OwnedTask::spawn(&self.port, async move {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            // A front end that takes its clients itself is to try again.
            port.kick(Ready::READ);
        })));
    }

    fn wait_for_descriptor(&mut self, error: Errno) {
        let turn = shortage::wait(&self.port, error);
        if let Source::Server { pause, .. } = &mut self.source {
            *pause = Some(Pause::Turn(turn));
        }
    }

    /// A peer that was kept may not have to be any more; seen to once the present call is over.
    fn look_at_peer(&self) {
        if self.connection.is_some() {
            let port = self.port.clone();
            self.port.spawn(async move { port.kick(Ready::HANGUP) });
        }
    }

    fn connect_after(&mut self, delay: Duration) {
        let Source::Client {
            again: Some(again), ..
        } = &mut self.source
        else {
            return;
        };
        let reached = Arc::new(Mutex::new(None));
        let hand_over = Arc::clone(&reached);
        let (port, target, interval) = (self.port.clone(), again.target.clone(), again.interval);
        let task = OwnedTask::spawn(&self.port, async move {
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
                tracing::warn!("Unable to connect character device {label}: {cause}");
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

impl Backend for SocketBackend {
    fn kind(&self) -> &'static str {
        "socket"
    }

    fn filename(&self) -> String {
        let (name, server) = match &self.source {
            Source::Server { listener, .. } => (listener.filename(), true),
            Source::Client { name, .. } => (name.clone(), false),
        };
        match &self.connection {
            None if self.accepts && self.serving > 0 => name,
            None => format!("disconnected:{name}"),
            Some(connection) => connection.tcp_name(server).unwrap_or(name),
        }
    }

    fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], fds: &mut Vec<OwnedFd>) -> Sent {
        let Some(connection) = &self.connection else {
            return Sent::NoPeer;
        };
        if self.only_reading {
            return Sent::NoPeer;
        }
        match connection.send(bufs, fds) {
            Ok(0) | Err(Errno::AGAIN) => Sent::Full,
            Ok(count) => Sent::Taken(count),
            Err(_) => {
                self.lose_peer_unless_unread();
                Sent::NoPeer
            }
        }
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let Some(connection) = &self.connection else {
            return 0;
        };
        match connection.receive(bufs, &mut self.fds) {
            Ok(count) if count > 0 => count,
            Err(Errno::AGAIN) => 0,
            Ok(_) if self.half_close && !connection.is_gone() => {
                self.input_ended = true;
                0
            }
            Ok(_) | Err(_) => {
                self.lose_peer();
                0
            }
        }
    }

    fn watch(&mut self, mut interest: Ready) {
        if self.only_reading {
            interest -= Ready::WRITE;
        }
        // The end of the input would be reported again and again.
        if self.input_ended {
            interest -= Ready::READ;
        }
        if let Some(connection) = &self.connection {
            connection.watch(interest);
        }
    }

    /// A hang-up stays armed while there is a peer, so that its end is noticed even if the front
    /// end neither reads nor writes. It is told once and acted upon at once, so it cannot spin.
    fn update(&mut self, ready: Ready) {
        if ready.intersects(Ready::HANGUP | Ready::GONE) {
            match &self.connection {
                Some(connection) if !connection.has_ended() => connection.watch(Ready::HANGUP),
                Some(connection) if self.keeps_half_closed() && !connection.is_gone() => {
                    connection.watch(Ready::GONE);
                }
                Some(_) => self.lose_peer_unless_unread(),
                None => {}
            }
        }
        self.find_peer();
    }

    fn peer(&self) -> Option<String> {
        self.connection.as_ref()?.peer()
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        self.events.pop_front()
    }

    fn set_attached(&mut self, attached: bool) {
        self.attached = attached;
        if attached && self.clients.is_some() && !self.accepts {
            // They have waited to see who would serve them.
            let port = self.port.clone();
            self.port.spawn(async move { port.kick(Ready::READ) });
        }
        if attached && !self.half_close {
            self.look_at_peer();
        }
    }

    fn input_ended(&self) -> bool {
        self.input_ended
    }

    fn presence(&self) -> Presence {
        let Some(connection) = &self.connection else {
            return Presence::There;
        };
        if self.only_reading || connection.is_gone() {
            return Presence::Gone;
        }
        // What has closed a Unix socket hangs up; over TCP an end looks the same either way.
        match !connection.is_unix() && connection.has_ended() {
            true => Presence::Unknown,
            false => Presence::There,
        }
    }

    fn accept(&mut self, serving: usize) -> Option<OwnedFd> {
        self.serving = serving;
        let limit = self.clients?;
        if !self.accepts || (limit != 0 && serving >= limit) {
            return None;
        }
        let Source::Server { listener, pause } = &mut self.source else {
            return None;
        };
        *pause = None;
        let outcome = match listener.accept() {
            Ok(Some(client)) => return Some(client),
            Ok(None) => self.watch_listener(),
            Err(error) if is_shortage(error) => {
                self.wait_for_descriptor(error);
                return None;
            }
            Err(error) => Err(strerror(error)),
        };
        if let Err(cause) = outcome {
            self.pause_accepting(&cause);
        }
        None
    }

    fn accept_limit(&self) -> Option<usize> {
        self.clients
    }

    fn apply(&mut self, line: &Line) -> Answers {
        self.accepts = line.accepts;
        let keeps = self.keeps || line.half_close;
        if std::mem::replace(&mut self.half_close, keeps) && !keeps {
            self.look_at_peer();
        }
        if let Some(connection) = self.connection.as_ref().filter(|_| keeps) {
            connection.keep_alive();
        }
        let mut answers = Answers::unsupported(line, self.is_open());
        answers.passes_fds = self.unix;
        answers
    }

    fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }

    fn yankable(&self) -> bool {
        true
    }

    fn yank(&mut self) {
        if let Some(connection) = &self.connection {
            connection.shut_down();
        }
    }

    fn add_client(&mut self, fd: OwnedFd) -> Result<(), OwnedFd> {
        if self.connection.is_some() {
            return Err(fd);
        }
        let fd = Arc::new(fd);
        if self.establish(Arc::clone(&fd)).is_err() {
            return Err(Arc::into_inner(fd).unwrap_or_else(|| unreachable!("nobody kept it")));
        }
        Ok(())
    }

    fn disconnect(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        connection.refuse_input();
        let unread = match connection.is_unix() {
            true => connection.take_unread(&mut self.fds),
            false => connection.cut_input(&mut self.fds),
        };
        connection.dismiss(&self.port);
        self.after_peer(unread);
    }

    fn activate(&mut self) -> Result<(), String> {
        match &mut self.source {
            Source::Server { listener, .. } => listener.activate(),
            Source::Client { .. } => Ok(()),
        }
    }

    fn deactivate(&mut self) {
        if let Source::Server { listener, .. } = &mut self.source {
            listener.deactivate();
        }
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        if let Source::Server { listener, .. } = &mut self.source {
            listener.keep();
        }
        if let Some(lent) = self.lent.take() {
            lent.keep();
        }
        // The peer that was to be kept has left meanwhile.
        if std::mem::take(&mut self.awaits_peer) && self.connection.is_none() {
            self.connect_after(Duration::ZERO);
        }
    }

    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        if let Some(wanted) = wanted.downcast_ref::<WantListener>() {
            let Source::Server { listener, .. } = &self.source else {
                return None;
            };
            return Some(Box::new(listener.lend(wanted)?));
        }
        let wanted = wanted.downcast_ref::<WantPeer>()?;
        if *wanted != self.own_peer() {
            return None;
        }
        let peer: OwnedFd = self.connection.as_ref()?.share()?;
        Some(Box::new(peer))
    }

    fn adopt(&mut self, old: &mut dyn Backend) -> bool {
        let lent = old.lend(&self.own_peer());
        let Some(peer) = lent.and_then(|lent| lent.downcast::<OwnedFd>().ok()) else {
            return false;
        };
        self.awaits_peer = false;
        self.connection = None;
        self.establish(Arc::new(*peer)).is_ok()
    }

    fn refuse_input(&mut self) {
        self.find_peer();
        if let Some(connection) = &mut self.connection {
            connection.refuse_input();
        }
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        self.find_peer();
        let Some(connection) = &self.connection else {
            return (Vec::new(), false);
        };
        let complete = connection.is_unix() || connection.has_ended();
        let input = connection.cut_input(&mut self.fds);
        (input, !complete || connection.unread() > 0)
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        match self.connection {
            Some(connection) => Box::new(connection.into_drain()),
            None => Box::new(NothingToDrain),
        }
    }
}
