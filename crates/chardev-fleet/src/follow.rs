//! The task of one life of a console: from its source, through its publisher, to the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::PublishMessage;
use chardev::Epoch;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::link::Connection;
use crate::message::Message;
use crate::publisher::{LARGEST, Publisher};
use crate::source::{Piece, Source};

/// How long lies between a failure and the next attempt, from the first to the last of many.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// For how long after a message that was not full more is waited for: what is printed meanwhile
/// goes together. It is about as long as an answer takes.
const REST: Duration = Duration::from_millis(3);
/// From here on a message is full: the ring of a console that prints so fast may be overwritten.
const FULL: usize = 48 << 10;

/// What all tasks share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) context: Context,
    pub(crate) connected: watch::Receiver<Connection>,
    /// The bytes that may be on their way, of all consoles together.
    pub(crate) budget: Arc<Semaphore>,
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

/// A console on its way into the stream.
pub(crate) struct Follower {
    common: Common,
    subject: String,
    source: Source,
    publisher: Publisher,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// The memory of what is on its way, by where it ends.
    permits: VecDeque<(u64, OwnedSemaphorePermit)>,
    /// What the stream has, for whoever begins anew.
    acknowledged: Arc<AtomicU64>,
    is_removed: bool,
    /// Over which connection all was sent.
    connection: u64,
    failures: u32,
    /// No sooner is anything sent.
    pause: Option<Instant>,
    /// No sooner is anything taken.
    rest: Instant,
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
            permits: VecDeque::new(),
            acknowledged,
            is_removed: false,
            connection: 0,
            failures: 0,
            pause: None,
            rest: Instant::now(),
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
                    Some(pause) if is_connected => tokio::time::sleep_until(pause).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.common.connected.changed() => if changed.is_err() {
                    // Nobody connects any more.
                    return;
                },
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => self.hear(answer),
                () = resume => {}
                permit = reserve(&self.common.budget, &self.source, self.rest), if wanted > 0 => {
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
        match self.source.read(most).await {
            Some(Piece::Output(bytes)) => {
                let count = bytes.len();
                if count < FULL {
                    self.rest = Instant::now() + REST;
                }
                self.publisher.take(bytes);
                let kept = permit.and_then(|mut permit| permit.split(count));
                let end = self.publisher.taken();
                self.permits.extend(kept.map(|permit| (end, permit)));
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
                while self
                    .permits
                    .front()
                    .is_some_and(|(end, _)| *end <= acknowledged)
                {
                    self.permits.pop_front();
                }
            }
            Err(error) => {
                self.publisher.retry(offset);
                tracing::debug!("fleet: {}: {error}", self.subject);
                self.back_off();
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

/// Waits for something to read, then until it is time, and then for the memory to have it in.
async fn reserve(
    budget: &Arc<Semaphore>,
    source: &Source,
    rest: Instant,
) -> Option<OwnedSemaphorePermit> {
    source.ready().await;
    if rest > Instant::now() {
        tokio::time::sleep_until(rest).await;
    }
    let most = u32::try_from(LARGEST).unwrap_or(u32::MAX);
    Arc::clone(budget).acquire_many_owned(most).await.ok()
}

fn publish(message: &Message, id: Option<String>) -> PublishMessage {
    let mut headers = HeaderMap::new();
    for (name, value) in message.headers() {
        headers.insert(name, value.as_str());
    }
    let publish = PublishMessage::build()
        .headers(headers)
        .payload(message.payload());
    match id {
        Some(id) => publish.message_id(id),
        None => publish,
    }
}
