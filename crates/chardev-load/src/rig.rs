//! A daemon of our own, a console with the program behind it, and the peers: what changes it, and
//! what counts every byte.

mod bed;
mod end;
mod monitor;
pub(crate) mod process;
mod report;

pub use monitor::{Monitor, connect, with_stream};
pub use process::{Programs, Setup};
pub use report::{Input, Report};

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chardev_qapi::{ErrorKind, Json, Object};
use chardev_qmp::client::ClientError;

use crate::LoadError;
use crate::STUCK;
use crate::lines::Form;
use crate::peers::{Flow, Kind, Load, Peer, Prepared, pause};
use crate::viewer::Viewer;
use monitor::input_taken;
use process::Daemon;

/// After so long without a byte of input nothing is under way any more.
const UNREAD: Duration = Duration::from_secs(1);
/// How much a peer must have moved in each direction before it may be replaced.
const ENOUGH: u64 = 32 << 10;

/// A console of the daemon, and its peers.
pub struct Rig {
    id: String,
    dir: tempfile::TempDir,
    daemon: Arc<Mutex<Daemon>>,
    monitor: Monitor,
    ring_monitor: PathBuf,
    report: OwnedFd,
    current: Option<Peer>,
    replaced: Vec<Replaced>,
    next: u64,
    began: Instant,
    enough: u64,
    flow: Arc<Flow>,
    log: Option<PathBuf>,
    read: InputRead,
    result: Report,
}

/// What was read of the console's input.
struct InputRead {
    count: u64,
    /// When it was last found to have grown.
    since: Instant,
    /// Bytes that were sent and are never read.
    never: u64,
}

impl InputRead {
    /// Tells the peers how much of what they sent was read. Nobody ever reads what a peer wrote
    /// into a pipe or terminal that had just been replaced; nothing says how much that is, but when
    /// nothing is read any more nothing else can be under way.
    fn make_room(&mut self, monitor: &mut Monitor, id: &str, flow: &Flow) {
        let Some(count) = input_taken(monitor, id) else {
            return;
        };
        if count != self.count {
            (self.count, self.since) = (count, Instant::now());
        } else if self.since.elapsed() > UNREAD {
            let sent = flow.sent.load(Ordering::Acquire);
            (self.never, self.since) = (sent.saturating_sub(count), Instant::now());
        }
        flow.taken.store(count + self.never, Ordering::Release);
    }
}

fn lock(daemon: &Mutex<Daemon>) -> MutexGuard<'_, Daemon> {
    daemon.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A peer whose back end was replaced.
struct Replaced {
    peer: Peer,
    /// Input accepted from it before the change was asked for.
    accepted: u64,
}

impl Rig {
    /// Sets how many bytes a peer must have moved in each direction before it may be replaced, for
    /// a program that is slower than a shell.
    pub fn set_enough(&mut self, bytes: u64) {
        self.enough = bytes;
    }

    /// Sends a command to the daemon's monitor and returns the answer.
    ///
    /// # Errors
    /// What the monitor says.
    pub fn execute(&mut self, command: &str, arguments: Object) -> Result<Json, LoadError> {
        let answer = self.monitor.execute(command, arguments);
        answer.map_err(|error| format!("{command}: {error}").into())
    }

    /// All output from the next change on is also kept in a file.
    pub fn set_log(&mut self, path: PathBuf) {
        self.log = Some(path);
    }

    /// A viewer of the console.
    ///
    /// # Errors
    /// What the monitor says.
    pub fn view(&mut self, slow: bool) -> Result<Viewer, LoadError> {
        Viewer::come(&mut self.monitor, &self.id, Form::Plain, slow)
    }

    /// The kind of the present back end.
    pub fn kind(&self) -> Kind {
        self.current
            .as_ref()
            .map_or(Kind::File, |peer| peer.load.kind)
    }

    /// What was done so far, without what is counted at the end.
    pub fn so_far(&self) -> &Report {
        &self.result
    }

    /// Bytes of output and input moved so far.
    pub fn moved(&self) -> (u64, u64) {
        let replaced = self.replaced.iter().map(|replaced| &replaced.peer);
        let peers = replaced.chain(&self.current);
        peers.fold((0, 0), |(out, input), peer| {
            (
                out + peer.received(),
                input + peer.shared.accepted.load(Ordering::Acquire),
            )
        })
    }

