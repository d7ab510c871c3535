//! Who is at the desk: sessions, single commands, and those who are turned away.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Client, Message, Subject};
use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, watch};

use super::{Serve, Served, Wanted};
use crate::link::Connection;
use crate::relay::{Ended, Relay, Session, Way, frame_of, headers};
use crate::session::{End, Fate, Frame, Id, Kind, LARGEST, SESSION};
use crate::socket::Socket;

/// How many sessions there may be.
const MOST_SESSIONS: usize = 64;
/// How many single commands may be in work.
const MOST_REQUESTS: usize = 64;
/// The longest command.
const LONGEST_REQUEST: usize = 256 << 10;
/// Of how many sessions that are over the last words are kept, for those who have not heard them.
const MOST_REMEMBERED: usize = 256;
/// What of a message is not its payload, at most.
const HEAD: usize = 1024;
/// The header in which servers say who has sent a message.
const INFO: &str = "Nats-Request-Info";

/// The desk. Clones share it.
#[derive(Clone)]
pub(super) struct Counter {
    pub(super) client: Client,
    connected: watch::Receiver<Connection>,
    serve: Arc<dyn Serve>,
    requests: Arc<Semaphore>,
    state: Arc<Mutex<Present>>,
    left: Arc<Notify>,
}

#[derive(Default)]
struct Present {
    sessions: HashMap<Id, (&'static str, Arc<Session>)>,
    over: VecDeque<Frame>,
}

impl Counter {
    pub(super) fn new(
        client: Client,
        connected: watch::Receiver<Connection>,
        serve: Arc<dyn Serve>,
    ) -> Counter {
        Counter {
            client,
            connected,
            serve,
            requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
            state: Arc::default(),
            left: Arc::default(),
        }
    }

    /// A message has come from somebody who may have this role.
    pub(super) async fn take(&self, role: &'static str, message: Message) {
        let has = |name: &str| {
            message
                .headers
                .as_ref()
                .is_some_and(|it| it.get(name).is_some())
        };
        if !has(SESSION) {
            return self.answer(role, message).await;
        }
        let Ok(frame) = frame_of(&message) else {
            return;
        };
        if frame.payload.len() > LARGEST {
            return;
        }
        let id = frame.session;
        let (known, over) = {
            let state = self.lock();
            let over = state.over.iter().find(|it| it.session == id).cloned();
            (state.sessions.get(&id).cloned(), over)
        };
        let said = match (known, over) {
            // Somebody who may do less, or more, is somebody else.
            (Some((its_role, session)), _) => {
                if its_role == role {
                    session.take(frame, message.reply);
                }
                return;
            }
            (None, _) if matches!(frame.kind, Kind::Reset(_)) => return,
            (None, Some(last)) => last,
            (None, None) if frame.kind == Kind::Open => match self.open(role, frame, &message) {
                Ok(()) => return,
                Err(why) => Frame::reset(id, &why),
            },
            (None, None) => Frame::reset(id, ""),
        };
        if let Some(reply) = message.reply {
            // It fails where the client is no more.
            let sent = self
                .client
                .publish_with_headers(reply, headers(&said), said.payload());
            let _ = sent.await;
        }
    }

    /// Nothing goes on any more.
    pub(super) async fn is_empty(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().sessions.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// All sessions are given up.
    pub(super) fn give_up(&self, why: &str) {
        let sessions = self.lock().sessions.clone();
        sessions
            .values()
            .for_each(|(_, session)| session.give_up(why));
    }

    /// What was sent is on its way.
    pub(super) async fn flush(&self) {
        let _ = self.client.flush().await;
    }

    fn open(&self, role: &'static str, frame: Frame, message: &Message) -> Result<(), String> {
        if self.lock().sessions.len() >= MOST_SESSIONS {
            return Err(format!(
                "there are {MOST_SESSIONS} sessions already; end some"
            ));
        }
        let failed = |error: std::io::Error| format!("no session: {error}");
        let wanted = Wanted::parse(&frame.payload).ok_or("no session is of this kind")?;
        let half_close = !matches!(
            wanted,
            Wanted::Tunnel {
                half_close: false,
                ..
            }
        );
        let from = info(message);
        let Served { socket, place } = self.serve.session(role, from.as_deref(), wanted)?;
        let socket = Socket::new(socket).map_err(failed)?;
        let id = frame.session;
        let session = Session::new(|now| End::accept(id, now));
        session.take(frame, message.reply.clone());
        self.lock()
            .sessions
            .insert(id, (role, Arc::clone(&session)));
        let relay = Relay {
            session: Arc::clone(&session),
            socket,
            client: self.client.clone(),
            connected: self.connected.clone(),
            way: Way::Client,
            ended: Ended::default(),
            half_close,
        };
        let counter = self.clone();
        tokio::spawn(async move {
            relay.run().await;
            drop(place);
            counter.forget(id, &session);
        });
        Ok(())
    }

    fn forget(&self, id: Id, session: &Session) {
        let mut state = self.lock();
        state.sessions.remove(&id);
        let end = session.lock();
        match end.fate() {
            Fate::Failed(why) => {
                tracing::info!(event = "fleet-session", "fleet: a session has ended: {why}")
            }
            Fate::Open | Fate::Over => {
                state.over.push_back(end.last_word());
                if state.over.len() > MOST_REMEMBERED {
                    state.over.pop_front();
                }
            }
        }
        drop((end, state));
        self.left.notify_waiters();
    }

    /// One command, whose answer is one message.
    async fn answer(&self, role: &'static str, message: Message) {
        let from = info(&message);
        let Some(reply) = message.reply else { return };
        let place = Arc::clone(&self.requests).try_acquire_owned();
        let refusal = match &place {
            Err(_) => Some(format!("{MOST_REQUESTS} commands are in work already")),
            Ok(_) if message.payload.len() > LONGEST_REQUEST => Some(format!(
                "the command is longer than {LONGEST_REQUEST} bytes; open a session for it"
            )),
            Ok(_) => None,
        };
        if let Some(why) = refusal {
            return self.reply(reply, error(&why)).await;
        }
        let answer = self.serve.request(role, from.as_deref(), message.payload);
        let counter = self.clone();
        tokio::spawn(async move {
            let answer = answer.await;
            let most = counter.client.max_payload().saturating_sub(HEAD);
            let length = answer.len();
            let answer = match length > most {
                true => error(&format!(
                    "the answer is {length} bytes long, and one of {most} is the longest that the \
                     servers take; open a session for it"
                )),
                false => answer,
            };
            counter.reply(reply, answer).await;
            drop(place);
        });
    }

    async fn reply(&self, reply: Subject, answer: Bytes) {
        // It fails where the client is no more.
        let _ = self.client.publish(reply, answer).await;
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A QMP error; the words have nothing in them that JSON would have to escape.
fn error(why: &str) -> Bytes {
    let text = format!("{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"{why}\"}}}}");
    text.into()
}

fn info(message: &Message) -> Option<String> {
    let value = message.headers.as_ref()?.get(INFO)?;
    Some(value.as_str().to_owned())
}
