//! The task of one life of a console: from its source, through its publisher, to the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::header::{HeaderMap, HeaderName, NATS_MESSAGE_ID};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use chardev::Epoch;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use crate::link::Connection;
use crate::message::Message;
use crate::pool::Pool;
use crate::publisher::{LARGEST, Publisher};
use crate::source::{Piece, Source};
use crate::turns::Turns;

/// How long lies between a failure and the next attempt, from the first to the last of many.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// From here on a message is full: the ring of a console that prints so fast may be overwritten.
const FULL: usize = 48 << 10;

/// What all tasks share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) context: Context,
    pub(crate) connected: watch::Receiver<Connection>,
    /// The bytes that may be on their way, of all consoles together.
    pub(crate) budget: Arc<Semaphore>,
    pub(crate) pool: Pool,
    pub(crate) turns: Turns,
}

/// What became of a message: where it began and ended, and whether the stream has it.
type Answer = (u64, u64, Result<Told, String>);

/// What a server says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The stream has it.
    Stored,
    /// It was there before, but where is not known: a leader says so of what it has only begun to
    /// store, also once that came to nothing, as when it was frozen and replaced meanwhile.
    Known,
}

/// The memory of a message.
struct Held {
    /// The offset of what comes after it.
    end: u64,
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

/// A console on its way into the stream.
pub(crate) struct Follower {
    common: Common,
    subject: String,
    source: Source,
    publisher: Publisher,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// The memory of what is on its way, in order.
    held: VecDeque<Held>,
    /// What the stream has, for whoever begins anew.
    acknowledged: Arc<AtomicU64>,
    is_removed: bool,
    /// Over which connection all was sent.
    connection: u64,
    failures: u32,
    /// No sooner is anything sent.
    pause: Option<Instant>,
    /// Nothing is taken before that turn.
    turn: u64,
}

impl Follower {
    /// One that goes on where `acknowledged` says, and keeps that up to date.
    pub(crate) fn new(
        common: Common,
        subject: String,
        source: Source,
        (epoch, acknowledged): (Epoch, Arc<AtomicU64>),
    ) -> Self {
        let from = acknowledged.load(Ordering::Relaxed);
        Follower {
            common,
            subject,
            source,
            publisher: Publisher::new(epoch, from),
            answers: FuturesUnordered::new(),
            held: VecDeque::new(),
            acknowledged,
            is_removed: false,
            connection: 0,
            failures: 0,
            pause: None,
            turn: 0,
        }
    }

    /// Publishes everything until the console is removed and the stream has all of it.
    pub(crate) async fn run(mut self) {
        loop {
            let connection = *self.common.connected.borrow_and_update();
            let is_connected = connection.is_there;
            if self.connection != connection.number || !is_connected {
                self.connection = connection.number;
                self.answers.clear();
                self.publisher.retry_all();
            }
            if is_connected && self.pause.is_none_or(|pause| pause <= Instant::now()) {
                self.pause = None;
                self.send().await;
            }
            if self.is_removed && self.publisher.is_idle() {
                return;
            }
            let wanted = match is_connected && !self.is_removed && self.publisher.has_room() {
                true => self.wanted(),
                false => 0,
            };
            let resume = async {
                match self.pause {
                    Some(pause) if is_connected => sleep_until(pause).await,
                    _ => std::future::pending().await,
                }
            };
            let turn = self.common.turns.wait(self.turn);
            tokio::select! {
                biased;
                changed = self.common.connected.changed() => if changed.is_err() {
                    // Nobody connects any more.
                    return;
                },
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => {
                    self.hear(answer);
                    // Those that came with it.
                    while let Some(Some(answer)) = self.answers.next().now_or_never() {
                        self.hear(answer);
                    }
                }
                () = resume => {}
                permit = reserve(&self.common.budget, &self.source, turn), if wanted > 0 => {
                    self.take(permit).await;
                }
            }
        }
    }