    /// Waits until the present peer has moved enough both ways for the change to meet full load.
    ///
    /// # Errors
    /// Nothing moves.
    pub fn wait_for_load(&mut self) -> Result<(), LoadError> {
        let Some(peer) = &self.current else {
            return Ok(());
        };
        let enough = self.enough / if peer.load.slow { 4 } else { 1 };
        let began = Instant::now();
        loop {
            if self.flow.ahead.is_some() {
                self.read.make_room(&mut self.monitor, &self.id, &self.flow);
            }
            let input = peer.shared.accepted.load(Ordering::Acquire);
            let output = peer.received();
            if output >= enough && (input >= enough || !peer.load.kind.has_input()) {
                return Ok(());
            }
            let about = || {
                format!(
                    "peer {} ({}) is stuck: {output} bytes of output, {input} of input",
                    peer.number,
                    peer.load.kind.name()
                )
            };
            if began.elapsed() > STUCK {
                let about = about();
                return Err(format!("{about}{}", self.explain()).into());
            }
            if peer.is_done() && peer.load.kind != Kind::File {
                let about = about();
                let current = self.current.take().map(Peer::finish);
                let cause = current
                    .and_then(Result::err)
                    .unwrap_or("end of file".into());
                return Err(format!("{about}, then {cause}{}", self.explain()).into());
            }
            pause(Duration::from_millis(1));
        }
    }

    /// Replaces the back end.
    ///
    /// # Errors
    /// Setting the peers up failed. A change that is refused is counted, and nothing else.
    pub fn change(&mut self, load: Load) -> Result<(), LoadError> {
        let number = self.next;
        let prepared = Prepared::new(load, self.dir.path(), number)?;
        let mut prepared = prepared.with_flow(&self.flow);
        if let Some(path) = self.log.take() {
            prepared.backend = prepared.backend.with_log(&path);
        }
        let arguments = Object::new()
            .with("id", self.id.as_str())
            .with("backend", prepared.backend.json.clone());
        let Some(old) = self.current.take() else {
            return Err("the console has no peer".into());
        };
        if old.load.kind == Kind::Ringbuf {
            // Read under the same name, the next ring's output would be taken for this one's.
            old.shared.replaced.store(true, Ordering::Release);
            wait_until(
                || old.is_done(),
                || format!("peer {}: still reading", old.number),
            )?;
        }
        let first = Instant::now();
        let (answer, accepted, time) = loop {
            let accepted = old.shared.accepted.load(Ordering::Acquire);
            let began = Instant::now();
            let answer = self.monitor.execute("chardev-change", arguments.clone());
            let time = began.elapsed();
            match answer {
                Ok(answer) => break (answer, accepted, time),
                // The program has not read yet what earlier peers sent; nothing is lost by waiting.
                Err(ClientError::Command(error))
                    if error.kind() == Some(ErrorKind::Backlog) && first.elapsed() < STUCK =>
                {
                    self.result.deferred += 1;
                    pause(Duration::from_millis(10));
                }
                Err(ClientError::Command(error)) => {
                    let text = format!("{} → {}: {error}", old.load.kind.name(), load.kind.name());
                    self.result.refused.push(text);
                    self.current = Some(old);
                    return Ok(());
                }
                Err(error) => {
                    return Err(format!("chardev-change: {error}{}", self.explain()).into());
                }
            }
        };
        self.result.changes.push(time);
        self.next += 1;
        let pty = answer.get("pty").and_then(Json::as_str);
        let peer = prepared.attach(number, &self.id, pty, &self.ring_monitor)?;
        self.current = Some(peer);
        old.shared.replaced.store(true, Ordering::Release);
        self.replaced.push(Replaced {
            peer: old,
            accepted,
        });
        Ok(())
    }

    /// What the daemon and its counters say about trouble.
    fn explain(&mut self) -> String {
        let mut text = String::new();
        let limit = Some(Duration::from_secs(2));
        let _ = self.monitor.stream().set_read_timeout(limit);
        let answers = self.monitor.execute("x-query-chardev-stats", Object::new());
        if let Ok(stats) = answers {
            text += &format!("\n  {stats}");
        }
        text + &lock(&self.daemon).said()
    }
}

fn wait_until(
    mut condition: impl FnMut() -> bool,
    about: impl Fn() -> String,
) -> Result<(), LoadError> {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() > STUCK {
            return Err(about().into());
        }
        pause(Duration::from_millis(1));
    }
    Ok(())
}
