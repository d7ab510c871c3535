//! The thread and the connection that the peers of back ends come by, and are called by.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Client, Event, Message};
use chardev::{Port, Ready};
use futures_util::StreamExt as _;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::call::call;
use super::cord::Cord;
use super::{Exchange, Shared};
use crate::ledger::{Entry, Ledger};
use crate::link::{self, Connection};
use crate::relay::{Session, Way, frame_of};
use crate::session::{End, Frame, Id, LARGEST, SESSION};
use crate::settings::Settings;
use crate::subject::{Name, Topic, wildcard};
use crate::thread::Thread;

/// The header in which servers say who has sent a message.
const INFO: &str = "Nats-Request-Info";

/// A peer that is to be called.
pub(super) struct Order {
    pub(super) host: String,
    pub(super) console: String,
    pub(super) port: Port,
    pub(super) limit: Duration,
    pub(super) answer: oneshot::Sender<Result<Arc<Cord>, String>>,
}

/// The thread, until this is dropped.
#[derive(Debug)]
pub(super) struct Board {
    orders: mpsc::UnboundedSender<Order>,
    thread: Thread,
}

/// What its tasks work with.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) client: Client,
    pub(super) settings: Arc<Settings>,
    /// Who we are there, for the names of inboxes.
    pub(super) who: Arc<str>,
    pub(super) connected: watch::Receiver<Connection>,
    /// What servers refuse.
    pub(super) refused: broadcast::Sender<String>,
    exchange: Weak<Shared>,
    cords: Arc<Ledger<Held>>,
}

/// A connection, and of those who have come the console that they are at.
#[derive(Clone)]
struct Held(Option<String>, Arc<Cord>);

impl Entry for Held {
    fn session(&self) -> &Session {
        &self.1.session
    }
}

impl Board {
    /// Begins; the servers need not be there.
    ///
    /// # Errors
    /// The process is out of threads.
    pub(super) fn start(settings: Settings, exchange: Weak<Shared>) -> io::Result<Board> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let work = |stopped| work(settings, exchange, ordered, stopped);
        let thread = Thread::start("fleet-peers", work)?;
        Ok(Board { orders, thread })
    }

    /// Has a peer called.
    pub(super) fn send(&self, order: Order) {
        // Whoever waits for the answer hears that there is none.
        let _ = self.orders.send(order);
    }

    /// Waits until all connections are over, but no longer than `limit`.
    pub(super) fn finish(self, limit: Duration) {
        self.thread.finish(limit);
    }
}

async fn work(
    settings: Settings,
    exchange: Weak<Shared>,
    mut ordered: mpsc::UnboundedReceiver<Order>,
    stopped: oneshot::Receiver<Duration>,
) {
    let worker = match Worker::connect(settings, exchange).await {
        Ok(worker) => worker,
        Err(error) => {
            tracing::error!(event = "fleet-failed", "fleet: {error}");
            return;
        }
    };
    let served = std::pin::pin!(worker.serve(&mut ordered));
    let why = "the daemon has ended, or is in another fleet";
    let (cords, client) = (&worker.cords, &worker.client);
    cords.end_well(client, (served, stopped), why).await;
}

impl Worker {
    async fn connect(settings: Settings, exchange: Weak<Shared>) -> io::Result<Worker> {
        let (told, connected) = watch::channel(Connection::default());
        let (refused, _) = broadcast::channel(16);
        let refusing = refused.clone();
        let tell = move |event: Event| {
            link::note(&told, &event);
            if let Event::ServerError(error) = &event {
                tracing::warn!(event = "fleet-refused", "fleet: the server says: {error}");
                // Nobody may be waiting for it.
                let _ = refusing.send(error.to_string());
            }
            async {}
        };
        let name = format!("chardevd {} peers", settings.host);
        let options = link::options(&settings, &name)?
            .retry_on_initial_connect()
            .event_callback(tell);
        let connecting = options.connect(&settings.servers[..]);
        Ok(Worker {
            client: connecting.await.map_err(io::Error::other)?,
            who: link::who(&settings)?.into(),
            settings: Arc::new(settings),
            connected,
            refused,
            exchange,
            cords: Arc::new(Ledger::new()),
        })
    }

    /// Takes those who come, and calls those who are to be called.
    async fn serve(&self, ordered: &mut mpsc::UnboundedReceiver<Order>) {
        let (cluster, host) = (&self.settings.cluster, &self.settings.host);
        let subject = wildcard(cluster, Some(host), Topic::In);
        let mut heard = match self.client.subscribe(subject).await {
            Ok(heard) => heard,
            Err(error) => {
                tracing::error!(event = "fleet-failed", "fleet: {error}");
                return;
            }
        };
        loop {
            tokio::select! {
                message = heard.next() => match message {
                    Some(message) => self.take(message).await,
                    None => return,
                },
                order = ordered.recv() => match order {
                    Some(order) => drop(tokio::spawn(call(self.clone(), order))),
                    // The end is told otherwise.
                    None => std::future::pending().await,
                },
            }
        }
    }

    /// A message has come for one of our consoles.
    async fn take(&self, message: Message) {
        let Some((name, Topic::In)) = Name::parse(&message.subject) else {
            return;
        };
        let has_one = |it: &async_nats::HeaderMap| it.get(SESSION).is_some();
        let is_one = message.headers.as_ref().is_some_and(has_one);
        let Ok(frame) = frame_of(&message) else {
            if !is_one {
                tracing::debug!(
                    "fleet: {} is told something that is no session",
                    name.console
                );
            }
            return;
        };
        if frame.payload.len() > LARGEST {
            return;
        }
        // What was opened at another console is none of this one's.
        let is_at_it = |it: &Held| it.0.as_deref() == Some(&name.console);
        let open = |frame, message: &Message| self.accept(name.console.clone(), frame, message);
        let taken = self
            .cords
            .take(&self.client, (frame, message), is_at_it, open);
        taken.await;
    }

    /// Somebody wants to be the peer of a console.
    fn accept(&self, console: String, frame: Frame, message: &Message) -> Result<(), String> {
        let shared = self.exchange.upgrade().ok_or("the daemon ends")?;
        let exchange = Exchange(shared);
        let seat = exchange.seat(&console).ok_or_else(|| {
            format!("'{console}' takes no peer over the fleet: its back end is none of x-nats")
        })?;
        let info = message.headers.as_ref().and_then(|it| it.get(INFO));
        let who = (exchange.0.who)(info.map(async_nats::HeaderValue::as_str));
        let id = frame.session;
        let session = Session::new(|now| End::accept(id, now));
        let cord = Cord::new(session, who, seat.port().clone());
        seat.offer(&cord)?;
        cord.session.take(frame, message.reply.clone());
        drop(self.carry(id, Some(console), &cord, Way::Client));
        seat.port().kick(Ready::empty());
        Ok(())
    }

    /// Has a connection carried until it is over.
    pub(super) fn carry(
        &self,
        id: Id,
        console: Option<String>,
        cord: &Arc<Cord>,
        way: Way,
    ) -> JoinHandle<()> {
        let is_theirs = console.is_some();
        self.cords.insert(id, Held(console, Arc::clone(cord)));
        let (worker, cord) = (self.clone(), Arc::clone(cord));
        tokio::spawn(async move {
            let (client, connected) = (worker.client.clone(), worker.connected.clone());
            Arc::clone(&cord).carry(client, connected, way).await;
            worker.cords.forget(id, &cord.session, is_theirs);
        })
    }
}
