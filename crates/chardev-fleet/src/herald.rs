//! The task that says who a host is: its keys in the bucket.

mod known;
mod leave;

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use chardev::{Chardevs, Epoch, Notice, Observed, Observer};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::fleet::Program;
use crate::follow::Common;
use crate::presence::{Board, Claim, Console, Host, Key, Write, bucket, prefix};
use crate::settings::Settings;
use crate::subject::{LONGEST, escape};
pub(crate) use known::Known;
use leave::Keys;
pub(crate) use leave::Presence;

/// How many times a key is written within the time after which it would be forgotten.
const TIMES: u32 = 3;
/// How long after a change it is written, with what changes meanwhile.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// How long lies between a failure and the next attempt, at first; twice as long after each.
const PAUSE: Duration = Duration::from_millis(500);
/// How many keys are on their way at a time.
const ON_THEIR_WAY: usize = 16;
/// The header that says that a key is deleted.
pub(crate) const OPERATION: &str = "KV-Operation";

/// What became of a write: whether a number was expected, and which it has now.
type Answer = (Write, bool, Result<u64, PublishError>);

/// Writes who a host is.
pub(crate) struct Herald {
    common: Common,
    chardevs: Chardevs,
    program: Arc<Program>,
    keys: Keys,
    board: Board,
    every: Duration,
    /// Something may have changed.
    changed: Arc<Notify>,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    claim: Claim,
    /// On how many pages something may be by now.
    pages: Arc<AtomicUsize>,
    known: Known,
    /// How long the next failure delays what is to be written, and until when one does.
    pause: Duration,
    paused: Option<Instant>,
    /// Since when nothing could be written, and whether that was said.
    failing: Option<(Instant, bool)>,
}

impl Presence {
    /// Starts to write, until the runtime ends or the host leaves; `None` if that is not wanted.
    pub(crate) fn start(
        common: &Common,
        chardevs: &Chardevs,
        program: &Arc<Program>,
        settings: &Settings,
        (run, changed, known): (Epoch, Arc<Notify>, Known),
    ) -> Option<Presence> {
        if settings.presence.is_zero() {
            return None;
        }
        let keys = Keys {
            prefix: prefix(&bucket(&settings.stream.name)),
            host: settings.host.clone(),
        };
        let about = Host {
            run,
            version: program.version.clone(),
            started: since_1970(program.started),
            pages: 0,
            consoles: 0,
            qmp: settings.qmp.clone(),
        };
        let herald = Herald {
            common: common.clone(),
            chardevs: chardevs.clone(),
            program: Arc::clone(program),
            keys: keys.clone(),
            board: Board::new(about),
            every: settings.presence / TIMES,
            changed,
            answers: FuturesUnordered::new(),
            claim: Claim::new(settings.presence),
            pages: Arc::default(),
            known: known.clone(),
            pause: PAUSE,
            paused: None,
            failing: None,
        };
        let pages = Arc::clone(&herald.pages);
        Some(Presence {
            common: common.clone(),
            keys,
            pages,
            known,
            task: tokio::spawn(herald.run()),
        })
    }
}

impl Herald {
    async fn run(mut self) {
        let mut watch = Watch {
            observer: self.chardevs.observe(),
            began: Instant::now(),
            added: 0,
        };
        let mut connection = 0;
        let (mut look, mut refresh) = (Some(Instant::now()), Instant::now());
        loop {
            let current = *self.common.connected.borrow_and_update();
            if !current.is_there {
                if self.common.connected.changed().await.is_err() {
                    return;
                }
                continue;
            }
            if connection != current.number {
                connection = current.number;
                self.answers.clear();
                self.claim.failed();
                self.board.retry_all();
                refresh = Instant::now();
                self.paused = None;
            }
            let now = Instant::now();
            if refresh <= now {
                refresh = now + self.every;
                look = Some(now);
                self.board.refresh();
            }
            if look.is_some_and(|it| it <= now) {
                look = None;
                self.look();
            }
            if self.paused.is_none_or(|it| it <= now) {
                self.paused = None;
                self.send().await;
            }
            let due = [Some(refresh), look, self.paused].into_iter().flatten();
            let next = due.min().unwrap_or(refresh);
            tokio::select! {
                biased;
                changed = self.common.connected.changed() => if changed.is_err() {
                    return;
                },
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => {
                    self.hear(answer);
                }
                () = tokio::time::sleep_until(next) => {}
                () = change(&self.chardevs, &mut watch, &self.changed), if look.is_none() => {
                    look = Some(Instant::now() + DEBOUNCE);
                }
            }
        }
    }

