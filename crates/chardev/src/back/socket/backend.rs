//! front → chardev → [back] → host: the socket back end, joining its peers to the chardev.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chardev_core::{Answers, Backend, BackendEvent, Drain, Line, NothingToDrain, Ready, Sent};
use tokio::sync::Notify;

use super::config::Config;
use super::connect::{Target, host_port};
use super::connection::Connection;
use super::lent::Lent;
use super::listen::Listener;
use crate::port::{OwnedTask, Port};
use crate::reactor::FdWatch;
use crate::sys::strerror;

/// A socket: where its peers come from, and the one that is there.
pub(super) struct SocketBackend {
    port: Port,
    source: Source,
    nodelay: bool,
    connection: Option<Connection>,
    /// The live peer as QEMU writes it.
    live: String,
    events: Vec<BackendEvent>,
    lent: Option<Lent>,
}

/// Where peers come from.
enum Source {
    Server {
        listener: Listener,
        watch: FdWatch,
    },
    /// One connection, and none after it.
    Once {
        name: String,
    },
    Reconnecting {
        name: String,
        link: Arc<Link>,
        _task: OwnedTask,
    },
}

/// Between a reconnecting client and its task.
#[derive(Default)]
struct Link {
    connected: Mutex<Option<OwnedFd>>,
    lost: Notify,
}

impl SocketBackend {
    /// A server; `first` is a client that was waited for.
    pub(super) fn server(
        port: Port,
        config: &Config,
        listener: Listener,
        first: Option<OwnedFd>,
    ) -> Result<Self, String> {
        let watch = FdWatch::new(&port, Arc::clone(listener.fd())).map_err(strerror)?;
        let mut backend = Self::new(port, config.nodelay, Source::Server { listener, watch });
        if let Some(first) = first {
            backend.connect(Arc::new(first));
        }
        Ok(backend)
    }

    /// A client that is connected to `target`.
    pub(super) fn client(
        port: Port,
        config: &Config,
        target: Target,
        fd: OwnedFd,
    ) -> Result<Self, String> {
        let source = Source::Once {
            name: target.filename(),
        };
        let mut backend = Self::new(port, config.nodelay, source);
        backend.connect(Arc::new(fd));
        Ok(backend)
    }

    /// A client that connects to `target` again and again.
    pub(super) fn reconnecting(
        port: Port,
        config: &Config,
        target: Target,
        interval: Duration,
    ) -> Self {
        let link = Arc::new(Link::default());
        let name = target.filename();
        let task = keep_connecting(port.clone(), target, interval, Arc::clone(&link));
        let task = OwnedTask::spawn(&port, task);
        Self::new(
            port,
            config.nodelay,
            Source::Reconnecting {
                name,
                link,
                _task: task,
            },
        )
    }

    /// The connected socket that was given as `name`.
    pub(super) fn given(
        port: Port,
        config: &Config,
        name: &str,
        fd: &Arc<OwnedFd>,
    ) -> Result<Self, String> {
        let source = Source::Once {
            name: format!("fd:{name}"),
        };
        let mut backend = Self::new(port, config.nodelay, source);
        backend.connect(Arc::clone(fd));
        Ok(backend)
    }

    /// Holds on to a descriptor that goes back if this never goes live.
    pub(super) fn keep_lent(&mut self, lent: Lent) {
        self.lent = Some(lent);
    }

    fn new(port: Port, nodelay: bool, source: Source) -> Self {
        SocketBackend {
            port,
            source,
            nodelay,
            connection: None,
            live: String::new(),
            events: Vec::new(),
            lent: None,
        }
    }

    fn connect(&mut self, fd: Arc<OwnedFd>) {
        if self.nodelay {
            let _ = rustix::net::sockopt::set_tcp_nodelay(&fd, true);
        }
        self.live = self.live_name(&fd);
        match Connection::new(&self.port, fd) {
            Ok(connection) => {
                self.connection = Some(connection);
                self.events.push(BackendEvent::Opened);
            }
            Err(error) => {
                tracing::warn!(label = self.port.label(), "peer lost: {}", strerror(error));
            }
        }
    }

