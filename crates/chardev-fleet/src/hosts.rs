//! Who is up, for people who look.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::GetStreamErrorKind;
use futures_util::StreamExt as _;
use tokio::time::Instant;

use crate::archive;
use crate::blind::Blind;
use crate::herald::OPERATION;
use crate::look::Look;
use crate::presence::{Roster, bucket, prefix, stream_of};

/// How long the entries may take to come, one after the other.
const SILENCE: Duration = Duration::from_millis(500);
/// For how long is read again what is missing, and how long lies between: a server that was away
/// takes a while to know what the others do.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// The newest entries of a bucket by their keys: the value, unless that is deleted, and the number.
type Entries = BTreeMap<String, (Option<Vec<u8>>, u64)>;

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
        let prefix = prefix(&bucket);
        let mut entries = Entries::new();
        let limit = Instant::now() + PATIENCE;
        loop {
            let Some((keys, leader)) = self.keys(&bucket, &prefix).await? else {
                return Ok(None);
            };
            entries.retain(|key, _| keys.contains(key));
            if keys.is_empty() {
                break;
            }
            let last = self.read_entries(&bucket, &prefix, &mut entries).await?;
            // One that is written while it is read may come neither as it was nor as it is, and
            // a server may know less than the leader.
            let is_whole = last >= leader && keys.iter().all(|key| entries.contains_key(key));
            if is_whole || Instant::now() >= limit {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let all = entries.iter().filter_map(|(key, (value, number))| {
            let value = value.as_ref()?;
            Some((key.as_str(), &value[..], *number))
        });
        Ok(Some(Roster::of(all)))
    }

    /// The keys there are now, by the leader, and the number of the last message.
    async fn keys(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Option<(BTreeSet<String>, u64)>, Blind> {
        let stream = archive::stream(&self.archive.context, &stream_of(bucket)).await;
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(why)
                    if why.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND =>
                {
                    return Ok(None);
                }
                _ => return Err(self.failed(error)),
            },
        };
        let subjects = stream.info_with_subjects(format!("{prefix}>")).await;
        let mut subjects = subjects.map_err(|error| self.failed(error))?;
        let mut keys = BTreeSet::new();
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject.map_err(|error| self.failed(error))?;
            keys.extend(subject.strip_prefix(prefix).map(str::to_owned));
        }
        Ok(Some((keys, subjects.info.state.last_sequence)))
    }

    /// Reads what one of the bucket's servers has; returns the number of the last message.
    async fn read_entries(
        &self,
        bucket: &str,
        prefix: &str,
        entries: &mut Entries,
    ) -> Result<u64, Blind> {
        let stream = self.archive.context.get_stream_no_info(stream_of(bucket));
        let stream = stream.await.map_err(|error| self.failed(error))?;
        let config = OrderedConfig {
            filter_subject: format!("{prefix}>"),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..OrderedConfig::default()
        };
        let consumer = archive::consumer(&stream, config).await;
        let consumer = consumer.map_err(|error| self.failed(error))?;
        let mut last = 0;
        if consumer.cached_info().num_pending == 0 {
            return Ok(last);
        }
        let messages = consumer.messages().await;
        let mut messages = messages.map_err(|error| self.failed(error))?;
        while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE, messages.next()).await {
            let Ok(info) = message.info() else { continue };
            let (number, pending) = (info.stream_sequence, info.pending);
            last = last.max(number);
            let headers = message.headers.as_ref();
            let is_deleted = headers.is_some_and(|it| it.get(OPERATION).is_some());
            if let Some(key) = message.subject.strip_prefix(prefix) {
                let value = (!is_deleted).then(|| message.payload.to_vec());
                let entry = (value, number);
                let place = entries.entry(key.to_owned()).or_insert((None, 0));
                if place.1 <= number {
                    *place = entry;
                }
            }
            if pending == 0 {
                break;
            }
        }
        Ok(last)
    }
}