    /// Sees how all consoles are.
    fn look(&mut self) {
        let all = self.chardevs.accounts(None);
        let mut ids = all.iter().map(|(info, _)| info.label.clone()).collect();
        (self.program.which)(&mut ids);
        let takes_part: HashSet<String> = ids.into_iter().collect();
        let mut fronts = (self.program.fronts)();
        let now = since_1970(SystemTime::now());
        let consoles = all.into_iter().filter_map(|(info, details)| {
            let epoch = details.epoch.filter(|_| takes_part.contains(&info.label))?;
            Some(Console {
                epoch,
                front: fronts.remove(&info.label),
                back: info.kind.to_owned(),
                offset: details.stats.output_accepted,
                is_connected: info.open,
                name: info.label,
                since: now,
            })
        });
        let consoles = consoles.filter(|it| escape(&it.name).len() <= LONGEST);
        let consoles = consoles.collect();
        self.board.update(consoles);
        let pages = self.board.pages().max(self.pages.load(Ordering::Relaxed));
        self.pages.store(pages, Ordering::Relaxed);
    }

    fn hear(&mut self, (write, was_expected, result): Answer) {
        self.board.hear(&write, result.is_ok());
        if write.key == Key::Host {
            let now = Instant::now();
            match &result {
                Ok(number) => {
                    self.known.is_up_until(now + self.every * TIMES);
                    self.claim.written(*number, now.into_std(), was_expected);
                }
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                    self.claim.surprised();
                    // It is written again, whatever its number is.
                    return self
                        .known
                        .name_is_taken(self.claim.is_taken(), &self.keys.host);
                }
                Err(_) => self.claim.failed(),
            }
            self.known
                .name_is_taken(self.claim.is_taken(), &self.keys.host);
        }
        match result {
            Ok(_) => self.succeed(),
            Err(error) => self.fail(&write, &error),
        }
    }

    fn succeed(&mut self) {
        self.pause = PAUSE;
        if let Some((_, true)) = self.failing.take() {
            let what = "fleet: it is known again that this host is up";
            tracing::info!(event = "fleet-presence", "{what}");
        }
    }

    fn fail(&mut self, write: &Write, error: &PublishError) {
        let key = self.keys.subject(write.key);
        tracing::debug!("fleet: {key}: {error}");
        let now = Instant::now();
        self.paused = Some(now + self.pause);
        self.pause = (self.pause * 2).min(self.every);
        let (since, is_said) = self.failing.get_or_insert((now, false));
        // Where servers look for a leader it fails as well, and is soon over.
        if !*is_said && now >= *since + self.every * TIMES {
            *is_said = true;
            tracing::warn!(
                event = "fleet-presence",
                "fleet: nobody is told that this host is up, {key}: {error}"
            );
        }
    }

    /// Sends what waits to be written.
    async fn send(&mut self) {
        while self.answers.len() < ON_THEIR_WAY && self.paused.is_none() {
            let Some(write) = self.board.next_write() else {
                break;
            };
            let subject = self.keys.subject(write.key);
            let now = Instant::now().into_std();
            let of_host = write.key == Key::Host;
            let expected = self.claim.expected(now).filter(|_| of_host);
            let mut publish = publish(write.value.as_deref());
            if let Some(number) = expected {
                publish = publish.expected_last_subject_sequence(number);
            }
            let was_expected = expected.is_some();
            let sent = self.common.context.send_publish(subject, publish).await;
            // A page is much work, and consoles wait for this thread with theirs.
            tokio::task::yield_now().await;
            match sent {
                Ok(answer) => self.answers.push(Box::pin(async move {
                    let number = answer.await.map(|it| it.sequence);
                    (write, was_expected, number)
                })),
                Err(error) => self.hear((write, was_expected, Err(error))),
            }
        }
    }
}

/// What tells that consoles may be others than they were.
struct Watch {
    observer: Observer,
    began: Instant,
    added: u64,
}

/// Waits for that.
async fn change(chardevs: &Chardevs, watch: &mut Watch, changed: &Notify) {
    let noticed = poll_fn(|cx| {
        loop {
            match watch.observer.poll(cx.waker(), watch.began.elapsed()) {
                Observed::Nothing(_) => return Poll::Pending,
                Observed::Lost(_)
                | Observed::Notice(
                    ..,
                    Notice::Connected { .. } | Notice::Disconnected { .. } | Notice::Changed { .. },
                ) => return Poll::Ready(()),
                Observed::Notice(..) => {}
            }
        }
    });
    tokio::select! {
        () = noticed => {}
        () = chardevs.added(&mut watch.added) => {}
        () = changed.notified() => {}
    }
}

fn publish(value: Option<&str>) -> PublishMessage {
    let publish = PublishMessage::build();
    match value {
        Some(value) => publish.payload(value.to_owned().into()),
        None => publish.header(OPERATION, "DEL"),
    }
}

fn since_1970(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |it| it.as_secs())
}
