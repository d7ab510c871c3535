//! The way to the monitors of hosts, for a program that is none: a thread and a connection, and
//! sessions over it, each of which is a socket here.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, Event, Message, Subscriber};
use futures_util::StreamExt as _;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::sync::{broadcast, mpsc, watch};

use crate::blind::{Blind, reasons};
use crate::desk::{HALF, WHOLE};
use crate::link::{self, Connection};
use crate::relay::{Ended, Relay, Session, Way, frame_of, is_for_nobody};
use crate::session::{End, Fate, Id, Why};
use crate::settings::Settings;
use crate::subject::{self, Name, Topic};

/// Where a session hears its host: `_CHARDEV.WHO.SESSION`. Whoever may hear all inboxes hears
/// nothing of that.
const INBOX: &str = "_CHARDEV";
/// How often it may be said that nobody is there before that is believed: a host may just have
/// another server.
const TRIES: u32 = 2;

/// The way to the monitors of a cluster's hosts. Its sessions go on without it, as long as the
/// process does.
#[derive(Debug)]
pub struct Gate {
    orders: mpsc::UnboundedSender<Order>,
    sessions: Arc<Sessions>,
}

/// A session with a host's monitor.
#[derive(Debug)]
pub struct Opened {
    /// What is written there the monitor reads, and the other way round.
    pub stream: UnixStream,
    /// Why it has ended, if that was not as it should be.
    pub ended: Ended,
}

/// The sessions there are.
#[derive(Debug, Default)]
struct Sessions {
    all: Mutex<Vec<Arc<Session>>>,
    count: Mutex<usize>,
    fewer: Condvar,
}

/// A session that is to be opened.
#[derive(Debug)]
struct Order {
    host: String,
    door: Door,
    limit: Duration,
    socket: UnixStream,
    ended: Ended,
    answer: Sender<Result<(), Blind>>,
}

/// What of the host it is with.
#[derive(Debug)]
enum Door {
    /// Its monitor, or something there that is wanted, as somebody with that role.
    Monitor { role: String, wanted: String },
    /// A console that waits for its peer.
    Console { console: String },
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

impl Gate {
    /// Connects to one of the servers. The host of the settings does not matter. Blocks, but no
    /// longer than `limit`.
    ///
    /// # Errors
    /// A file cannot be read, no server is there, or they refuse; the process is out of threads.
    pub fn open(settings: &Settings, limit: Duration) -> Result<Gate, Blind> {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (answer, answered) = channel();
        let sessions = Arc::new(Sessions::default());
        let (settings, counted) = (settings.clone(), Arc::clone(&sessions));
        let servers = settings.servers.join(",");
        let run = move || run(&settings, limit, answer, ordered, &counted);
        let thread = std::thread::Builder::new().name("fleet".to_owned());
        thread.spawn(run).map_err(Blind::Failed)?;
        // It answers by then, but may be somewhat late.
        match answered.recv() {
            Ok(answer) => answer.map(|()| Gate { orders, sessions }),
            Err(_) => Err(Blind::Away {
                servers,
                why: "the connection has failed".to_owned(),
            }),
        }
    }

    /// Opens a session with the monitor of a host, as somebody with that role. Blocks, but no
    /// longer than `limit`.
    ///
    /// # Errors
    /// The host is not there, or refuses; the servers do; it takes too long.
    pub fn session(&self, host: &str, role: &str, limit: Duration) -> Result<Opened, Blind> {
        let (role, wanted) = (role.to_owned(), String::new());
        self.order(host, Door::Monitor { role, wanted }, limit)
    }

    /// Becomes the peer of a console whose back end is `x-nats`: what is written the console reads,
    /// and the other way round.
    ///
    /// # Errors
    /// As for [`Gate::session`]; it has a peer, or another back end.
    pub fn peer(&self, host: &str, console: &str, limit: Duration) -> Result<Opened, Blind> {
        let console = console.to_owned();
        self.order(host, Door::Console { console }, limit)
    }