    /// How much the publisher wants of what there is, at least a byte if it would take one.
    fn wanted(&self) -> usize {
        match self.source.available() {
            // Whatever comes will be little, and what is on its way may have to be answered first.
            0 => self.publisher.wants(1),
            available => self.publisher.wants(available),
        }
    }

    async fn take(&mut self, permit: Option<OwnedSemaphorePermit>) {
        // Where there is nothing, it is the end that is read.
        let available = self.source.available().max(1);
        let most = self.publisher.wants(available).max(1);
        match self.source.read(most, &self.common.pool).await {
            Some(Piece::Output(bytes)) => {
                let count = bytes.len();
                if count < FULL {
                    self.turn = self.common.turns.next();
                }
                self.publisher.take(bytes.clone());
                let kept = permit.and_then(|mut permit| permit.split(Pool::size(count)));
                self.held.extend(kept.map(|permit| Held {
                    end: self.publisher.taken(),
                    bytes,
                    _permit: permit,
                }));
            }
            Some(Piece::Gap { to }) => self.publisher.gap(to),
            Some(Piece::Removed) => {
                self.publisher.end();
                self.is_removed = true;
            }
            None => {}
        }
    }

    /// Sends what waits to be sent.
    async fn send(&mut self) {
        while let Some(message) = self.publisher.next_message() {
            let (offset, end) = (message.offset, message.end());
            let publish = publish(&message, self.publisher.id(&message));
            let subject = self.subject.clone();
            match self.common.context.send_publish(subject, publish).await {
                Ok(answer) => self.answers.push(Box::pin(async move {
                    let answer = answer.await.map(|it| match it.sequence {
                        0 => Told::Known,
                        _ => Told::Stored,
                    });
                    (offset, end, answer.map_err(|error| error.to_string()))
                })),
                Err(error) => {
                    self.hear((offset, end, Err(error.to_string())));
                    return;
                }
            }
        }
    }

    fn hear(&mut self, (offset, end, result): Answer) {
        match result {
            Ok(Told::Known) => {
                self.publisher.doubt(offset);
                tracing::debug!("fleet: {}: {offset} is known and not there", self.subject);
                self.back_off();
            }
            Ok(Told::Stored) => {
                self.failures = 0;
                self.publisher.acknowledge(offset, end);
                let acknowledged = self.publisher.acknowledged();
                self.acknowledged.store(acknowledged, Ordering::Relaxed);
                self.release(acknowledged);
            }
            Err(error) => {
                self.publisher.retry(offset);
                tracing::debug!("fleet: {}: {error}", self.subject);
                self.back_off();
            }
        }
    }

    /// Gives the memory back of what the stream has.
    fn release(&mut self, acknowledged: u64) {
        while self.held.front().is_some_and(|it| it.end <= acknowledged) {
            if let Some(held) = self.held.pop_front() {
                self.common.pool.give(held.bytes);
            }
        }
    }

    /// Lets some time pass, the more the more often it failed.
    fn back_off(&mut self) {
        let pause = PAUSE[0] * 2_u32.saturating_pow(self.failures.min(8));
        self.failures += 1;
        self.pause = Some(Instant::now() + pause.min(PAUSE[1]));
    }
}

/// Waits until it is time, then for something to read, and then for the memory to have it in. While
/// it is not time, what is printed wakes nobody.
async fn reserve(
    budget: &Arc<Semaphore>,
    source: &Source,
    turn: impl Future<Output = ()>,
) -> Option<OwnedSemaphorePermit> {
    turn.await;
    source.ready().await;
    let most = u32::try_from(LARGEST).unwrap_or(u32::MAX);
    Arc::clone(budget).acquire_many_owned(most).await.ok()
}

fn publish(message: &Message, id: Option<String>) -> PublishMessage {
    let mut headers = HeaderMap::new();
    for (name, value) in message.headers() {
        headers.insert(HeaderName::from_static(name), value);
    }
    if let Some(id) = id {
        headers.insert(NATS_MESSAGE_ID, id);
    }
    PublishMessage::build()
        .headers(headers)
        .payload(message.payload())
}
