//! front → chardev → [back] → host: the one peer of a socket, and how far it has come.
//!
//! ```text
//! handshaking ──▶ open ──▶ half closed: it has ended its sending, and is answered
//!      │           │            │
//!      │           ▼            ▼
//!      │      reading out ──▶ gone
//!      ▼        it takes nothing more, but left too much unread to be carried at once
//!  gone, and never shown
//! ```

mod ending;

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use chardev_core::{Answer, Answers, BackendEvent, Line, ModemLines, Presence, Purge, Ready, Sent};
use rustix::io::Errno;

use super::layered::{Due, Layered};
use super::transport::Transport;
use crate::port::{OwnedTask, Port};
use crate::tasks::TaskKind;

/// A connected peer.
pub(super) struct Peer {
    port: Port,
    transport: Transport,
    layers: Option<Layered>,
    stage: Stage,
    /// Nobody else has a descriptor of the connection.
    ours: bool,
}

/// How far it has come with a peer.
#[derive(Debug)]
enum Stage {
    /// Its layers have yet to open, until the deadline.
    Handshaking {
        deadline: Instant,
        _reminder: OwnedTask,
    },
    /// It sends and takes.
    Open,
    /// It has ended its sending and all of it was read, but it is kept to be answered.
    HalfClosed,
    /// It takes nothing more, but left too much unread to be carried at once.
    ReadingOut,
}

/// The peer is not there any more.
#[derive(Debug)]
pub(super) struct Gone;

impl Peer {
    /// The peer at the other end of `transport`. If it is spoken to over `layers`, it has
    /// `handshake` for opening them.
    pub(super) fn new(
        port: &Port,
        transport: Transport,
        layers: Option<Layered>,
        handshake: Duration,
    ) -> Self {
        let open = |layers: &Layered| layers.stack().is_open();
        let stage = match layers.as_ref().is_none_or(open) {
            true => Stage::Open,
            false => Stage::handshaking(port, handshake),
        };
        let mut peer = Peer {
            port: port.clone(),
            transport,
            layers,
            stage,
            ours: false,
        };
        peer.attend();
        peer
    }

    /// The same, over a connection that was made here and nobody else has a descriptor of, if
    /// `ours`.
    pub(super) fn with_own_connection(mut self, ours: bool) -> Self {
        self.ours = ours;
        self
    }

    /// Whether bytes can be moved to it and from it without anybody looking at them.
    pub(super) fn splices(&self) -> bool {
        self.ours && self.layers.is_none() && matches!(self.stage, Stage::Open)
    }

    /// Gives it more room for what it is sent.
    pub(super) fn widen(&mut self) {
        self.transport.widen();
    }

    /// Whether nothing is between it and the chardev.
    pub(super) fn is_plain(&self) -> bool {
        self.layers.is_none()
    }

    /// Whether the front end may know of it.
    pub(super) fn is_shown(&self) -> bool {
        !matches!(self.stage, Stage::Handshaking { .. })
    }

    /// Goes on with the handshake; whether that is over.
    ///
    /// # Errors
    /// It has left, does not keep to the protocol, or takes too long.
    pub(super) fn shake_hands(&mut self) -> Result<bool, Gone> {
        let (Some(layers), Stage::Handshaking { deadline, .. }) = (&self.layers, &self.stage)
        else {
            return Ok(true);
        };
        let opened = layers.open(self.transport.fd());
        let late = Instant::now() >= *deadline;
        let reason = match opened {
            Ok(None) => {
                self.stage = Stage::Open;
                self.attend();
                return Ok(true);
            }
            Ok(Some(ask)) if !late => {
                self.transport.watch(ask);
                return Ok(false);
            }
            Ok(Some(_)) => "it timed out".to_owned(),
            Err(_) => {
                let failure = layers.stack().failure().map(str::to_owned);
                failure.unwrap_or_else(|| "the peer has left".to_owned())
            }
        };
        tracing::warn!(
            label = self.port.label(),
            "the handshake with a peer failed: {reason}"
        );
        Err(Gone)
    }

    /// It had to wait for another one, so its time begins now.
    pub(super) fn begin_again(&mut self, limit: Duration) {
        if !self.is_shown() {
            self.stage = Stage::handshaking(&self.port, limit);
        }
    }

    /// Sets up what its layers can of `line`.
    pub(super) fn apply(&mut self, line: &Line, answers: &mut Answers) {
        if let Some(layers) = &self.layers {
            layers.apply(self.transport.fd(), line, answers);
            self.attend();
        }
    }

    /// Has its line purged, where its layers can say so.
    pub(super) fn purge(&mut self, which: Purge) -> Answer {
        let Some(layers) = &self.layers else {
            return Answer::Unsupported;
        };
        let answer = layers.purge(self.transport.fd(), which);
        self.attend();
        answer
    }

    /// The modem inputs that it has by its layers.
    pub(super) fn modem_inputs(&self) -> Option<ModemLines> {
        self.layers.as_ref().and_then(Layered::modem_inputs)
    }

    /// What it has proven to be called.
    pub(super) fn names(&self) -> Vec<String> {
        let layers = self.layers.as_ref().filter(|_| self.is_shown());
        layers.map_or_else(Vec::new, Layered::peer_names)
    }

    /// What its layers have to tell before any further input.
    pub(super) fn poll_event(&self) -> Option<BackendEvent> {
        self.layers.as_ref().and_then(Layered::poll_event)
    }

    /// The connection for a back end that takes the peer over, once its layers are open.
    pub(super) fn share(&self) -> Option<(OwnedFd, Option<Layered>, bool)> {
        let fd = self.transport.share().filter(|_| self.is_shown())?;
        Some((fd, self.layers.clone(), self.ours))
    }

