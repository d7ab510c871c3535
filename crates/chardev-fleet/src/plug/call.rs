//! Connects to a console of some host.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::board::{Order, Worker};
use super::cord::Cord;
use crate::blind::Blind;
use crate::inbox::{TRIES, new_session};
use crate::relay::{Session, Way, frame_of, is_for_nobody};
use crate::session::{End, Fate, Why};
use crate::subject::{Name, Topic};

/// Calls, answers, and passes on what comes until the connection is over.
pub(super) async fn call(worker: Worker, order: Order) {
    // What was refused before is not heard.
    let mut refused = worker.refused.subscribe();
    let mut connected = worker.connected.clone();
    let found = async {
        // The event may come after the connection, and there may be none for now.
        let _ = connected.wait_for(|it| it.is_there).await;
        let mut called = Called::begin(&worker, &order).await?;
        called.is_open(&order, &mut refused).await.map(|()| called)
    };
    let called = match tokio::time::timeout(order.limit, found).await {
        Ok(Ok(called)) => called,
        Ok(Err(why)) => return drop(order.answer.send(Err(why))),
        Err(_) => {
            let limit = order.limit.as_secs();
            let why = format!("host '{}' has not answered within {limit} s", order.host);
            return drop(order.answer.send(Err(why)));
        }
    };
    let cord = Arc::clone(&called.cord);
    if order.answer.send(Ok(Arc::clone(&cord))).is_err() {
        cord.part();
    }
    called.pass_on().await;
}

/// A connection that was begun.
struct Called {
    cord: Arc<Cord>,
    messages: async_nats::Subscriber,
    carried: JoinHandle<()>,
    /// What the servers may refuse.
    subjects: [String; 2],
    is_open: bool,
}

impl Called {
    async fn begin(worker: &Worker, order: &Order) -> Result<Called, String> {
        let name = Name {
            cluster: worker.settings.cluster.clone(),
            host: order.host.clone(),
            console: order.console.clone(),
        };
        let subject = name.subject(Topic::In);
        let subject = subject.ok_or("the names of host and console are too long")?;
        let (id, inbox) = new_session(&worker.who).map_err(|error| error.to_string())?;
        let heard = worker.client.subscribe(inbox.clone()).await;
        let messages = heard.map_err(|error| error.to_string())?;
        let session = Session::new(|now| End::open(id, Bytes::new(), now));
        let peer = format!("{}/{}", order.host, order.console);
        let cord = Cord::new(session, peer, order.port.clone());
        let way = Way::Host {
            subject: subject.clone().into(),
            inbox: inbox.clone().into(),
        };
        let carried = worker.carry(id, None, &cord, way);
        Ok(Called {
            cord,
            messages,
            carried,
            subjects: [subject, inbox],
            is_open: false,
        })
    }

    /// Waits until the host is heard.
    async fn is_open(
        &mut self,
        order: &Order,
        refused: &mut broadcast::Receiver<String>,
    ) -> Result<(), String> {
        let (host, console) = (&order.host, &order.console);
        let mut times_absent = 0;
        while !self.is_open {
            tokio::select! {
                message = self.messages.next() => {
                    let message = message.ok_or("the connection has ended")?;
                    times_absent += u32::from(is_for_nobody(&message));
                    self.take(&message);
                }
                why = refused.recv() => if let Ok(why) = why {
                    if self.subjects.iter().any(|it| why.contains(it)) {
                        return Err(format!("the fleet's servers refuse: {why}"));
                    }
                },
            }
            let end = self.cord.session.lock();
            match end.fate() {
                Fate::Failed(Why::Refused(why)) => {
                    return Err(format!("host '{host}' refuses: {why}"));
                }
                _ if !end.is_opening() => self.is_open = true,
                _ if times_absent >= TRIES => {
                    let (host, console) = (host.clone(), console.clone());
                    return Err(Blind::NoConsole { host, console }.to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&self, message: &async_nats::Message) {
        if is_for_nobody(message) {
            self.cord.session.is_absent();
        } else if let Ok(frame) = frame_of(message) {
            self.cord.session.take(frame, None);
        }
    }

    async fn pass_on(mut self) {
        loop {
            tokio::select! {
                _ = &mut self.carried => return,
                message = self.messages.next() => match message {
                    Some(message) => self.take(&message),
                    None => return,
                },
            }
        }
    }
}

impl Drop for Called {
    /// It was given up, for whatever reason.
    fn drop(&mut self) {
        if !self.is_open {
            self.cord.session.give_up("the caller has given up");
        }
    }
}
