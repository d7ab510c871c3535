//! front → chardev → [back] → host: what a socket does for the machine, whatever its peers come from.

use super::*;

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
