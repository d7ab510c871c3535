//! The stream from the other side: which consoles there are, and what each of them has printed,
//! also those of hosts that are down.

use std::io;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use async_nats::jetstream::context::{Context, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{ConsumerErrorKind, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use chardev::Epoch;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::link::{self, Connection};
use crate::message::Message;
use crate::reader::{Begin, Found, Reader};
use crate::settings::Settings;
use crate::subject::{Name, Topic, wildcard};

/// After how long without a message one asks whether there is another: while there should be, and
/// while one waits for what comes.
const SILENCE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(15)];

/// For how long one asks again where nobody answers, and how long lies between.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);
/// The status of an answer that is no answer yet.
const UNAVAILABLE: usize = 503;

/// A fleet's stream, to be read. Its methods need a tokio runtime with I/O and time.
#[derive(Debug)]
pub struct Archive {
    pub(crate) context: Context,
    pub(crate) cluster: String,
    pub(crate) stream: String,
}

/// Where reading ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// With what the stream has now.
    Now,
    /// Never: what comes is read as it comes. It begins with what comes from now on.
    Followed,
}

impl Archive {
    /// That of these settings, whose host does not matter.
    ///
    /// # Errors
    /// A file cannot be read. That no server is there shows later.
    pub async fn open(settings: &Settings) -> io::Result<Archive> {
        let (connected, _) = watch::channel(Connection::default());
        let client = link::connect(settings, "chardevctl", connected).await?;
        Ok(Archive {
            context: link::context(client),
            cluster: settings.cluster.clone(),
            stream: settings.stream.name.clone(),
        })
    }

    /// The consoles whose output the stream has, and of how many messages that consists.
    ///
    /// # Errors
    /// No server answers, or there is no such stream.
    pub async fn consoles(&self) -> io::Result<Vec<(Name, usize)>> {
        let stream = self.context.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(io::Error::other)?;
        let all = wildcard(&self.cluster, None, Topic::Out);
        let mut subjects = stream
            .info_with_subjects(all)
            .await
            .map_err(io::Error::other)?;
        let mut consoles = Vec::new();
        while let Some(subject) = subjects.next().await {
            let (subject, count) = subject.map_err(io::Error::other)?;
            if let Some((name, Topic::Out)) = Name::parse(&subject) {
                consoles.push((name, count));
            }
        }
        consoles.sort();
        Ok(consoles)
    }

    /// Reads what a console has printed, each byte once and in order. `each` returns whether to go
    /// on.
    ///
    /// # Errors
    /// No server answers, or there is no such stream.
    pub async fn read(
        &self,
        name: &Name,
        until: Until,
        mut each: impl FnMut(Found) -> bool,
    ) -> io::Result<()> {
        let Some(subject) = name.subject(Topic::Out) else {
            return Ok(());
        };
        let stream = self.context.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(io::Error::other)?;
        let last = last(&stream, &subject).await?;
        let plan = match until {
            Until::Now => Plan::all(Begin::Beginning, last),
            Until::Followed => Plan {
                seen: last,
                ..Plan::all(Begin::Anywhere, u64::MAX)
            },
        };
        let each = async |found, _| each(found);
        read(&stream, &subject, plan, each).await
    }
}

/// Which of a console's messages are read.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) begin: Begin,
    /// The number of the message before the first.
    pub(crate) seen: u64,
    /// The number of the last message.
    pub(crate) end: u64,
    /// Of messages up to this number, only those of this life.
    pub(crate) only: Option<(u64, Epoch)>,
}

impl Plan {
    /// All up to the message of that number.
    pub(crate) fn all(begin: Begin, end: u64) -> Plan {
        Plan {
            begin,
            seen: 0,
            end,
            only: None,
        }
    }

    fn is_wanted(&self, number: u64, message: &Message) -> bool {
        let other = |(last, epoch)| number <= last && message.epoch != epoch;
        !self.only.is_some_and(other)
    }
}

