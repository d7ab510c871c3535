//! Who is up, for people who look.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;

use crate::archive;
use crate::blind::Blind;
use crate::herald::OPERATION;
use crate::look::Look;
use crate::presence::{Roster, bucket, prefix, stream_of};

/// How long the entries may take to come, one after the other.
const SILENCE: Duration = Duration::from_secs(2);
/// How often a server is asked that knows less than the others, and how long lies between.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// The newest entries of a bucket, and the number of the last of them.
type Entries = (Vec<(String, Vec<u8>, u64)>, u64);

impl Look {
    /// The hosts of the cluster that are up, and what their consoles are; `None` if there is no
    /// bucket in which they would say so.
    ///
    /// # Errors
    /// No server answers, or they refuse.
    pub async fn hosts(&self) -> Result<Option<Roster>, Blind> {
        let hosts = self.unless_refused(self.present()).await;
        // Who may not know that may still read the stream.
        if let Err(Blind::Refused { .. }) = hosts {
            self.forget_refusal();
        }
        hosts
    }

    async fn present(&self) -> Result<Option<Roster>, Blind> {
        let bucket = bucket(&self.archive.stream);
        let mut tries = 0;
        loop {
            let stream = self.archive.context.get_stream(stream_of(&bucket)).await;
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => match error.kind() {
                    GetStreamErrorKind::JetStream(why)
                        if why.error_code()
                            == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND =>
                    {
                        return Ok(None);
                    }
                    _ => return Err(self.failed(error)),
                },
            };
            let state = &stream.cached_info().state;
            if state.messages == 0 {
                return Ok(Some(Roster::default()));
            }
            let leader = state.last_sequence;
            let handle = self.archive.context.get_stream_no_info(stream_of(&bucket));
            let handle = handle.await.map_err(|error| self.failed(error))?;
            let (entries, last) = self.entries(&handle, &prefix(&bucket)).await?;
            tries += 1;
            // What was written last may also have been forgotten by now.
            if last >= leader || tries == TRIES {
                let all = entries.iter();
                let all = all.map(|(key, value, number)| (key.as_str(), &value[..], *number));
                return Ok(Some(Roster::of(all)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What one of the bucket's servers has.
    async fn entries(&self, stream: &Stream<()>, prefix: &str) -> Result<Entries, Blind> {
        let config = OrderedConfig {
            filter_subject: format!("{prefix}>"),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..OrderedConfig::default()
        };
        let consumer = archive::consumer(stream, config).await;
        let consumer = consumer.map_err(|error| self.failed(error))?;
        let (mut entries, mut last) = (Vec::new(), 0);
        if consumer.cached_info().num_pending == 0 {
            return Ok((entries, last));
        }
        let messages = consumer.messages().await;
        let mut messages = messages.map_err(|error| self.failed(error))?;
        while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE, messages.next()).await {
            let Ok(info) = message.info() else { continue };
            let (number, pending) = (info.stream_sequence, info.pending);
            last = last.max(number);
            let headers = message.headers.as_ref();
            let is_deleted = headers.is_some_and(|it| it.get(OPERATION).is_some());
            if let Some(key) = message.subject.strip_prefix(prefix).filter(|_| !is_deleted) {
                entries.push((key.to_owned(), message.payload.to_vec(), number));
            }
            if pending == 0 {
                break;
            }
        }
        Ok((entries, last))
    }
}
