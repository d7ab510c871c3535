//! The other hosts of the fleet, for this daemon's web page: which consoles they have, and links to
//! their own pages. Threads of their own ask for that, and nobody but who wants to know waits.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chardev::text::shown;
use chardev_fleet::presence::Roster;
use chardev_fleet::{Blind, Gate, Look, Settings};
use chardev_monitor::Role;
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::desk::ROLES;

/// For how long what was seen is told again.
const FRESH: Duration = Duration::from_secs(2);
/// How long the servers, or a host, may take to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// After how long without a question the connection is given up.
const IDLE: Duration = Duration::from_secs(60);
/// How many questions may wait, and how many links may be asked for at a time.
const WAITING: usize = 16;
const LINKS: usize = 8;

type Seen = Result<Arc<Roster>, String>;

/// The way to them, for as long as this is there.
#[derive(Debug)]
pub(super) struct Others {
    settings: Settings,
    questions: mpsc::Sender<oneshot::Sender<Seen>>,
    links: Arc<Semaphore>,
}

impl Others {
    /// Those of this fleet, as its [reader](Settings::as_reader). Nothing is asked yet.
    ///
    /// # Errors
    /// The process is out of threads.
    pub(super) fn new(settings: &Settings) -> io::Result<Others> {
        let settings = settings.as_reader();
        let (questions, asked) = mpsc::channel(WAITING);
        let of_thread = settings.clone();
        chardev::new_thread("fleet-look")?.spawn(move || look(&of_thread, asked))?;
        Ok(Others {
            settings,
            questions,
            links: Arc::new(Semaphore::new(LINKS)),
        })
    }

    /// The hosts that are up, as they were two seconds ago at the earliest.
    ///
    /// # Errors
    /// The servers do not answer, or refuse, in words.
    pub(super) async fn hosts(&self) -> Seen {
        let (answer, answered) = oneshot::channel();
        let sent = self.questions.try_send(answer);
        sent.map_err(|_| "the fleet is asked by too many at once; try again".to_owned())?;
        let ended = |_| Err("the daemon has left the fleet".to_owned());
        answered.await.unwrap_or_else(ended)
    }

    /// A link to the page of `host`, for somebody who may do `most` here: there they may do the
    /// most of that which the servers and the host let this daemon have.
    ///
    /// # Errors
    /// The host is not there, refuses, or has no page; in words.
    pub(super) async fn link(&self, host: &str, most: Role) -> Result<String, String> {
        let busy = |_| "too many links are asked for at once; try again".to_owned();
        let permit = Arc::clone(&self.links).try_acquire_owned().map_err(busy)?;
        let (settings, host) = (self.settings.clone(), host.to_owned());
        let (answer, answered) = oneshot::channel();
        let ask = move |_permit: OwnedSemaphorePermit| {
            // Whoever asked may have left.
            let _ = answer.send(link(&settings, &host, most));
        };
        let thread = chardev::new_thread("fleet-link").and_then(|it| it.spawn(|| ask(permit)));
        thread.map_err(|error| format!("no thread for it: {error}"))?;
        let panicked = |_| Err("its thread panicked".to_owned());
        answered.await.unwrap_or_else(panicked)
    }
}

/// Consoles of a roster that `filter` fits, each word of it somewhere, as the page is told them.
pub(super) fn described(roster: &Roster, own: &str, filter: &str, limit: usize) -> Object {
    let filter = filter.to_lowercase();
    let words: Vec<&str> = filter.split_whitespace().collect();
    let (mut list, mut found, mut consoles) = (Vec::new(), 0_u64, 0_u64);
    for (host, present) in &roster.hosts {
        for console in present.consoles.values() {
            consoles += 1;
            let state = if console.is_connected {
                "connected"
            } else {
                "not connected"
            };
            let front = console.front.as_deref().unwrap_or_default();
            let text = format!("{host}/{} {front} {} {state}", console.name, console.back);
            let text = text.to_lowercase();
            if !words.iter().all(|word| text.contains(word)) {
                continue;
            }
            found += 1;
            if list.len() < limit {
                let mut entry = Object::new()
                    .with("host", host.as_str())
                    .with("console", console.name.as_str())
                    .with("back-end", console.back.as_str());
                if let Some(front) = &console.front {
                    entry.insert("front-end", front.as_str());
                }
                let entry = entry
                    .with("connected", console.is_connected)
                    .with("since", console.since)
                    .with("output-offset", console.offset)
                    .with("epoch", console.epoch.to_string());
                list.push(Json::from(entry));
            }
        }
    }
    Object::new()
        .with("host", own)
        .with("hosts", roster.hosts.len() as u64)
        .with("consoles", consoles)
        .with("found", found)
        .with("list", list)
}

