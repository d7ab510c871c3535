//! What the work of a gate is: a connection, and sessions over it that are opened and carried.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, Event, Message, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::{broadcast, mpsc, watch};

use super::door::Door;
use super::sessions::{Counted, Sessions};
use crate::blind::{Blind, reasons};
use crate::inbox::{TRIES, new_session};
use crate::link::{self, Connection};
use crate::relay::{Ended, Relay, Session, Way, frame_of, is_for_nobody};
use crate::session::{End, Fate, Why};
use crate::settings::Settings;
use crate::socket::Socket;

/// A session that is to be opened.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) host: String,
    pub(super) door: Door,
    pub(super) limit: Duration,
    pub(super) socket: UnixStream,
    pub(super) ended: Ended,
    pub(super) answer: Sender<Result<(), Blind>>,
}

/// What the thread works with.
#[derive(Clone, Debug)]
struct Worker {
    client: Client,
    cluster: String,
    servers: String,
    /// Who we are there, for the name of inboxes.
    who: String,
    connected: watch::Receiver<Connection>,
    /// What servers refuse.
    refused: broadcast::Sender<String>,
}

/// Connects, and carries out what is ordered until nobody orders any more.
pub(super) async fn work(
    settings: &Settings,
    limit: Duration,
    answer: Sender<Result<(), Blind>>,
    mut ordered: mpsc::UnboundedReceiver<Order>,
    sessions: &Arc<Sessions>,
) {
    let connecting = tokio::time::timeout(limit, Worker::connect(settings));
    let worker = match connecting.await {
        Ok(Ok(worker)) => worker,
        // Whoever asked has perhaps left.
        Ok(Err(blind)) => return drop(answer.send(Err(blind))),
        Err(_) => {
            let servers = settings.servers.join(",");
            let why = format!("not within {} s", limit.as_secs_f64());
            return drop(answer.send(Err(Blind::Away { servers, why })));
        }
    };
    drop(answer.send(Ok(())));
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(order) = ordered.recv().await {
        let (mut worker, counted) = (worker.clone(), Counted::new(sessions));
        tasks.spawn(async move {
            worker.open(order, &counted.0).await;
            // Its last word may still be on its way.
            let _ = worker.client.flush().await;
            drop(counted);
        });
    }
    while tasks.join_next().await.is_some() {}
}