    /// The same with what `key` is for, which somebody at the monitor has offered there
    /// (`x-tunnel-offer`). Where not `half_close`, it is over once nothing more is written.
    ///
    /// # Errors
    /// As for [`Gate::session`].
    pub fn tunnel(
        &self,
        (host, role): (&str, &str),
        (key, half_close): (&str, bool),
        limit: Duration,
    ) -> Result<Opened, Blind> {
        let sort = if half_close { HALF } else { WHOLE };
        let (role, wanted) = (role.to_owned(), format!("{sort} {key}"));
        self.order(host, Door::Monitor { role, wanted }, limit)
    }

    fn order(&self, host: &str, door: Door, limit: Duration) -> Result<Opened, Blind> {
        let (stream, socket) = UnixStream::pair().map_err(Blind::Failed)?;
        let (answer, answered) = channel();
        let ended = Ended::default();
        let order = Order {
            host: host.to_owned(),
            door,
            limit,
            socket,
            ended: Arc::clone(&ended),
            answer,
        };
        let gone = || Blind::Failed(io::Error::other("the connection to the fleet has ended"));
        self.orders.send(order).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())??;
        Ok(Opened { stream, ended })
    }

    /// Gives all sessions up, and waits until their hosts have been told, but no longer than
    /// `limit`.
    pub fn leave(&self, limit: Duration) {
        let all = self.sessions.lock().clone();
        all.iter().for_each(|it| it.give_up("the client has left"));
        self.finish(limit);
    }

    /// Waits until all that was written to sessions whose sockets were closed is at their hosts,
    /// but no longer than `limit`.
    pub fn finish(&self, limit: Duration) {
        let count = self.sessions.count.lock();
        let count = count.unwrap_or_else(PoisonError::into_inner);
        let fewer = &self.sessions.fewer;
        drop(fewer.wait_timeout_while(count, limit, |count| *count > 0));
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as a session until it is dropped.
struct Counted(Arc<Sessions>);

impl Counted {
    fn new(sessions: &Arc<Sessions>) -> Counted {
        *sessions
            .count
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += 1;
        Counted(Arc::clone(sessions))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = self.0.count.lock();
        *count.unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.fewer.notify_all();
    }
}

fn run(
    settings: &Settings,
    limit: Duration,
    answer: Sender<Result<(), Blind>>,
    mut ordered: mpsc::UnboundedReceiver<Order>,
    sessions: &Arc<Sessions>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(answer.send(Err(Blind::Failed(error)))),
    };
    runtime.block_on(async {
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
    });
    // The search for a name may take much longer.
    runtime.shutdown_background();
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
        let id = new_id().map_err(Blind::Failed)?;
        let inbox = format!("{INBOX}.{}.{id}", self.who);
        let failed =
            |error: &dyn std::error::Error| Blind::Failed(io::Error::other(reasons(error)));
        let heard = self.client.subscribe(inbox.clone()).await;
        let messages = heard.map_err(|error| failed(&error))?;
        let session = Session::new(|now| End::open(id, wanted.into(), now));
        let ours = order.socket.try_clone().map_err(Blind::Failed)?;
        ours.set_nonblocking(true).map_err(Blind::Failed)?;
        let relay = Relay {
            session: Arc::clone(&session),
            socket: tokio::net::UnixStream::from_std(ours).map_err(Blind::Failed)?,
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

impl Door {
    /// Where it is knocked at, and with which words.
    fn subject(&self, cluster: &str, host: &str) -> (Option<String>, String) {
        match self {
            Door::Monitor { role, wanted } => (subject::qmp(cluster, host, role), wanted.clone()),
            Door::Console { console } => {
                let name = Name {
                    cluster: cluster.to_owned(),
                    host: host.to_owned(),
                    console: console.clone(),
                };
                (name.subject(Topic::In), String::new())
            }
        }
    }

    /// Nobody is there.
    fn closed(&self, host: String) -> Blind {
        match self {
            Door::Monitor { role, .. } => Blind::NoHost {
                host,
                role: role.clone(),
            },
            Door::Console { console } => Blind::NoConsole {
                host,
                console: console.clone(),
            },
        }
    }
}

/// A random name, which nobody guesses.
fn new_id() -> io::Result<Id> {
    let mut bytes = [0u8; 16];
    // So few are given whole.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(Id(u128::from_ne_bytes(bytes)))
}