    /// What the bytes go over.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Gives the peer as much of `bufs` as it takes now, and `fds` with the first byte.
    ///
    /// # Errors
    /// It takes nothing any more.
    pub(super) fn write(
        &mut self,
        bufs: &[IoSlice<'_>],
        fds: &mut Vec<OwnedFd>,
    ) -> Result<Sent, Gone> {
        if matches!(self.stage, Stage::ReadingOut | Stage::Handshaking { .. }) {
            return Ok(Sent::NoPeer);
        }
        let sent = match &self.layers {
            None => self.transport.send(bufs, fds),
            Some(layers) => layers.send(self.transport.fd(), bufs),
        };
        self.after_sending(sent)
    }

    /// What became of it.
    pub(super) fn after_sending(&mut self, sent: Result<usize, Errno>) -> Result<Sent, Gone> {
        self.attend();
        match sent {
            Ok(0) | Err(Errno::AGAIN) => Ok(Sent::Full),
            Ok(count) => Ok(Sent::Taken(count)),
            Err(_) => Err(Gone),
        }
    }

    /// Reads what is there; 0 means that nothing is, now or, of a peer that is `kept` although it
    /// has ended its sending, ever.
    ///
    /// # Errors
    /// It has left, and all of its input was read.
    pub(super) fn read(
        &mut self,
        bufs: &mut [IoSliceMut<'_>],
        fds: &mut Vec<OwnedFd>,
        kept: bool,
    ) -> Result<usize, Gone> {
        let takes = !matches!(self.stage, Stage::ReadingOut);
        let received = match &self.layers {
            None => self.transport.receive(bufs, fds),
            Some(_) if !self.is_shown() => Err(Errno::AGAIN),
            Some(layers) => layers.receive(self.transport.fd(), bufs, !takes),
        };
        self.after_receiving(received, kept)
    }

    /// What became of it, of a peer that may be `kept` although it has ended its sending.
    pub(super) fn after_receiving(
        &mut self,
        received: Result<usize, Errno>,
        kept: bool,
    ) -> Result<usize, Gone> {
        let takes = !matches!(self.stage, Stage::ReadingOut);
        self.attend();
        match received {
            Ok(count) if count > 0 => Ok(count),
            Err(Errno::AGAIN) => Ok(0),
            Ok(_) if kept && takes && !self.transport.is_gone() => {
                self.stage = Stage::HalfClosed;
                Ok(0)
            }
            Ok(_) | Err(_) => Err(Gone),
        }
    }

    /// Asks for one report of each readiness in `interest` that can come.
    pub(super) fn watch(&mut self, interest: Ready) {
        let interest = match self.stage {
            Stage::Open => interest,
            // The end of the input would be reported again and again.
            Stage::HalfClosed => interest - Ready::READ,
            Stage::ReadingOut => interest - Ready::WRITE,
            Stage::Handshaking { .. } => return,
        };
        match &mut self.layers {
            None => self.transport.watch(interest),
            Some(layers) => {
                let due = layers.watch(interest);
                self.see_to(due);
            }
        }
    }

    /// The descriptor was ready, for what the layers wait for perhaps.
    ///
    /// # Errors
    /// The peer is gone.
    pub(super) fn update(&mut self) -> Result<(), Gone> {
        if let Some(layers) = &mut self.layers {
            layers.update(self.transport.fd()).map_err(|_| Gone)?;
            self.attend();
        }
        Ok(())
    }

    /// Something was done that may have changed what the layers wait for.
    fn attend(&mut self) {
        if let Some(layers) = &mut self.layers {
            let due = layers.due();
            self.see_to(due);
        }
    }

    fn see_to(&self, due: Due) {
        self.transport.watch(due.ask);
        self.report(due.ready);
    }

    /// Tells the chardev, once the present call is over, what is ready and the descriptor does not
    /// say.
    fn report(&self, ready: Ready) {
        if !ready.is_empty() {
            self.port.kick_soon(ready);
        }
    }

    /// A hang-up was reported. It stays armed while there is a peer, so that its end is noticed
    /// even if the front end neither reads nor writes. It is told once and acted upon at once, so
    /// it cannot spin. A peer that only ended its sending stays if it is `kept`.
    ///
    /// # Errors
    /// It has left.
    pub(super) fn look(&self, kept: bool) -> Result<(), Gone> {
        if !self.transport.has_ended() {
            self.transport.watch(Ready::HANGUP);
        } else if kept && !self.transport.is_gone() {
            self.transport.watch(Ready::GONE);
        } else {
            return Err(Gone);
        }
        Ok(())
    }

    /// Whether it has ended its sending and all of it was read.
    pub(super) fn input_ended(&self) -> bool {
        matches!(self.stage, Stage::HalfClosed)
    }

    /// Whether it is still there.
    pub(super) fn presence(&self) -> Presence {
        if matches!(self.stage, Stage::ReadingOut) || self.transport.is_gone() {
            return Presence::Gone;
        }
        // What has closed a Unix socket hangs up; over TCP an end looks the same either way.
        match !self.transport.is_unix() && self.transport.has_ended() {
            true => Presence::Unknown,
            false => Presence::There,
        }
    }
}

impl Stage {
    /// From now on; the chardev looks again when the time is over.
    fn handshaking(port: &Port, limit: Duration) -> Self {
        let reminded = port.clone();
        Stage::Handshaking {
            deadline: Instant::now() + limit,
            _reminder: OwnedTask::spawn_listed(port, TaskKind::Timer, async move {
                tokio::time::sleep(limit).await;
                reminded.kick(Ready::empty());
            }),
        }
    }
}
