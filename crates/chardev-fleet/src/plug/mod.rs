//! A back end whose peer comes by way of a fleet, `x-nats`: somebody at a program, or another
//! host's console, which is such a back end as well.
//!
//! ```text
//!  chardev ─▶ Plug ─▶ Cord ═ session ═ servers ═ session ═ Cord ─▶ Plug ─▶ chardev
//!             │ under the chardev's lock        chardev.CLUSTER.HOST.CONSOLE.in
//!             Seat: where its peers come from ◀─ Board: a thread and a connection
//! ```
//!
//! No socket is between: what a chardev writes is in the session's window, so what the peer does
//! not have is known to the byte, and the drain of a replaced back end waits for just that. The
//! other way round it tells the peer to stop (`Frame::stop`). That one takes nothing more from its
//! own console, sends what it has taken, and ends; all of it comes before the input of the next
//! back end, as long as the peer is heard of.

mod backend;
mod board;
mod call;
mod cord;
mod seat;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chardev::back::OpenContext;
use chardev::{Backend, OpenError, Port};
use tokio::sync::oneshot;

use self::backend::Plug;
use self::board::{Board, Order};
use self::cord::Cord;
use self::seat::Seat;
use crate::settings::Settings;

/// The kind's name.
pub const NAME: &str = "x-nats";
/// How long one attempt to reach a peer may take.
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// What is said to whoever wants one where there is no fleet.
const ALONE: &str = "the daemon is in no fleet; say which with [fleet] in its configuration";

/// Where the peer of a back end comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peering {
    /// It comes to the console.
    Served,
    /// It is a console of some host.
    Called {
        /// The host.
        host: String,
        /// Its console.
        console: String,
        /// After how long it is called again, if at all.
        again: Option<Duration>,
    },
}

/// Where the back ends of a program and the fleet meet. Clones share it.
#[derive(Clone, Debug)]
pub struct Exchange(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Who somebody is, for people, by what the servers say of them.
    who: fn(Option<&str>) -> String,
    state: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    settings: Option<Settings>,
    /// Those that wait for peers, by their chardev's name.
    seats: HashMap<String, Weak<Seat>>,
    /// There is one once it is needed.
    board: Option<Board>,
}

impl Exchange {
    /// One that is in no fleet; `who` says for people who somebody is, by what the servers say of
    /// them (`Nats-Request-Info`).
    pub fn new(who: fn(Option<&str>) -> String) -> Self {
        Exchange(Arc::new(Shared {
            who,
            state: Mutex::default(),
        }))
    }

    /// The fleet from here on. Where servers, cluster, host and keys stay the same, nobody notices;
    /// otherwise all peers are told to go.
    pub fn set(&self, settings: Option<Settings>) {
        let mut state = self.lock();
        // The stream, the monitor and presence are no matter here.
        let settings = settings.map(|settings| Settings {
            stream: crate::StreamSettings::default(),
            qmp: None,
            presence: Duration::ZERO,
            ..settings
        });
        if state.settings == settings {
            return;
        }
        let old = state.board.take();
        state.settings = settings;
        let is_wanted = state.seats.values().any(|seat| seat.strong_count() > 0);
        let begun = match is_wanted && state.settings.is_some() {
            true => self.board(&mut state).map(drop),
            false => Ok(()),
        };
        drop(state);
        if let Err(why) = begun {
            tracing::warn!(event = "fleet-failed", "fleet: {NAME}: {why}");
        }
        drop(old);
    }

    /// A back end whose peer comes so.
    ///
    /// # Errors
    /// There is no fleet, or nobody is there to be connected to.
    pub async fn open(
        &self,
        peering: Peering,
        context: &OpenContext,
    ) -> Result<Box<dyn Backend>, OpenError> {
        self.board(&mut self.lock())?;
        let seat = Seat::new(self, &context.port, peering.clone());
        if let Peering::Called {
            host,
            console,
            again: None,
        } = peering
        {
            let calling = self.call((host, console), context.port.clone(), CALL_LIMIT);
            seat.keep(calling.await?);
        }
        Ok(Box::new(Plug::new(seat)))
    }

    /// The program ends: waits until what was said to peers is there, but no longer than `limit`.
    pub fn finish(&self, limit: Duration) {
        let board = self.lock().board.take();
        if let Some(board) = board {
            board.finish(limit);
        }
    }

    /// The host's name in the fleet.
    fn host(&self) -> Option<String> {
        let state = self.lock();
        state.settings.as_ref().map(|it| it.host.clone())
    }

    fn register(&self, seat: &Arc<Seat>) {
        let label = seat.port().label().to_owned();
        self.lock().seats.insert(label, Arc::downgrade(seat));
    }

    /// Another one may have its place already.
    fn unregister(&self, seat: &Arc<Seat>) {
        let mut state = self.lock();
        let label = seat.port().label();
        let is_it = |it: &Weak<Seat>| it.as_ptr() == Arc::as_ptr(seat);
        if state.seats.get(label).is_some_and(is_it) {
            state.seats.remove(label);
        }
    }

    /// Where peers of that console come to.
    fn seat(&self, console: &str) -> Option<Arc<Seat>> {
        self.lock().seats.get(console)?.upgrade()
    }

    /// Connects to a console of a host.
    async fn call(
        &self,
        (host, console): (String, String),
        port: Port,
        limit: Duration,
    ) -> Result<Arc<Cord>, String> {
        let (answer, answered) = oneshot::channel();
        let order = Order {
            host,
            console,
            port,
            limit,
            answer,
        };
        self.board(&mut self.lock())?.send(order);
        let gone = |_| "the connection to the fleet has ended".to_owned();
        answered.await.map_err(gone)?
    }

    /// The connection, which is begun if need be.
    fn board<'a>(&self, state: &'a mut Seats) -> Result<&'a Board, String> {
        let Some(settings) = &state.settings else {
            return Err(ALONE.to_owned());
        };
        if state.board.is_none() {
            let board = Board::start(settings.clone(), Arc::downgrade(&self.0));
            state.board = Some(board.map_err(|error| format!("no thread: {error}"))?);
        }
        state.board.as_ref().ok_or_else(|| ALONE.to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}
