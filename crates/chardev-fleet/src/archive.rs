//! The stream from the other side: which consoles there are, and what each of them has printed,
//! also those of hosts that are down.

use std::io;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{ConsumerErrorKind, LastRawMessageErrorKind, Stream};
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
/// What servers say while they look for a leader.
const UNAVAILABLE: usize = 503;

/// A fleet's stream, to be read. Its methods need a tokio runtime with I/O and time.
#[derive(Debug)]
pub struct Archive {
    context: Context,
    cluster: String,
    stream: String,
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
        let (mut seen, mut reader, silence) = match until {
            Until::Now => (0, Reader::new(Begin::Beginning), SILENCE[0]),
            Until::Followed => (last, Reader::new(Begin::Anywhere), SILENCE[1]),
        };
        let mut end = match until {
            Until::Now => last,
            Until::Followed => u64::MAX,
        };
        while seen < end {
            let mut messages = messages(&stream, &subject, seen + 1).await?;
            while seen < end {
                match tokio::time::timeout(silence, messages.next()).await {
                    Ok(Some(message)) => {
                        let message = message.map_err(io::Error::other)?;
                        seen = message.info().map_or(seen, |it| it.stream_sequence);
                        push(&mut reader, &message);
                    }
                    // There may be more than its server has, and what was the last may be too old
                    // by now to be kept.
                    Ok(None) | Err(_) => {
                        let last = self::last(&stream, &subject).await?;
                        end = match until {
                            Until::Now => end.min(last),
                            Until::Followed => end,
                        };
                        if last > seen {
                            break;
                        }
                    }
                }
                while let Some(found) = reader.next_found() {
                    if !each(found) {
                        return Ok(());
                    }
                }
            }
        }
        reader.flush();
        while let Some(found) = reader.next_found() {
            if !each(found) {
                break;
            }
        }
        Ok(())
    }
}

/// The messages of a subject, from a number on, in their order. They come from one of the stream's
/// servers, which may be where the newest have not come to yet.
async fn messages(stream: &Stream<()>, subject: &str, from: u64) -> io::Result<Ordered> {
    let config = OrderedConfig {
        filter_subject: subject.to_owned(),
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: from,
        },
        ..OrderedConfig::default()
    };
    let tries = patiently(
        async || match stream.create_consumer(config.clone()).await {
            Err(error) if matches!(error.kind(), ConsumerErrorKind::JetStream(_)) => Ok(Err(error)),
            Err(error) => Err(error),
            Ok(consumer) => Ok(Ok(consumer)),
        },
    );
    let consumer = tries.await.map_err(io::Error::other)?;
    let consumer = consumer.map_err(io::Error::other)?;
    consumer.messages().await.map_err(io::Error::other)
}

/// The number of a subject's last message, as the stream's leader knows it; 0 if there is none.
async fn last(stream: &Stream<()>, subject: &str) -> io::Result<u64> {
    use LastRawMessageErrorKind::{JetStream, NoMessageFound};
    let tries = patiently(
        async || match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Ok(message.sequence)),
            Err(error) => match error.kind() {
                NoMessageFound => Ok(Ok(0)),
                JetStream(why) if why.code() != UNAVAILABLE => Ok(Err(error)),
                _ => Err(error),
            },
        },
    );
    let answer = tries.await.map_err(io::Error::other)?;
    answer.map_err(io::Error::other)
}

/// Asks again for a while where there was no answer: servers that die and return have none.
async fn patiently<T, E>(mut ask: impl AsyncFnMut() -> Result<T, E>) -> Result<T, E> {
    let limit = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(_) if Instant::now() < limit => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

fn push(reader: &mut Reader, message: &async_nats::Message) {
    let headers = message.headers.as_ref();
    let header = |name: &str| headers?.get(name).map(|it| it.as_str());
    match Message::parse(header, message.payload.clone()) {
        Ok(message) => reader.push(message),
        Err(error) => tracing::debug!("fleet: {}: {error}", message.subject),
    }
}