/// Reads what is planned. `each` is told when the stream was given the message by which it is
/// known, since 1970, and returns whether to go on.
pub(crate) async fn read(
    stream: &Stream<()>,
    subject: &str,
    mut plan: Plan,
    mut each: impl AsyncFnMut(Found, Duration) -> bool,
) -> io::Result<()> {
    let mut given = Duration::ZERO;
    let mut reader = Reader::new(plan.begin);
    let is_followed = plan.end == u64::MAX;
    let silence = SILENCE[usize::from(is_followed)];
    while plan.seen < plan.end {
        let mut messages = messages(stream, subject, plan.seen + 1).await?;
        while plan.seen < plan.end {
            match tokio::time::timeout(silence, messages.next()).await {
                Ok(Some(Ok(message))) => {
                    if let Ok(info) = message.info() {
                        plan.seen = info.stream_sequence;
                        given = since_1970(info.published.unix_timestamp_nanos());
                    }
                    let parsed = parse(&message).filter(|it| plan.is_wanted(plan.seen, it));
                    parsed.into_iter().for_each(|it| reader.push(it));
                }
                // Whoever takes their time with what was read may be given up by a server.
                Ok(Some(Err(error))) => {
                    tracing::debug!("fleet: {subject}: {error}");
                    tokio::time::sleep(PAUSE).await;
                    break;
                }
                // There may be more than its server has, and what was the last may be too old
                // by now to be kept.
                Ok(None) | Err(_) => {
                    let last = last(stream, subject).await?;
                    if !is_followed {
                        plan.end = plan.end.min(last);
                    }
                    if last > plan.seen {
                        break;
                    }
                    reader.settle();
                }
            }
            while let Some(found) = reader.next_found() {
                if !each(found, given).await {
                    return Ok(());
                }
            }
        }
    }
    reader.flush();
    while let Some(found) = reader.next_found() {
        if !each(found, given).await {
            break;
        }
    }
    Ok(())
}

/// The messages of a subject, from a number on, in their order. They come from one of the stream's
/// servers, which may be where the newest have not come to yet.
pub(crate) async fn messages(stream: &Stream<()>, subject: &str, from: u64) -> io::Result<Ordered> {
    let messages = consumer(stream, beginning(subject, from)).await?.messages();
    messages.await.map_err(io::Error::other)
}

/// What a consumer is asked for, to get the messages of a subject from a number on.
pub(crate) fn beginning(subject: &str, from: u64) -> OrderedConfig {
    OrderedConfig {
        filter_subject: subject.to_owned(),
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: from,
        },
        ..OrderedConfig::default()
    }
}

/// A consumer, where there is one at last.
pub(crate) async fn consumer(
    stream: &Stream<()>,
    config: OrderedConfig,
) -> io::Result<Consumer<OrderedConfig>> {
    let tries = patiently(
        async || match stream.create_consumer(config.clone()).await {
            Err(error) => match error.kind() {
                ConsumerErrorKind::JetStream(why) if !is_passing(&why) => Ok(Err(error)),
                _ => Err(error),
            },
            Ok(consumer) => Ok(Ok(consumer)),
        },
    );
    let consumer = tries.await.map_err(io::Error::other)?;
    consumer.map_err(io::Error::other)
}

/// The number of a subject's last message, as the stream's leader knows it; 0 if there is none.
async fn last(stream: &Stream<()>, subject: &str) -> io::Result<u64> {
    use LastRawMessageErrorKind::{JetStream, NoMessageFound};
    let tries = patiently(
        async || match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Ok(message.sequence)),
            Err(error) => match error.kind() {
                NoMessageFound => Ok(Ok(0)),
                JetStream(why) if !is_passing(&why) => Ok(Err(error)),
                _ => Err(error),
            },
        },
    );
    let answer = tries.await.map_err(io::Error::other)?;
    answer.map_err(io::Error::other)
}

/// A stream and how it is, told by its leader, which is waited for.
pub(crate) async fn stream(context: &Context, name: &str) -> Result<Stream, GetStreamError> {
    let tries = patiently(async || match context.get_stream(name).await {
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(why) if is_passing(&why) => Err(error),
            _ => Ok(Err(error)),
        },
        stream => Ok(stream),
    });
    tries.await?
}

/// Whether servers say that they cannot yet, as while they look for a leader.
fn is_passing(why: &jetstream::Error) -> bool {
    let never = [
        ErrorCode::JETSTREAM_NOT_ENABLED,
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
    ];
    why.code() == UNAVAILABLE && !never.contains(&why.error_code())
}

/// Asks again for a while where there was no answer: servers that die and return have none.
pub(crate) async fn patiently<T, E>(mut ask: impl AsyncFnMut() -> Result<T, E>) -> Result<T, E> {
    let limit = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(_) if Instant::now() < limit => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

/// What a message says, if it is one of ours.
fn parse(message: &async_nats::Message) -> Option<Message> {
    let headers = message.headers.as_ref();
    let header = |name: &str| headers?.get(name).map(|it| it.as_str());
    let parsed = Message::parse(header, message.payload.clone());
    let told = parsed.inspect_err(|error| tracing::debug!("fleet: {}: {error}", message.subject));
    told.ok()
}

/// A time that servers tell, in nanoseconds since 1970.
pub(crate) fn since_1970(nanoseconds: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}