    /// The peer has left: what it had sent goes to the machine, and the next one may come.
    fn lose_peer(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.events.push(BackendEvent::Closed {
                unread: connection.unread(),
            });
            if let Source::Reconnecting { link, .. } = &self.source {
                link.lost.notify_one();
            }
        }
        self.find_peer();
    }

    fn find_peer(&mut self) {
        if self.connection.is_some() {
            return;
        }
        match &self.source {
            Source::Server { listener, watch } => match listener.accept() {
                Some(client) => self.connect(Arc::new(client)),
                None => watch.arm(Ready::READ),
            },
            Source::Reconnecting { link, .. } => {
                let connected = link
                    .connected
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                if let Some(fd) = connected {
                    self.connect(Arc::new(fd));
                }
            }
            Source::Once { .. } => {}
        }
    }

    fn live_name(&self, fd: &OwnedFd) -> String {
        let address = |name: rustix::net::SocketAddrAny| SocketAddr::try_from(name).ok();
        let text =
            |address: SocketAddr| host_port(&address.ip().to_string(), &address.port().to_string());
        let server = if matches!(self.source, Source::Server { .. }) {
            ",server=on"
        } else {
            ""
        };
        let own = rustix::net::getsockname(fd).ok().and_then(address);
        let peer = rustix::net::getpeername(fd)
            .ok()
            .flatten()
            .and_then(address);
        match (own, peer) {
            (Some(own), Some(peer)) => format!("tcp:{}{server} <-> {}", text(own), text(peer)),
            _ => self.idle_name(),
        }
    }

    fn idle_name(&self) -> String {
        match &self.source {
            Source::Server { listener, .. } => listener.filename(),
            Source::Once { name } | Source::Reconnecting { name, .. } => name.clone(),
        }
    }
}

impl Backend for SocketBackend {
    fn kind(&self) -> &'static str {
        "socket"
    }

    fn filename(&self) -> String {
        match self.connection {
            Some(_) => self.live.clone(),
            None => format!("disconnected:{}", self.idle_name()),
        }
    }

    fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], fds: &mut Vec<OwnedFd>) -> Sent {
        let Some(connection) = &self.connection else {
            return Sent::NoPeer;
        };
        match connection.write(bufs, fds) {
            Ok(0) => Sent::Full,
            Ok(count) => Sent::Taken(count),
            Err(_) => {
                self.lose_peer();
                Sent::NoPeer
            }
        }
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let Some(connection) = &mut self.connection else {
            return 0;
        };
        match connection.read(bufs) {
            Ok(count) => count,
            Err(_) => {
                self.lose_peer();
                0
            }
        }
    }

    fn watch(&mut self, interest: Ready) {
        if let Some(connection) = &self.connection {
            connection.watch(interest | Ready::HANGUP);
        }
    }

    fn update(&mut self, _ready: Ready) {
        if self.connection.as_ref().is_some_and(Connection::has_left) {
            self.lose_peer();
        }
        self.find_peer();
        if let Some(connection) = &self.connection {
            connection.watch(Ready::HANGUP);
        }
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    fn apply(&mut self, line: &Line) -> Answers {
        let mut answers = Answers::unsupported(line, self.is_open());
        answers.passes_fds = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.unix);
        answers
    }

    fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.connection
            .as_mut()
            .map(Connection::take_fds)
            .unwrap_or_default()
    }

    fn disconnect(&mut self) {
        if let Some(connection) = &self.connection {
            connection.shut_down();
        }
        self.lose_peer();
    }

    fn activate(&mut self) -> Result<(), String> {
        if let Source::Server { listener, .. } = &mut self.source {
            listener.activate()?;
        }
        if let Some(lent) = self.lent.take() {
            lent.keep();
        }
        Ok(())
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        match &self.connection {
            Some(connection) => (connection.cut(), !connection.unix),
            None => (Vec::new(), false),
        }
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        match self.connection {
            Some(connection) => Box::new(connection),
            None => Box::new(NothingToDrain),
        }
    }
}

/// Connects, hands the connection over, and starts again `interval` after it was lost. The first
/// of a row of failures is reported.
async fn keep_connecting(port: Port, target: Target, interval: Duration, link: Arc<Link>) {
    let mut reported = false;
    loop {
        match target.clone().connect().await {
            Ok(fd) => {
                reported = false;
                *link
                    .connected
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(fd);
                port.kick(Ready::empty());
                link.lost.notified().await;
            }
            Err(cause) if !reported => {
                reported = true;
                tracing::warn!(
                    "Unable to connect character device {}: {cause}",
                    port.label()
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(interval).await;
    }
}
