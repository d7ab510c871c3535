//! The task that tells what happens on a host.

use std::future::poll_fn;

use async_nats::header::HeaderMap;
use chardev::Epoch;

use crate::events::{Feed, NUMBER, RUN};
use crate::follow::Common;
use crate::settings::Settings;
use crate::subject::{Name, Topic, of_host};

/// Tells the events of a program, while there is a connection.
pub(crate) async fn tell(mut common: Common, settings: Settings, run: Epoch, mut feed: Feed) {
    let client = common.context.client();
    let run = run.to_string();
    let mut numbers = [0_u64; 2];
    loop {
        if common.connected.wait_for(|it| it.is_there).await.is_err() {
            return;
        }
        let told = tokio::select! {
            biased;
            _ = common.connected.changed() => continue,
            told = poll_fn(&mut feed) => told,
        };
        let number = &mut numbers[usize::from(told.console.is_some())];
        let subject = match told.console {
            None => of_host(&settings.cluster, &settings.host, Topic::Events),
            Some(console) => {
                let (cluster, host) = (settings.cluster.clone(), settings.host.clone());
                let name = Name {
                    cluster,
                    host,
                    console,
                };
                name.subject(Topic::Events)
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(RUN, run.as_str());
        headers.insert(NUMBER, number.to_string());
        // Whoever listens sees by the next number that one is missing.
        *number += 1;
        let Some(subject) = subject else { continue };
        let told = told.text.into();
        if let Err(error) = client.publish_with_headers(subject, headers, told).await {
            tracing::debug!("fleet: an event is not told: {error}");
        }
    }
}
