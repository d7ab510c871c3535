//! front → chardev → [back] → host: the socket as the machine sees it, with or without a peer.

mod peers;
mod sharing;

use std::any::Any;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use chardev_core::{
    Answer, Answers, Backend, BackendEvent, BackendId, Drain, Line, LineControl, ModemLines,
    NothingToDrain, OpenError, Peers, Purge, Ready, Seldom, Sent, Sharing, Splicing, WeakChardev,
};

use super::config::{Config, HANDSHAKE_LIMIT};
use super::handshakes::{HANDSHAKES, Handshakes};
use super::layered::Layered;
use super::lent::Lent;
use super::peer::Peer;
use super::source::Source;
use super::transport::Transport;
use crate::back::LayerKind;
use crate::port::Port;

pub(super) use sharing::LentPeer;

/// A socket: where its peers come from, and the one that is there.
pub(super) struct SocketBackend {
    kind: &'static str,
    port: Port,
    source: Source,
    peer: Option<Peer>,
    handshakes: Handshakes,
    nodelay: bool,
    keep_alive: bool,
    /// Peers can be passed descriptors.
    passes_fds: bool,
    /// A peer that ends its sending is kept, whatever the front end does.
    keeps: bool,
    /// How many clients its front end may take at a time, if it takes them itself.
    clients: Option<u16>,
    front: Front,
    layering: Option<Box<Layering>>,
    /// What the layers are to set up.
    line: Option<Box<Line>>,
    /// A peer had modem lines, which are all off while there is none.
    had_lines: bool,
    events: Seldom<VecDeque<BackendEvent>>,
    /// Descriptors that came with the last input.
    fds: Seldom<Vec<OwnedFd>>,
    /// The last read has left nothing.
    has_read_all: bool,
}

/// What each peer is spoken to in, and how long it may take to get there.
struct Layering {
    kinds: Box<[LayerKind]>,
    handshake: Duration,
}

/// What is known of the front end.
#[derive(Debug, Default)]
struct Front {
    attached: bool,
    /// It answers a peer that has ended its sending.
    answers: bool,
    /// It takes its peers itself.
    accepts: bool,
    /// And serves at least one.
    serves: bool,
}

impl Layering {
    /// None where there are no layers.
    fn of(config: &Config) -> Option<Self> {
        (!config.layers.is_empty()).then(|| Layering {
            kinds: config.layers.clone().into(),
            handshake: config.handshake,
        })
    }
}

impl SocketBackend {
    /// A socket whose peers come from `source`; descriptors can be passed if `unix`.
    pub(super) fn new(port: &Port, config: &Config, source: Source, unix: bool) -> Self {
        SocketBackend {
            kind: config.kind,
            port: port.clone(),
            source,
            peer: None,
            handshakes: Handshakes::default(),
            nodelay: config.nodelay,
            keep_alive: config.keep_alive,
            passes_fds: unix && config.layers.is_empty(),
            keeps: config.half_close,
            clients: config
                .clients
                .map(|most| u16::try_from(most).unwrap_or(u16::MAX)),
            front: Front::default(),
            layering: Layering::of(config).map(Box::new),
            line: None,
            had_lines: false,
            events: Seldom::default(),
            fds: Seldom::default(),
            has_read_all: false,
        }
    }

    /// The same, with the peer at the other end of `fd`.
    ///
    /// # Errors
    /// The descriptor cannot be made ready for use.
    pub(super) fn with_peer(mut self, fd: Arc<OwnedFd>) -> Result<Self, OpenError> {
        let ours = self.source.connects();
        self.establish(fd, ours)?;
        Ok(self)
    }

    /// The same, waiting for the first client to come.
    ///
    /// # Errors
    /// The host is out of watches.
    pub(super) fn waiting(mut self) -> Result<Self, OpenError> {
        self.source.watch()?;
        Ok(self)
    }

    /// Holds on to a descriptor that goes back if this never goes live.
    pub(super) fn keep_lent(&mut self, lent: Lent) {
        self.source.keep_lent(lent);
    }

