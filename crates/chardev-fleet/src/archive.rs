//! The stream from the other side: which consoles there are, and what each of them has printed,
//! also those of hosts that are down.

use std::io;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use crate::link::{self, Connection};
use crate::message::Message;
use crate::reader::{Begin, Found, Reader};
use crate::settings::Settings;
use crate::subject::{Name, Topic, wildcard};

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
        let (deliver_policy, begin) = match until {
            Until::Now => (DeliverPolicy::All, Begin::Beginning),
            Until::Followed => (DeliverPolicy::New, Begin::Anywhere),
        };
        if until == Until::Now {
            match stream.get_last_raw_message_by_subject(&subject).await {
                Ok(_) => {}
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                    return Ok(());
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let config = OrderedConfig {
            filter_subject: subject,
            deliver_policy,
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(io::Error::other)?;
        let mut messages = consumer.messages().await.map_err(io::Error::other)?;
        let mut reader = Reader::new(begin);
        while let Some(message) = messages.next().await {
            let message = message.map_err(io::Error::other)?;
            let is_last = message.info().is_ok_and(|it| it.pending == 0);
            let headers = message.headers.as_ref();
            let header = |name: &str| headers?.get(name).map(|it| it.as_str());
            match Message::parse(header, message.payload.clone()) {
                Ok(message) => reader.push(message),
                Err(error) => tracing::debug!("fleet: {}: {error}", message.subject),
            }
            let is_over = is_last && until == Until::Now;
            if is_over {
                reader.flush();
            }
            while let Some(found) = reader.next_found() {
                if !each(found) {
                    return Ok(());
                }
            }
            if is_over {
                break;
            }
        }
        Ok(())
    }
}
