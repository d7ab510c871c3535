//! A fleet's stream, for people who look: they are told at once what is wrong, see all consoles,
//! and read one of them from any place on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind, Stream};
use async_nats::{Client, ConnectErrorKind, Event, HeaderMap};
use chardev::Epoch;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use crate::archive::{self, Archive, Plan};
use crate::blind::{Blind, reasons};
use crate::link::{self, Connection};
use crate::message::Head;
use crate::reader::{Begin, EARLY_MESSAGES, Found};
use crate::settings::Settings;
use crate::subject::{Name, Topic, wildcard};

/// How long the last messages of consoles may take to come, one after the other.
const SILENCE: Duration = Duration::from_secs(2);
/// The header in which a server says how long a message is that it does not send.
const LENGTH: &str = "Nats-Msg-Size";

/// A fleet's stream, and the connection to it, as it is now. Its methods need a tokio runtime with
/// I/O and time.
#[derive(Debug)]
pub struct Look {
    pub(crate) archive: Archive,
    pub(crate) client: Client,
    /// The connection as it is now.
    pub(crate) connected: watch::Receiver<Connection>,
    servers: String,
    /// What a server has refused last.
    refused: Arc<watch::Sender<Option<String>>>,
}

/// A console of the stream, by its last message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Whose output it is.
    pub name: Name,
    /// Its newest life.
    pub epoch: Epoch,
    /// How many bytes it has printed in that.
    pub end: u64,
    /// Whether it was removed, or its daemon has ended.
    pub has_ended: bool,
    /// When a server got its last message, since 1970; zero if it has printed nothing yet.
    pub heard: Duration,
    /// The number of that message.
    last: u64,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest byte that the stream has, in whatever life.
    Oldest,
    /// At that offset of the newest life.
    Offset(u64),
    /// So many bytes before the end of the newest life, or with its first byte.
    BeforeEnd(u64),
}