    /// Whether clients wait to be taken by the front end, rather than becoming the peer. Before
    /// there is a front end nobody knows, so they wait.
    fn hands_out(&self) -> bool {
        self.clients.is_some() && (self.front.accepts || !self.front.attached)
    }

    /// Whether a peer that has ended its sending is kept to be answered.
    pub(super) fn half_close(&self) -> bool {
        self.keeps || self.front.answers
    }

    /// Whether a peer that only ended its sending is kept. A front end that is still to come may
    /// answer it; over TCP that peer cannot be told from one that has left, which must not be in
    /// the way.
    fn keeps_half_closed(&self, peer: &Peer) -> bool {
        let may_be_answered = !self.front.attached && peer.transport().is_unix();
        self.half_close() || (may_be_answered && !peer.input_ended())
    }

    fn layers(&self) -> &[LayerKind] {
        self.layering.as_ref().map_or(&[], |it| &it.kinds)
    }

    fn handshake(&self) -> Duration {
        let layering = self.layering.as_ref();
        layering.map_or(HANDSHAKE_LIMIT, |it| it.handshake)
    }

    /// What a client that is handed out is spoken to in.
    fn means(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(Config {
            layers: self.layers().to_vec(),
            handshake: self.handshake(),
            nodelay: self.nodelay,
            keep_alive: self.keep_alive,
            ..Config::given()
        })
    }

    /// The present peer.
    pub(super) fn peer_mut(&mut self) -> Option<&mut Peer> {
        self.peer.as_mut()
    }

    fn establish(&mut self, fd: Arc<OwnedFd>, ours: bool) -> Result<(), OpenError> {
        self.connect(fd, Layered::new(self.layers()), ours)
    }

    fn connect(
        &mut self,
        fd: Arc<OwnedFd>,
        layers: Option<Layered>,
        ours: bool,
    ) -> Result<(), OpenError> {
        let transport = Transport::new(&self.port, fd, self.nodelay)?;
        let peer = Peer::new(&self.port, transport, layers, self.handshake());
        let peer = peer.with_own_connection(ours);
        if self.keep_alive || self.half_close() {
            peer.transport().keep_alive();
        }
        if peer.is_shown() {
            self.show(peer);
        } else {
            if self.handshakes.add(peer) {
                tracing::warn!(
                    label = self.port.label(),
                    "the handshake with a peer is given up: {HANDSHAKES} others have come since"
                );
                self.source.peer_left();
            }
            self.shake_hands();
        }
        Ok(())
    }

    fn show(&mut self, mut peer: Peer) {
        let (at_rest, line) = (Line::default(), self.line.as_deref());
        peer.apply(line.unwrap_or(&at_rest), &mut Answers::default());
        self.peer = Some(peer);
        self.source.rest();
        self.events.push_back(BackendEvent::Opened);
    }

    /// Shows the first peer whose layers are open. One with which that cannot be was never told of,
    /// so neither is its end.
    fn shake_hands(&mut self) {
        if self.peer.is_some() {
            return;
        }
        let (opened, let_go) = self.handshakes.go_on();
        if let_go {
            self.source.peer_left();
        }
        if let Some(peer) = opened {
            self.show(peer);
            // It may have hung up meanwhile.
            self.look_at_peer();
        }
    }

    /// The peer is gone: what it had sent is handed over, and the next one may come.
    pub(super) fn lose_peer(&mut self) {
        let Some(mut peer) = self.peer.take() else {
            return;
        };
        let mut fds = Vec::new();
        let unread = peer.take_unread(&mut fds);
        self.keep_fds(fds);
        peer.part();
        self.after_peer(unread);
    }

    pub(super) fn lose_peer_unless_unread(&mut self) {
        let attached = self.front.attached;
        let reads_out = |peer: &mut Peer| peer.reads_out(attached);
        if !self.peer.as_mut().is_some_and(reads_out) {
            self.lose_peer();
        }
    }

