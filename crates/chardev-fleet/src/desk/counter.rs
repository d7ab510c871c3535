//! Who is at the desk: sessions, single commands, and those who are turned away.

use std::sync::Arc;

use async_nats::{Client, Message, Subject};
use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use super::{Serve, Served, Wanted};
use crate::ledger::{Entry, Ledger};
use crate::link::Connection;
use crate::relay::{Ended, Relay, Session, Way, frame_of};
use crate::session::{End, Fate, Frame, Id, LARGEST, SESSION};
use crate::socket::Socket;

/// How many sessions there may be.
const MOST_SESSIONS: usize = 64;
/// How many single commands may be in work.
const MOST_REQUESTS: usize = 64;
/// The longest command.
const LONGEST_REQUEST: usize = 256 << 10;
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
    pub(super) sessions: Arc<Ledger<Attended>>,
}

/// A session, and the role of the subject that it was opened by.
#[derive(Clone, Debug)]
pub(super) struct Attended(&'static str, Arc<Session>);

impl Entry for Attended {
    fn session(&self) -> &Session {
        &self.1
    }
}

impl Counter {
    pub(super) fn new(
        client: Client,
        connected: watch::Receiver<Connection>,
        serve: Arc<dyn Serve>,
        sessions: Arc<Ledger<Attended>>,
    ) -> Counter {
        Counter {
            client,
            connected,
            serve,
            requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
            sessions,
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
        let its_role_is = |it: &Attended| it.0 == role;
        let open = |frame, message: &Message| self.open(role, frame, message);
        let taken = self
            .sessions
            .take(&self.client, (frame, message), its_role_is, open);
        taken.await;
    }

    fn open(&self, role: &'static str, frame: Frame, message: &Message) -> Result<(), String> {
        if self.sessions.count() >= MOST_SESSIONS {
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
        self.sessions
            .insert(id, Attended(role, Arc::clone(&session)));
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
        if let Fate::Failed(why) = session.lock().fate() {
            tracing::info!(event = "fleet-session", "fleet: a session has ended: {why}");
        }
        self.sessions.forget(id, session, true);
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
