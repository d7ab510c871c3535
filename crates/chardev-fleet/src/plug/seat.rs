//! front → chardev → [back] → fleet: where a back end's peers come from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chardev::{Port, Ready};

use super::cord::Cord;
use super::{CALL_LIMIT, Exchange, Peering};

/// A back end's place in the fleet.
#[derive(Debug)]
pub(super) struct Seat {
    port: Port,
    exchange: Exchange,
    peering: Peering,
    state: Mutex<Occupied>,
}

#[derive(Debug, Default)]
struct Occupied {
    /// The back end is in use.
    is_open: bool,
    /// A peer that the back end is to take.
    coming: Option<Arc<Cord>>,
    /// Who the peer is that is coming or there.
    taken: Option<String>,
}

impl Seat {
    pub(super) fn new(exchange: &Exchange, port: &Port, peering: Peering) -> Arc<Seat> {
        Arc::new(Seat {
            port: port.clone(),
            exchange: exchange.clone(),
            peering,
            state: Mutex::default(),
        })
    }

    /// The line to its chardev.
    pub(super) fn port(&self) -> &Port {
        &self.port
    }

    /// Whether it waits for peers, rather than looking for one.
    pub(super) fn is_served(&self) -> bool {
        self.peering == Peering::Served
    }

    /// Where they come from, for people.
    pub(super) fn name(&self) -> String {
        match &self.peering {
            Peering::Served => {
                let host = self.exchange.host().unwrap_or_default();
                format!("nats:{host}/{},server=on", self.port.label())
            }
            Peering::Called { host, console, .. } => format!("nats:{host}/{console}"),
        }
    }

    /// Peers may come from here on.
    pub(super) fn open(self: &Arc<Self>) {
        let mut state = self.lock();
        state.is_open = true;
        let is_alone = state.taken.is_none();
        drop(state);
        match self.peering {
            Peering::Served => self.exchange.register(self),
            Peering::Called { again, .. } if again.is_some() && is_alone => {
                self.call_after(Duration::ZERO);
            }
            Peering::Called { .. } => {}
        }
    }

    /// No peer comes any more.
    pub(super) fn close(self: &Arc<Self>) {
        self.lock().is_open = false;
        if self.is_served() {
            self.exchange.unregister(self);
        }
    }

    /// The peer that has come, once.
    pub(super) fn take(&self) -> Option<Arc<Cord>> {
        self.lock().coming.take()
    }

    /// The peer has left, and what it had sent has been handed over.
    pub(super) fn peer_left(self: &Arc<Self>) {
        let mut state = self.lock();
        state.taken = None;
        let is_open = state.is_open;
        drop(state);
        if let (true, Peering::Called { again, .. }) = (is_open, &self.peering) {
            if let Some(again) = *again {
                self.call_after(again);
            }
        }
    }

    /// The back end looks for the next one, once the present call is over.
    pub(super) fn look_soon(&self) {
        let port = self.port.clone();
        self.port.run(async move { port.kick(Ready::empty()) });
    }

    /// A peer that was called before the back end is in use.
    pub(super) fn keep(&self, cord: Arc<Cord>) {
        let mut state = self.lock();
        state.taken = Some(cord.peer.clone());
        state.coming = Some(cord);
    }

    /// A peer is there for the back end, which is to be told afterwards.
    ///
    /// # Errors
    /// There is one already, or the back end is about to be replaced.
    pub(super) fn offer(&self, cord: &Arc<Cord>) -> Result<(), String> {
        let label = self.port.label();
        let mut state = self.lock();
        if let Some(taken) = &state.taken {
            return Err(format!("'{label}' has a peer already: {taken}"));
        }
        if !state.is_open {
            return Err(format!("'{label}' is being changed"));
        }
        state.taken = Some(cord.peer.clone());
        state.coming = Some(Arc::clone(cord));
        Ok(())
    }

    /// Looks for the peer until it is there, or nobody wants it any more. The first failure of a
    /// row is reported.
    fn call_after(self: &Arc<Self>, delay: Duration) {
        let Peering::Called { again, .. } = &self.peering else {
            return;
        };
        let pause = again.unwrap_or_default();
        let (seat, port) = (Arc::downgrade(self), self.port.clone());
        self.port.run(async move {
            let (mut delay, mut told) = (delay, false);
            loop {
                tokio::time::sleep(delay).await;
                delay = pause;
                match Seat::call(&seat).await {
                    None => return,
                    Some(Ok(cord)) => {
                        let offered = seat.upgrade().map(|seat| seat.offer(&cord));
                        if !matches!(offered, Some(Ok(()))) {
                            cord.part();
                        }
                        return port.kick(Ready::empty());
                    }
                    Some(Err(why)) if !told => {
                        told = true;
                        tracing::warn!(
                            console = port.label(),
                            event = "connect-failed",
                            "Unable to connect character device {}: {why}",
                            port.label()
                        );
                    }
                    Some(Err(_)) => {}
                }
            }
        });
    }

    /// One attempt; `None` if nobody wants it.
    async fn call(seat: &Weak<Seat>) -> Option<Result<Arc<Cord>, String>> {
        let calling = {
            let seat = seat.upgrade().filter(|seat| seat.lock().is_open)?;
            let Peering::Called { host, console, .. } = &seat.peering else {
                return None;
            };
            let whom = (host.clone(), console.clone());
            let (exchange, port) = (seat.exchange.clone(), seat.port.clone());
            async move { exchange.call(whom, port, CALL_LIMIT).await }
        };
        Some(calling.await)
    }

    fn lock(&self) -> MutexGuard<'_, Occupied> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
