//! What happens on hosts, for people who listen.

use async_nats::{Message, Subscriber};
use futures_util::StreamExt as _;
use futures_util::stream::{SelectAll, select_all};

use crate::blind::Blind;
use crate::events::{Heard, NUMBER, RUN, Tally};
use crate::look::Look;
use crate::subject::{Name, Topic, host_wildcard, of_host, parse_host, wildcard};

/// What one hears while one listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Something has happened.
    Event(Heard),
    /// The connection to the servers is lost: what happens until it is back is not heard.
    Lost,
    /// It is back.
    Back,
}

impl Look {
    /// Hears what happens on these hosts, or on all of them if there are none here. `each` returns
    /// whether to go on; it should not take long, since what waits for it is bounded, and what
    /// there is no room for is missed.
    ///
    /// # Errors
    /// The servers refuse.
    pub async fn listen(
        &self,
        hosts: &[String],
        each: impl AsyncFnMut(Happening) -> bool,
    ) -> Result<(), Blind> {
        self.unless_refused(self.hear(hosts, each)).await
    }

    async fn hear(
        &self,
        hosts: &[String],
        mut each: impl AsyncFnMut(Happening) -> bool,
    ) -> Result<(), Blind> {
        let mut messages = self.subscribe(hosts).await?;
        let mut connected = self.connected.clone();
        let mut known = *connected.borrow_and_update();
        let mut tally = Tally::default();
        loop {
            let happening = tokio::select! {
                biased;
                changed = connected.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let before = std::mem::replace(&mut known, *connected.borrow_and_update());
                    // It may have been lost and be back by now.
                    let is_lost = before.is_there && known != before;
                    if is_lost && !each(Happening::Lost).await {
                        return Ok(());
                    }
                    known.is_there.then_some(Happening::Back)
                }
                message = messages.next() => match message {
                    Some(message) => heard(&mut tally, &message).map(Happening::Event),
                    None => return Ok(()),
                },
            };
            if let Some(happening) = happening {
                if !each(happening).await {
                    return Ok(());
                }
            }
        }
    }

    async fn subscribe(&self, hosts: &[String]) -> Result<SelectAll<Subscriber>, Blind> {
        let cluster = &self.archive.cluster;
        let mut subjects = Vec::new();
        for host in hosts {
            subjects.extend(of_host(cluster, host, Topic::Events));
            subjects.push(wildcard(cluster, Some(host), Topic::Events));
        }
        if hosts.is_empty() {
            subjects.push(host_wildcard(cluster, Topic::Events));
            subjects.push(wildcard(cluster, None, Topic::Events));
        }
        let mut all = Vec::new();
        for subject in subjects {
            let messages = self.client.subscribe(subject).await;
            all.push(messages.map_err(|error| self.failed(error))?);
        }
        let flushed = self.client.flush().await;
        flushed.map_err(|error| self.failed(error))?;
        Ok(select_all(all))
    }
}

/// An event; `None` for what is none.
fn heard(tally: &mut Tally, message: &Message) -> Option<Heard> {
    let (host, console) = match Name::parse(&message.subject) {
        Some((name, _)) => (name.host, Some(name.console)),
        None => (parse_host(&message.subject)?.1, None),
    };
    let headers = message.headers.as_ref();
    let header = |name: &str| headers?.get(name).map(|it| it.as_str());
    let numbered = header(RUN)
        .and_then(|it| it.parse().ok())
        .zip(header(NUMBER).and_then(|it| it.parse().ok()));
    let missed = numbered.map_or(0, |(run, number)| {
        tally.hear(&host, console.is_some(), run, number)
    });
    Some(Heard {
        host,
        console,
        missed,
        text: String::from_utf8(message.payload.to_vec()).ok()?,
    })
}
