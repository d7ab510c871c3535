//! The thread and the connection that the peers of back ends come by, and are called by.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_nats::{Client, Event, Message};
use chardev::{Port, Ready};
use futures_util::StreamExt as _;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::call::call;
use super::cord::Cord;
use super::{Exchange, Shared};
use crate::link::{self, Connection};
use crate::relay::{Session, Way, frame_of, headers};
use crate::session::{End, Fate, Frame, Id, Kind, LARGEST, SESSION};
use crate::settings::Settings;
use crate::subject::{Name, Topic, wildcard};

/// How long peers may take to hear that there is no connection any more.
const FAREWELL: Duration = Duration::from_millis(200);
/// Of how many connections that are over the last words are kept.
const MOST_REMEMBERED: usize = 256;
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
    stop: oneshot::Sender<Duration>,
    /// Fails once the thread has ended.
    ended: Mutex<Receiver<()>>,
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
    state: Arc<Mutex<Cords>>,
    left: Arc<Notify>,
}

#[derive(Default)]
struct Cords {
    /// All that go on, and of those who have come the console that they are at.
    cords: HashMap<Id, (Option<String>, Arc<Cord>)>,
    over: VecDeque<Frame>,
}

impl Board {
    /// Begins; the servers need not be there.
    ///
    /// # Errors
    /// The process is out of threads.
    pub(super) fn start(settings: Settings, exchange: Weak<Shared>) -> io::Result<Board> {
        let (alive, ended) = channel::<()>();
        let (stop, stopped) = oneshot::channel();
        let (orders, ordered) = mpsc::unbounded_channel();
        let run = move || {
            run(settings, exchange, ordered, stopped);
            drop(alive);
        };
        chardev::new_thread("fleet-peers")?.spawn(run)?;
        Ok(Board {
            orders,
            stop,
            ended: Mutex::new(ended),
        })
    }

    /// Has a peer called.
    pub(super) fn send(&self, order: Order) {
        // Whoever waits for the answer hears that there is none.
        let _ = self.orders.send(order);
    }

    /// Waits until all connections are over, but no longer than `limit`.
    pub(super) fn finish(self, limit: Duration) {
        if self.stop.send(limit).is_ok() {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            // It fails when the thread has ended, and that it takes longer stops nobody.
            let _ = ended.recv_timeout(limit + 2 * FAREWELL);
        }
    }
}

fn run(
    settings: Settings,
    exchange: Weak<Shared>,
    mut ordered: mpsc::UnboundedReceiver<Order>,
    stopped: oneshot::Receiver<Duration>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let worker = match Worker::connect(settings, exchange).await {
            Ok(worker) => worker,
            Err(error) => {
                tracing::error!(event = "fleet-failed", "fleet: {error}");
                return;
            }
        };
        let mut served = std::pin::pin!(worker.serve(&mut ordered));
        let mut stopped = stopped;
        let limit = tokio::select! {
            limit = &mut stopped => limit.unwrap_or_default(),
            () = &mut served => return,
        };
        tokio::select! {
            () = worker.is_empty() => {}
            () = &mut served => {}
            () = tokio::time::sleep(limit) => {}
        }
        worker.give_up("the daemon has ended, or is in another fleet");
        let _ = tokio::time::timeout(FAREWELL, worker.is_empty()).await;
        let _ = tokio::time::timeout(FAREWELL, worker.client.flush()).await;
    });
    runtime.shutdown_background();
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
            state: Arc::default(),
            left: Arc::default(),
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
        let id = frame.session;
        let (known, over) = {
            let state = self.lock();
            let over = state.over.iter().find(|it| it.session == id).cloned();
            (state.cords.get(&id).cloned(), over)
        };
        let said = match (known, over) {
            // What was opened at another console is none of this one's.
            (Some((console, cord)), _) => {
                if console.as_deref() == Some(&name.console) {
                    cord.session.take(frame, message.reply);
                }
                return;
            }
            (None, _) if matches!(frame.kind, Kind::Reset(_)) => return,
            (None, Some(last)) => last,
            (None, None) if frame.kind == Kind::Open => {
                match self.accept(name.console, frame, &message) {
                    Ok(()) => return,
                    Err(why) => Frame::reset(id, &why),
                }
            }
            (None, None) => Frame::reset(id, ""),
        };
        if let Some(reply) = message.reply {
            // It fails where the peer is no more.
            let sent = self
                .client
                .publish_with_headers(reply, headers(&said), said.payload());
            let _ = sent.await;
        }
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
        let known = (console, Arc::clone(cord));
        self.lock().cords.insert(id, known);
        let (worker, cord) = (self.clone(), Arc::clone(cord));
        tokio::spawn(async move {
            let (client, connected) = (worker.client.clone(), worker.connected.clone());
            Arc::clone(&cord).carry(client, connected, way).await;
            worker.forget(id, &cord);
        })
    }

    fn forget(&self, id: Id, cord: &Cord) {
        let mut state = self.lock();
        let is_theirs = matches!(state.cords.remove(&id), Some((Some(_), _)));
        let end = cord.session.lock();
        if is_theirs && end.fate() == Fate::Over {
            state.over.push_back(end.last_word());
            if state.over.len() > MOST_REMEMBERED {
                state.over.pop_front();
            }
        }
        drop((end, state));
        self.left.notify_waiters();
    }

    /// Nothing goes on any more.
    async fn is_empty(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().cords.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// All connections are given up.
    fn give_up(&self, why: &str) {
        let cords: Vec<_> = self.lock().cords.values().cloned().collect();
        cords.iter().for_each(|(_, cord)| cord.session.give_up(why));
    }

    fn lock(&self) -> MutexGuard<'_, Cords> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