    /// Those that came with input replace what came before.
    fn keep_fds(&mut self, came: Vec<OwnedFd>) {
        if !came.is_empty() {
            *self.fds = came;
        }
    }

    fn after_peer(&mut self, unread: Vec<u8>) {
        self.events.push_back(BackendEvent::Closed { unread });
        self.source.peer_left();
        let limit = self.handshake();
        self.handshakes.begin_again(limit);
        if !self.handshakes.is_empty() {
            self.port.kick_soon(Ready::empty());
        }
    }

    fn look(&mut self, ready: Ready) {
        let kept = |peer| self.keeps_half_closed(peer);
        let kept = self.peer.as_ref().is_some_and(kept);
        let Some(peer) = &mut self.peer else { return };
        let mut there = peer.update();
        if there.is_ok() && ready.intersects(Ready::HANGUP | Ready::GONE) {
            there = peer.look(kept);
        }
        if there.is_err() {
            self.lose_peer_unless_unread();
        }
    }

    fn find_peer(&mut self) {
        self.shake_hands();
        if self.peer.is_some() || self.hands_out() {
            return;
        }
        for _ in 0..HANDSHAKES {
            let Some(fd) = self.source.next() else { return };
            let ours = self.source.connects();
            if let Err(cause) = self.establish(Arc::new(fd), ours) {
                return self.source.retry_later(&cause);
            }
            if self.peer.is_some() {
                return;
            }
        }
        self.port.kick_soon(Ready::empty());
    }

    /// What has come over D-Bus: breaks, and somebody who takes over. The former peer's end is told
    /// first; the next one is looked at afterwards.
    #[cfg(feature = "dbus")]
    fn is_taken_over(&mut self) -> bool {
        let Some(registration) = self.source.registration() else {
            return false;
        };
        for _ in 0..registration.take_breaks() {
            self.events.push_back(BackendEvent::Break);
        }
        let taken = self.peer.is_some() && registration.has_next();
        if taken {
            self.lose_peer();
            self.port.kick_soon(Ready::empty());
        }
        taken
    }

    /// A peer that was kept may not have to be any more; seen to once the present call is over.
    fn look_at_peer(&self) {
        if self.peer.is_some() {
            self.port.kick_soon(Ready::HANGUP);
        }
    }
}

impl Backend for SocketBackend {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn filename(&self) -> String {
        let scheme = self.layers().iter().find_map(LayerKind::scheme);
        let name = with_scheme(self.source.name(), scheme);
        match &self.peer {
            None if self.front.accepts && self.front.serves => name,
            None => format!("disconnected:{name}"),
            Some(peer) => {
                let server = self.source.is_listener();
                let live = peer.transport().live_name(server);
                live.map_or(name, |live| with_scheme(live, scheme))
            }
        }
    }

