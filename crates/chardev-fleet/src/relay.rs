//! Carries a session between a socket and the servers: what both ends do alike.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, HeaderName, Message, StatusCode, Subject};
use bytes::Bytes;
use rustix::net::Shutdown;
use tokio::sync::{Notify, watch};

use crate::alarm::Alarm;
use crate::link::Connection;
use crate::message::Malformed;
use crate::session::{End, Fate, Frame, LARGEST, SESSION, Why};
use crate::socket::Socket;

/// The header of all messages, as the client's library has names.
const NAME: HeaderName = HeaderName::from_static(SESSION);
/// How many pieces are read or written before others have their turn.
const TURN: usize = 8;
/// How often a client says where it is to be answered: servers forget that after a while.
const RENEW: Duration = Duration::from_secs(4);

/// Why a session has ended other than well, for whoever is at its socket: it is said before that
/// comes to its end.
pub type Ended = Arc<OnceLock<String>>;

/// A session, for those who hear of it.
#[derive(Debug)]
pub(crate) struct Session {
    end: Mutex<End>,
    news: Notify,
    began: Instant,
    /// Where the other end is heard, as it has said last.
    reply: Mutex<Option<Subject>>,
}

/// Where what is sent goes.
#[derive(Debug)]
pub(crate) enum Way {
    /// To the host, which answers there.
    Host { subject: Subject, inbox: Subject },
    /// To where the client has said last.
    Client,
}

/// What carries a session.
pub(crate) struct Relay {
    pub(crate) session: Arc<Session>,
    pub(crate) socket: Socket,
    pub(crate) client: Client,
    pub(crate) connected: watch::Receiver<Connection>,
    pub(crate) way: Way,
    pub(crate) ended: Ended,
    /// Whether who is at the socket goes on when nothing more is said to them.
    pub(crate) half_close: bool,
}

/// What is waited for next.
struct Next {
    /// That the socket can be read; that there is room in it.
    reads: bool,
    writes: bool,
    /// Nothing, from then on.
    deadline: Duration,
}

impl Session {
    /// A session whose time begins now.
    pub(crate) fn new(make: impl FnOnce(Duration) -> End) -> Arc<Session> {
        Arc::new(Session {
            end: Mutex::new(make(Duration::ZERO)),
            news: Notify::new(),
            began: Instant::now(),
            reply: Mutex::new(None),
        })
    }

    /// Something has come for it.
    pub(crate) fn take(&self, frame: Frame, reply: Option<Subject>) {
        if reply.is_some() {
            *lock(&self.reply) = reply;
        }
        self.lock().handle(frame, self.now());
        self.news.notify_one();
    }

    /// A server says that nobody is at the other end.
    pub(crate) fn is_absent(&self) {
        self.lock().is_absent(self.now());
        self.news.notify_one();
    }

    /// It is given up here.
    pub(crate) fn give_up(&self, why: &str) {
        self.lock().give_up(why);
        self.news.notify_one();
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, End> {
        lock(&self.end)
    }

    /// When that is which is so late in its time.
    pub(crate) fn instant(&self, late: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.began + late)
    }

    /// A change here is to be looked at by whoever carries it.
    pub(crate) fn look(&self) {
        self.news.notify_one();
    }

    /// Waits until there is something to be looked at.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Relay {
    /// Carries bytes until the session is over or has failed, and all that came was read.
    pub(crate) async fn run(mut self) {
        let mut number = self.connected.borrow_and_update().number;
        let mut renewed = None;
        // Whoever is at the socket says no more, or takes no more.
        let (mut is_silent, mut is_deaf) = (false, false);
        let mut buffer = vec![0; LARGEST];
        let mut alarm = Alarm::new();
        loop {
            let fate = self.session.lock().fate();
            if let Fate::Failed(why) = &fate {
                // It is said once.
                let _ = self.ended.set(why.to_string());
            }
            if matches!(fate, Fate::Failed(Why::GivenUp(_))) {
                return self.send(&mut renewed).await;
            }
            is_silent = is_silent || self.fill(&mut buffer);
            is_deaf = is_deaf || self.deliver();
            self.send(&mut renewed).await;
            let Some(Next {
                reads,
                writes,
                deadline,
            }) = self.next(is_silent, is_deaf)
            else {
                return;
            };
            tokio::select! {
                () = self.session.news.notified() => {}
                () = self.socket.ready(reads, writes) => {}
                () = alarm.by(self.session.instant(deadline)) => {}
                changed = self.connected.changed() => {
                    let now = *self.connected.borrow_and_update();
                    if changed.is_err() {
                        return;
                    }
                    if now.is_there && now.number != number {
                        number = now.number;
                        renewed = None;
                        self.session.lock().reconnected(self.session.now());
                    }
                }
            }
        }
    }

