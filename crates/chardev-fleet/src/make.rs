//! What a cluster needs on its servers, made by the first host that may: the stream of output, and
//! the bucket of hosts.

use std::time::Duration;

use async_nats::jetstream::context::{Context, GetStreamErrorKind};
use async_nats::jetstream::stream::{Compression, Config, DiscardPolicy, Placement};

use crate::follow::Common;
use crate::presence::{LONGEST, bucket, prefix, stream_of};
use crate::settings::Settings;
use crate::subject::{Topic, wildcard};

/// How long lies between two attempts, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];
/// For how long a server knows the ids of messages: a message is sent again within seconds.
const KNOWN: Duration = Duration::from_secs(120);

/// Makes them, as soon as there is a server that does.
pub(crate) async fn all(mut common: Common, settings: Settings) {
    let stream = stream(&settings);
    let what = format!("the stream '{}'", stream.name);
    make(&mut common, stream, &what).await;
    if !settings.presence.is_zero() {
        let what = format!("the bucket '{}'", bucket(&settings.stream.name));
        make(&mut common, hosts(&settings), &what).await;
    }
}

/// Makes one of them, unless it is there.
async fn make(common: &mut Common, config: Config, what: &str) {
    let (mut told, mut pause) = (String::new(), PAUSES[0]);
    loop {
        if common.connected.wait_for(|it| it.is_there).await.is_err() {
            return;
        }
        match try_to_make(&common.context, &config).await {
            Ok(max_age) => {
                tracing::info!(event = "fleet-stream", "fleet: {what} is there");
                // Of hosts' keys, hosts that write them less often would seem to come and go.
                if max_age < config.max_age && config.max_messages_per_subject == 1 {
                    tracing::warn!(
                        event = "fleet-stream",
                        "fleet: {what} forgets hosts after {max_age:?}, and not after {:?}, as \
                         'presence' says here",
                        config.max_age
                    );
                }
                return;
            }
            Err(why) if why != told => {
                tracing::warn!(event = "fleet-stream", "fleet: {what} is not there: {why}");
                told = why;
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES[1]);
    }
}

/// Makes a stream if it is not there; returns how long its messages are kept.
async fn try_to_make(context: &Context, config: &Config) -> Result<Duration, String> {
    match context.get_stream(&config.name).await {
        Ok(stream) => return Ok(stream.cached_info().config.max_age),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(why)
                if why.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND => {}
            _ => return Err(error.to_string()),
        },
    }
    let created = context.create_stream(config.clone()).await;
    let created = created.map_err(|error| error.to_string())?;
    Ok(created.cached_info().config.max_age)
}

/// The stream of output. A host may have a server ask for something in its name, see
/// docs/fleet.md, so that nobody may delete from it.
fn stream(settings: &Settings) -> Config {
    let wanted = &settings.stream;
    let compression = match wanted.compress {
        true => Compression::S2,
        false => Compression::None,
    };
    Config {
        name: wanted.name.clone(),
        subjects: vec![wildcard(&settings.cluster, None, Topic::Out)],
        max_age: wanted.max_age,
        max_bytes: wanted
            .max_bytes
            .map_or(-1, |it| i64::try_from(it).unwrap_or(i64::MAX)),
        num_replicas: wanted.replicas,
        duplicate_window: known(wanted.max_age),
        discard: DiscardPolicy::Old,
        deny_delete: true,
        deny_purge: true,
        compression: Some(compression),
        placement: placement(settings),
        allow_direct: true,
        description: Some("What consoles print, by chardevd".to_owned()),
        ..Config::default()
    }
}

/// The bucket of hosts. It is one as key-value stores have them, except that no message may
/// replace more than its own key: with a header, a host could have all others forgotten.
fn hosts(settings: &Settings) -> Config {
    let bucket = bucket(&settings.stream.name);
    Config {
        name: stream_of(&bucket),
        subjects: vec![format!("{}>", prefix(&bucket))],
        max_age: settings.presence,
        max_messages_per_subject: 1,
        max_message_size: i32::try_from(LONGEST).unwrap_or(i32::MAX),
        num_replicas: settings.stream.replicas,
        placement: placement(settings),
        duplicate_window: known(settings.presence),
        discard: DiscardPolicy::Old,
        allow_rollup: false,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        description: Some("Which hosts are up, by chardevd".to_owned()),
        ..Config::default()
    }
}

/// Where both are.
fn placement(settings: &Settings) -> Option<Placement> {
    let tags = settings.stream.tags.clone();
    let cluster = None;
    (!tags.is_empty()).then_some(Placement { cluster, tags })
}

/// No longer than messages are kept.
fn known(max_age: Duration) -> Duration {
    match max_age {
        Duration::ZERO => KNOWN,
        age => KNOWN.min(age),
    }
}