    fn is_open(&self) -> bool {
        self.peer.is_some()
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], fds: &mut Vec<OwnedFd>) -> Sent {
        let Some(peer) = &mut self.peer else {
            return Sent::NoPeer;
        };
        peer.write(bufs, fds).unwrap_or_else(|_gone| {
            self.lose_peer_unless_unread();
            Sent::NoPeer
        })
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let kept = self.half_close();
        let Some(peer) = &mut self.peer else {
            return 0;
        };
        let room: usize = bufs.iter().map(|buf| buf.len()).sum();
        let mut fds = Vec::new();
        let read = peer.read(bufs, &mut fds, kept);
        self.has_read_all = peer.is_plain() && read.as_ref().is_ok_and(|count| *count < room);
        self.keep_fds(fds);
        read.unwrap_or_else(|_gone| {
            self.lose_peer();
            0
        })
    }

    /// A stream gives all it has. Where it ends a piece for other reasons, there is more at once.
    fn has_read_all(&self) -> bool {
        self.has_read_all
    }

    fn watch(&mut self, interest: Ready) {
        if let Some(peer) = &mut self.peer {
            peer.watch(interest);
        }
    }

    fn update(&mut self, ready: Ready) {
        #[cfg(feature = "dbus")]
        if self.is_taken_over() {
            return;
        }
        self.look(ready);
        self.find_peer();
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        let told = self.events.there().and_then(VecDeque::pop_front);
        if told.is_some() && self.events.is_empty() {
            // They are rare, and so many sockets would keep the memory.
            self.events = Seldom::default();
        }
        told.or_else(|| self.peer.as_ref()?.poll_event())
    }

    fn set_attached(&mut self, attached: bool) {
        self.front.attached = attached;
        if attached && self.clients.is_some() && !self.front.accepts {
            // They have waited to see who would serve them.
            self.port.kick_soon(Ready::READ);
        }
        if attached && !self.half_close() {
            self.look_at_peer();
        }
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        self.source
            .go_live(self.peer.is_some() || !self.handshakes.is_empty());
    }

    fn refuse_input(&mut self) {
        self.find_peer();
        if let Some(peer) = &mut self.peer {
            peer.refuse_input();
        }
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        self.find_peer();
        let Some(peer) = &mut self.peer else {
            return (Vec::new(), false);
        };
        let mut fds = Vec::new();
        let cut = peer.cut_input(&mut fds);
        self.keep_fds(fds);
        cut
    }

    /// A listener may have a path, and a layer more to say.
    fn may_wait(&self) -> bool {
        !self.source.is_client() || self.layering.is_some()
    }

    fn retire(mut self: Box<Self>) -> Box<dyn Drain> {
        self.handshakes.end();
        match self.peer {
            Some(peer) => Box::new(peer.into_drain()),
            None => Box::new(NothingToDrain),
        }
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }

    fn splicing(&mut self) -> Option<&mut dyn Splicing> {
        self.splices()
    }

    fn peers(&mut self) -> Option<&mut dyn Peers> {
        Some(self)
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

/// An address of TCP begins with what is spoken there.
fn with_scheme(name: String, scheme: Option<&str>) -> String {
    match (name.strip_prefix("tcp:"), scheme) {
        (Some(address), Some(scheme)) => format!("{scheme}:{address}"),
        _ => name,
    }
}

impl LineControl for SocketBackend {
    fn apply(&mut self, line: &Line) -> Answers {
        #[cfg(feature = "dbus")]
        if let Some(registration) = self.source.registration() {
            registration.tell(line.open, line.echo);
        }
        let kept = self.half_close();
        if line.accepts && !self.front.accepts && self.clients.is_some() {
            self.source.expect_many();
        }
        self.front.accepts = line.accepts;
        self.front.answers = line.half_close;
        let keeps = self.half_close();
        if kept && !keeps {
            self.look_at_peer();
        }
        if let Some(peer) = self.peer.as_ref().filter(|_| keeps) {
            peer.transport().keep_alive();
        }
        let mut answers = Answers::unsupported(line, self.is_open());
        if self.layering.is_some() {
            self.line = Some(Box::new(line.clone()));
            if let Some(peer) = &mut self.peer {
                peer.apply(line, &mut answers);
            }
        }
        answers.modem_inputs = self.look_at_lines();
        answers.passes_fds = self.passes_fds;
        answers
    }

    fn purge(&mut self, which: Purge) -> Answer {
        let peer = self.peer.as_mut();
        peer.map_or(Answer::Unsupported, |peer| peer.purge(which))
    }

    fn modem_inputs(&mut self) -> Option<ModemLines> {
        self.look_at_lines()
    }
}

impl SocketBackend {
    fn look_at_lines(&mut self) -> Option<ModemLines> {
        let inputs = self.peer.as_ref().and_then(Peer::modem_inputs);
        self.had_lines |= inputs.is_some();
        inputs.or(self.had_lines.then(ModemLines::empty))
    }
}

#[cfg(test)]
mod tests {
    use super::SocketBackend;

    #[test]
    fn a_socket_is_small() {
        // With ten thousand of them each byte counts; what is seldom there is behind a pointer.
        let size = size_of::<SocketBackend>();
        assert!(size <= 272, "a socket is {size} bytes large");
    }
}