impl Worker {
    async fn connect(settings: &Settings) -> Result<Worker, Blind> {
        let (told, connected) = watch::channel(Connection::default());
        let (refused, _) = broadcast::channel(16);
        let refusing = refused.clone();
        let tell = move |event: Event| {
            link::note(&told, &event);
            if let Event::ServerError(error) = event {
                // Nobody may be waiting for it.
                let _ = refusing.send(error.to_string());
            }
            async {}
        };
        let who = link::who(settings).map_err(Blind::File)?;
        let options = link::options(settings, "chardevctl").map_err(Blind::File)?;
        let connecting = options.event_callback(tell);
        let connecting = connecting.connect(&settings.servers[..]).await;
        let servers = settings.servers.join(",");
        let client = connecting.map_err(|error| {
            let (servers, why) = (servers.clone(), reasons(&error));
            match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    Blind::Refused { servers, why }
                }
                _ => Blind::Away { servers, why },
            }
        })?;
        Ok(Worker {
            client,
            cluster: settings.cluster.clone(),
            servers,
            who,
            connected,
            refused,
        })
    }

    /// Opens a session, and carries it until it is over.
    async fn open(&mut self, order: Order, sessions: &Sessions) {
        // What was refused before is not heard.
        let mut refused = self.refused.subscribe();
        // The event may come after the connection.
        let _ = self.connected.wait_for(|it| it.is_there).await;
        let (mut begun, relay) = match self.begin(&order).await {
            Ok(begun) => begun,
            // Nobody takes it who has given up.
            Err(blind) => return drop(order.answer.send(Err(blind))),
        };
        let mut relay = tokio::spawn(relay.run());
        let opened = begun.is_open(self, &order, &mut refused);
        let opened = tokio::time::timeout(order.limit, opened).await;
        let opened = opened.unwrap_or_else(|_| {
            begun.session.give_up("it took too long");
            let (host, limit) = (order.host.clone(), order.limit);
            Err(Blind::HostSilent { host, limit })
        });
        let is_over = matches!(&opened, Err(blind) if !matches!(blind, Blind::HostSilent { .. }));
        let _ = order.answer.send(opened);
        if is_over {
            return relay.abort();
        }
        sessions.lock().push(Arc::clone(&begun.session));
        loop {
            tokio::select! {
                _ = &mut relay => break,
                message = begun.messages.next() => match message {
                    Some(message) => begun.take(&message),
                    None => break,
                },
            }
        }
        sessions
            .lock()
            .retain(|it| !Arc::ptr_eq(it, &begun.session));
        let fate = begun.session.lock().fate();
        if matches!(fate, Fate::Failed(Why::GivenUp(_))) {
            // The process ends, and whoever is at the socket is not to be told before that.
            std::mem::forget(order.socket);
        }
    }

    async fn begin(&self, order: &Order) -> Result<(Begun, Relay), Blind> {
        let (subject, wanted) = order.door.subject(&self.cluster, &order.host);
        let too_long = || Blind::Failed(io::Error::other("the names are too long"));
        let subject = subject.ok_or_else(too_long)?;
        let (id, inbox) = new_session(&self.who).map_err(Blind::Failed)?;
        let failed =
            |error: &dyn std::error::Error| Blind::Failed(io::Error::other(reasons(error)));
        let heard = self.client.subscribe(inbox.clone()).await;
        let messages = heard.map_err(|error| failed(&error))?;
        let session = Session::new(|now| End::open(id, wanted.into(), now));
        let ours = order.socket.try_clone().map_err(Blind::Failed)?;
        let relay = Relay {
            session: Arc::clone(&session),
            socket: Socket::new(ours).map_err(Blind::Failed)?,
            client: self.client.clone(),
            connected: self.connected.clone(),
            way: Way::Host {
                subject: subject.clone().into(),
                inbox: inbox.clone().into(),
            },
            ended: Arc::clone(&order.ended),
            half_close: true,
        };
        let begun = Begun {
            session,
            messages,
            subject,
            inbox,
        };
        Ok((begun, relay))
    }
}

/// A session that was begun.
struct Begun {
    session: Arc<Session>,
    messages: Subscriber,
    subject: String,
    inbox: String,
}

impl Begun {
    fn take(&self, message: &Message) {
        if is_for_nobody(message) {
            self.session.is_absent();
        } else if let Ok(frame) = frame_of(message) {
            self.session.take(frame, None);
        }
    }

    /// Waits until the host is heard.
    async fn is_open(
        &mut self,
        worker: &Worker,
        order: &Order,
        refused: &mut broadcast::Receiver<String>,
    ) -> Result<(), Blind> {
        let mut times_absent = 0;
        loop {
            tokio::select! {
                message = self.messages.next() => {
                    let gone = || Blind::Failed(io::Error::other("the connection has ended"));
                    let message = message.ok_or_else(gone)?;
                    times_absent += u32::from(is_for_nobody(&message));
                    self.take(&message);
                }
                why = refused.recv() => if let Ok(why) = why {
                    if why.contains(&self.subject) || why.contains(&self.inbox) {
                        let servers = worker.servers.clone();
                        return Err(Blind::Refused { servers, why });
                    }
                },
            }
            let end = self.session.lock();
            let host = order.host.clone();
            match end.fate() {
                Fate::Failed(Why::Refused(why)) => return Err(Blind::HostRefused { host, why }),
                _ if !end.is_opening() => return Ok(()),
                _ if times_absent >= TRIES => return Err(order.door.closed(host)),
                _ => {}
            }
        }
    }
}