/// The thread that looks, one after the other, until nobody can ask any more.
fn look(settings: &Settings, mut asked: mpsc::Receiver<oneshot::Sender<Seen>>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let (mut way, mut last) = (None, None::<(Instant, Arc<Roster>)>);
        loop {
            let answer = match tokio::time::timeout(IDLE, asked.recv()).await {
                Ok(Some(answer)) => answer,
                Ok(None) => return,
                Err(_) => {
                    way = None;
                    continue;
                }
            };
            let fresh = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
            let seen = match fresh {
                Some((_, roster)) => Ok(Arc::clone(roster)),
                None => {
                    let seen = tokio::time::timeout(LIMIT, see(settings, &mut way)).await;
                    let late = |_| Err(format!("not within {} s", LIMIT.as_secs()));
                    seen.unwrap_or_else(late).map(Arc::new)
                }
            };
            match &seen {
                Ok(roster) if fresh.is_none() => last = Some((Instant::now(), Arc::clone(roster))),
                Ok(_) => {}
                Err(_) => way = None,
            }
            // Whoever asked may have left.
            let _ = answer.send(seen);
        }
    });
    // The search for a name may take much longer.
    runtime.shutdown_background();
}

async fn see(settings: &Settings, way: &mut Option<Look>) -> Result<Roster, String> {
    let in_words = |blind: Blind| format!("the fleet: {blind}");
    let look = match way {
        Some(look) => look,
        None => way.insert(Look::open(settings).await.map_err(in_words)?),
    };
    let hosts = look.hosts().await.map_err(in_words)?;
    hosts.ok_or_else(|| "the hosts of the fleet do not say that they are up".to_owned())
}

fn link(settings: &Settings, host: &str, most: Role) -> Result<String, String> {
    let in_words = |blind: Blind| blind.to_string();
    let gate = Gate::open(settings, LIMIT).map_err(in_words)?;
    let mut refused = format!("'{}' is no role", most.name());
    let roles = ROLES.iter().rev().skip_while(|role| **role != most.name());
    for role in roles {
        let opened = match gate.session(host, role, LIMIT) {
            Ok(opened) => opened,
            // Less may be granted.
            Err(blind @ (Blind::Refused { .. } | Blind::HostRefused { .. })) => {
                refused = blind.to_string();
                continue;
            }
            Err(blind) => return Err(blind.to_string()),
        };
        let stream = opened.stream;
        let limited = stream.set_read_timeout(Some(LIMIT));
        limited.map_err(|error| error.to_string())?;
        let answer = Client::connect(stream)
            .and_then(|mut client| client.execute("x-web-link", Object::new()));
        let answer = answer.map_err(|error| format!("host '{}': {error}", shown(host)))?;
        let url = answer.get("url").and_then(Json::as_str).unwrap_or_default();
        // A browser goes there.
        let is_link = ["http://", "https://"].iter().any(|it| url.starts_with(it));
        return match is_link {
            true => Ok(url.to_owned()),
            false => Err(format!("host '{}' has sent no link", shown(host))),
        };
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_are_found_by_words_and_counted_beyond_the_limit() {
        let host = br#"{"run": "0000000000000001", "version": "v", "started": 0, "pages": 1, "consoles": 2}"#;
        let page = br#"{"run": "0000000000000001", "consoles": [
            {"name": "con0", "epoch": "0000000000000002", "front-end": "exec", "back-end": "socket",
             "output-offset": 7, "connected": true, "since": 5},
            {"name": "con1", "epoch": "0000000000000003", "back-end": "pty",
             "output-offset": 0, "connected": false, "since": 6}]}"#;
        let roster = Roster::of([("n7", &host[..], 1), ("n7.0", &page[..], 2)]);
        for (filter, limit, found, listed) in [
            ("", 10, 2, 2),
            ("", 1, 2, 1),
            ("N7/con0", 10, 1, 1),
            ("con not", 10, 1, 1),
            ("exec socket", 10, 1, 1),
            ("nosuch", 10, 0, 0),
        ] {
            let all = described(&roster, "n7", filter, limit);
            assert_eq!(
                all.get("found").and_then(Json::as_u64),
                Some(found),
                "{filter}"
            );
            let list = all.get("list").and_then(Json::as_array).unwrap();
            assert_eq!(list.len(), listed, "{filter}");
            assert_eq!(all.get("consoles").and_then(Json::as_u64), Some(2));
        }
    }
}