    /// What of the socket to wait for, and until when; `None` if all is done.
    fn next(&self, is_silent: bool, is_deaf: bool) -> Option<Next> {
        let mut end = self.session.lock();
        if is_deaf {
            let count = end.unread().len();
            end.consume(count, self.session.now());
        }
        let is_open = end.fate() == Fate::Open;
        let reads = is_open && !is_silent && end.wants() > 0;
        // Nobody reads what a host's monitor has not, once its client is no more.
        let is_lost = matches!(end.fate(), Fate::Failed(_)) && matches!(self.way, Way::Client);
        let writes = !is_lost && !end.unread().is_empty();
        if !is_open && !writes {
            return None;
        }
        Some(Next {
            reads,
            writes,
            deadline: end.deadline(),
        })
    }

    /// Reads what the session takes; whether there is no more.
    fn fill(&self, buffer: &mut [u8]) -> bool {
        if self.session.lock().is_stopped() {
            // Who writes there learns of it at once; what was written is read to its end.
            self.socket.shutdown(Shutdown::Read);
        }
        for _ in 0..TURN {
            let mut end = self.session.lock();
            let wants = end.wants();
            if wants == 0 {
                return false;
            }
            match self.socket.read(&mut buffer[..wants]) {
                Ok(Some(0)) => {
                    end.end();
                    return true;
                }
                Ok(Some(count)) => {
                    end.write(Bytes::copy_from_slice(&buffer[..count]));
                    // There is hardly more, and this is to be on its way.
                    if count < wants {
                        return false;
                    }
                }
                Ok(None) => return false,
                Err(_) => {
                    end.end();
                    return true;
                }
            }
        }
        false
    }

    /// Writes what has come; whether nobody takes more of it.
    fn deliver(&mut self) -> bool {
        let mut end = self.session.lock();
        while !end.unread().is_empty() {
            match self.socket.write(end.unread()) {
                Ok(Some(count)) => end.consume(count, self.session.now()),
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
        self.socket.is_written();
        if end.is_read_out() {
            if !self.half_close {
                end.end();
                return true;
            }
            drop(end);
            // It is no matter how often it is said.
            self.socket.shutdown(Shutdown::Write);
        }
        false
    }

    async fn send(&mut self, renewed: &mut Option<Duration>) {
        let outlet = Outlet {
            session: &self.session,
            client: &self.client,
            connected: &self.connected,
            way: &self.way,
        };
        outlet.send(renewed).await;
    }
}

/// What a session's messages leave by.
pub(crate) struct Outlet<'a> {
    pub(crate) session: &'a Session,
    pub(crate) client: &'a Client,
    pub(crate) connected: &'a watch::Receiver<Connection>,
    pub(crate) way: &'a Way,
}

impl Outlet<'_> {
    /// Sends what there is to be sent now; `renewed` says when the other end was told last where it
    /// is heard.
    pub(crate) async fn send(&self, renewed: &mut Option<Duration>) {
        loop {
            let now = self.session.now();
            let frame = {
                let mut end = self.session.lock();
                if !self.connected.borrow().is_there {
                    end.look_at_the_clock(now);
                    return;
                }
                end.next_frame(now)
            };
            let Some(frame) = frame else { return };
            let (client, headers, payload) = (self.client, headers(&frame), frame.payload());
            // It fails where the client is no more; then the session falls silent.
            let _ = match self.way {
                Way::Host { subject, inbox } => {
                    let subject = subject.clone();
                    let is_old = renewed.is_none_or(|at| at + RENEW <= now);
                    match is_old || self.session.lock().is_opening() {
                        true => {
                            *renewed = Some(now);
                            let inbox = inbox.clone();
                            client
                                .publish_with_reply_and_headers(subject, inbox, headers, payload)
                                .await
                        }
                        false => client.publish_with_headers(subject, headers, payload).await,
                    }
                }
                Way::Client => {
                    let Some(reply) = lock(&self.session.reply).clone() else {
                        continue;
                    };
                    client.publish_with_headers(reply, headers, payload).await
                }
            };
        }
    }
}

/// The headers of a message.
pub(crate) fn headers(frame: &Frame) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NAME, frame.header());
    headers
}

/// Reads a message of a session.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn frame_of(message: &Message) -> Result<Frame, Malformed> {
    let header = message.headers.as_ref().and_then(|it| it.get(NAME));
    Frame::parse(header.map(|it| it.as_str()), message.payload.clone())
}

/// Whether a server says that nobody has heard what was sent.
pub(crate) fn is_for_nobody(message: &Message) -> bool {
    message.status == Some(StatusCode::NO_RESPONDERS)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