impl Look {
    /// Connects to one of the servers, within their time for an answer, and sees whether the stream
    /// is there. The host of the settings does not matter.
    ///
    /// # Errors
    /// A file cannot be read, no server is there, or they refuse.
    pub async fn open(settings: &Settings) -> Result<Look, Blind> {
        let refused = Arc::new(watch::Sender::new(None));
        let told = Arc::clone(&refused);
        let (is_connected, connection) = watch::channel(Connection::default());
        let tell = move |event: Event| {
            link::note(&is_connected, &event);
            if let Event::ServerError(error) = event {
                let error = error.to_string();
                if error.to_ascii_lowercase().contains("violation") {
                    told.send_replace(Some(error));
                }
            }
            async {}
        };
        let options = link::options(settings, "chardevctl").map_err(Blind::File)?;
        let servers = settings.servers.join(",");
        let connected = options.event_callback(tell);
        let connected = connected.connect(&settings.servers[..]).await;
        let client = connected.map_err(|error| {
            let why = reasons(&error);
            let servers = servers.clone();
            match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    Blind::Refused { servers, why }
                }
                _ => Blind::Away { servers, why },
            }
        })?;
        let look = Look {
            archive: Archive {
                context: link::context(client.clone()),
                cluster: settings.cluster.clone(),
                stream: settings.stream.name.clone(),
            },
            client,
            connected: connection,
            servers,
            refused,
        };
        look.unless_refused(look.check()).await?;
        Ok(look)
    }

    /// The name of the stream.
    pub fn stream(&self) -> &str {
        &self.archive.stream
    }

    /// The name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.archive.cluster
    }

    /// All consoles of the cluster whose output the stream has, by their names.
    ///
    /// # Errors
    /// No server answers, or they refuse.
    pub async fn consoles(&self) -> Result<Vec<Console>, Blind> {
        self.unless_refused(self.all()).await
    }

    async fn all(&self) -> Result<Vec<Console>, Blind> {
        let names = self.archive.consoles().await;
        let names = names.map_err(|error| self.failed(error))?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let stream = self.handle().await?;
        let mut found = self.last_of_all(&stream, names.len()).await?;
        // The server that was asked may know less than the stream's leader.
        for (name, _) in names {
            if let Entry::Vacant(place) = found.entry(name.clone()) {
                if let Some(console) = self.last(&stream, name).await? {
                    place.insert(console);
                }
            }
        }
        let mut consoles: Vec<Console> = found.into_values().collect();
        consoles.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(consoles)
    }

    /// The names of all consoles of the cluster whose output the stream has, in their order.
    ///
    /// # Errors
    /// No server answers, or they refuse.
    pub async fn names(&self) -> Result<Vec<Name>, Blind> {
        let names = async {
            let names = self.archive.consoles().await;
            names.map_err(|error| self.failed(error))
        };
        let names = self.unless_refused(names).await?;
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    /// The console that is written `HOST/CONSOLE`, if the stream has one, or a host that is up.
    ///
    /// # Errors
    /// No server answers, or they refuse.
    pub async fn find(&self, written: &str) -> Result<Option<Console>, Blind> {
        let stream = self.handle().await?;
        // Both may hold a slash.
        let names = || {
            written.match_indices('/').map(|(at, _)| Name {
                cluster: self.archive.cluster.clone(),
                host: written[..at].to_owned(),
                console: written[at + 1..].to_owned(),
            })
        };
        for name in names() {
            let last = self.last(&stream, name);
            if let Some(console) = self.unless_refused(last).await? {
                return Ok(Some(console));
            }
        }
        // Nobody may say who is up, and then there is none.
        let roster = self.hosts().await.ok().flatten().unwrap_or_default();
        let silent = |name: Name| {
            let epoch = roster.console(&name.host, &name.console)?.epoch;
            Some(Console {
                name,
                epoch,
                end: 0,
                has_ended: false,
                heard: Duration::ZERO,
                last: 0,
            })
        };
        Ok(names().find_map(silent))
    }

    /// Reads what a console has printed, up to what was the end when it was found, or what comes
    /// after that, too. `each` is told when the stream was given it, since 1970, and returns
    /// whether to go on.
    ///
    /// # Errors
    /// The offset has not been reached; no server answers for a while, or they refuse.
    pub async fn read(
        &self,
        console: &Console,
        from: Start,
        is_followed: bool,
        each: impl AsyncFnMut(Found, Duration) -> bool,
    ) -> Result<(), Blind> {
        let Some(subject) = console.name.subject(Topic::Out) else {
            return Ok(());
        };
        let stream = self.handle().await?;
        let (epoch, end) = (console.epoch, console.end);
        let at = match from {
            Start::Oldest => None,
            Start::Offset(offset) if offset > end => {
                return Err(Blind::NotReached { offset, end });
            }
            Start::Offset(offset) => Some(offset),
            Start::BeforeEnd(count) => Some(end.saturating_sub(count)),
        };
        let last = match is_followed {
            true => u64::MAX,
            false => console.last,
        };
        let plan = match at {
            None => Plan::all(Begin::Beginning, last),
            Some(at) => Plan {
                seen: {
                    let before = self.before(&stream, &subject, console, at);
                    self.unless_refused(before).await?
                },
                only: Some((console.last, epoch)),
                ..Plan::all(Begin::At(epoch, at), last)
            },
        };
        let done = archive::read(&stream, &subject, plan, each).await;
        done.map_err(|error| self.failed(error))
    }

    /// A number that lies before all messages with what a life has printed from `at` on.
    async fn before(
        &self,
        stream: &Stream<()>,
        subject: &str,
        console: &Console,
        at: u64,
    ) -> Result<u64, Blind> {
        // The messages before `low` do not have it, and those from `high` on do, except for a few
        // that were stored out of order.
        let (mut low, mut high) = (1, console.last + 1);
        if at >= console.end {
            low = high;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            let message = self.next(stream, subject, middle).await?;
            let head = message
                .as_ref()
                .and_then(|it| head(&it.headers, it.payload.len() as u64));
            match (message, head) {
                (Some(message), head) if message.sequence < high => {
                    match head.is_some_and(|it| it.epoch == console.epoch && it.end > at) {
                        true => high = middle,
                        false => low = message.sequence + 1,
                    }
                }
                _ => high = middle,
            }
        }
        // Those few are no more than these.
        let count = async |from: u64| -> Result<u64, Blind> {
            let consumer = archive::consumer(stream, archive::beginning(subject, from)).await;
            let consumer = consumer.map_err(|error| self.failed(error))?;
            Ok(consumer.cached_info().num_pending)
        };
        let mut step = EARLY_MESSAGES as u64;
        while step < low {
            let more = count(low - step).await?;
            // What comes meanwhile is not among them.
            if more.saturating_sub(count(low).await?) >= EARLY_MESSAGES as u64 {
                break;
            }
            step *= 2;
        }
        Ok(low.saturating_sub(step + 1))
    }

    /// The last message of each console; of some perhaps not.
    async fn last_of_all(
        &self,
        stream: &Stream<()>,
        count: usize,
    ) -> Result<HashMap<Name, Console>, Blind> {
        let config = OrderedConfig {
            filter_subject: wildcard(&self.archive.cluster, None, Topic::Out),
            deliver_policy: DeliverPolicy::LastPerSubject,
            headers_only: true,
            ..OrderedConfig::default()
        };
        let consumer = archive::consumer(stream, config).await;
        let messages = consumer.map_err(|error| self.failed(error))?.messages();
        let mut messages = messages.await.map_err(|error| self.failed(error))?;
        let mut found = HashMap::with_capacity(count);
        while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE, messages.next()).await {
            let Ok(info) = message.info() else { continue };
            let number = info.stream_sequence;
            let heard = archive::since_1970(info.published.unix_timestamp_nanos());
            let length = message.headers.as_ref().and_then(|it| it.get(LENGTH));
            let length = length.and_then(|it| it.as_str().parse().ok()).unwrap_or(0);
            let head = message.headers.as_ref().and_then(|it| head(it, length));
            if let (Some((name, _)), Some(head)) = (Name::parse(&message.subject), head) {
                let console = Console::new(name.clone(), head, heard, number);
                found.insert(name, console);
            }
            if info.pending == 0 {
                break;
            }
        }
        Ok(found)
    }

    /// A console by its last message, as the stream's leader knows it.
    async fn last(&self, stream: &Stream<()>, name: Name) -> Result<Option<Console>, Blind> {
        let Some(subject) = name.subject(Topic::Out) else {
            return Ok(None);
        };
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(
                head(&message.headers, message.payload.len() as u64).map(|head| {
                    let heard = archive::since_1970(message.time.unix_timestamp_nanos());
                    Console::new(name, head, heard, message.sequence)
                }),
            ),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The first message of a subject from that number on.
    async fn next(
        &self,
        stream: &Stream<()>,
        subject: &str,
        from: u64,
    ) -> Result<Option<StreamMessage>, Blind> {
        let asked = stream.raw_message_builder();
        match asked.sequence(from).next_by_subject(subject).send().await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn handle(&self) -> Result<Stream<()>, Blind> {
        let handle = self
            .archive
            .context
            .get_stream_no_info(&self.archive.stream);
        handle.await.map_err(|error| self.failed(error))
    }

    /// Whether the stream is there.
    async fn check(&self) -> Result<(), Blind> {
        match archive::stream(&self.archive.context, &self.archive.stream).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.kind() {
                GetStreamErrorKind::JetStream(why)
                    if why.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Blind::NoStream {
                        stream: self.archive.stream.clone(),
                        servers: self.servers.clone(),
                    }
                }
                _ => self.failed(error),
            }),
        }
    }

    /// Why something failed.
    pub(crate) fn failed(&self, error: impl std::error::Error + Send + Sync + 'static) -> Blind {
        self.refusal().unwrap_or_else(|| {
            let error = format!("{}: {}", self.servers, reasons(&error));
            Blind::Failed(io::Error::other(error))
        })
    }

    /// What was refused last is of no matter to what is asked next.
    pub(crate) fn forget_refusal(&self) {
        self.refused.send_replace(None);
    }

    /// What was refused, if anything was.
    fn refusal(&self) -> Option<Blind> {
        let why = self.refused.borrow().clone()?;
        let servers = self.servers.clone();
        Some(Blind::Refused { servers, why })
    }

    /// The end of some work. A request that is not allowed has no answer but the server's word.
    pub(crate) async fn unless_refused<T>(
        &self,
        work: impl Future<Output = Result<T, Blind>>,
    ) -> Result<T, Blind> {
        let mut refused = self.refused.subscribe();
        let is_refused = async {
            if refused.wait_for(Option::is_some).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = is_refused => Err(self.refusal().unwrap_or_else(|| {
                Blind::Failed(io::Error::other("refused"))
            })),
        }
    }
}

impl Console {
    fn new(name: Name, head: Head, heard: Duration, last: u64) -> Console {
        Console {
            name,
            epoch: head.epoch,
            end: head.end,
            has_ended: head.is_last,
            heard,
            last,
        }
    }
}

fn head(headers: &HeaderMap, length: u64) -> Option<Head> {
    Head::parse(|name| headers.get(name).map(|it| it.as_str()), length).ok()
}
