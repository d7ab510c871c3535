//! A daemon of our own, a console with the program behind it, and the peers: what changes it, and
//! what counts every byte.

mod process;

use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chardev_qapi::{Json, Object};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

use chardev_qmp::client::ClientError;

use super::check::{Tally, Verdict};
use super::peers::pump_pause;
use super::peers::{Flow, Kind, Load, Peer, Prepared};
use super::program::{ProgramReport, Waits};
use super::records::{STOP, records_in};
use crate::ctl::backend::backend_json;
use crate::ctl::connect::{Address, Monitor};
use process::Daemon;
pub use process::{Programs, Setup};

/// How long anything may take before it counts as stuck.
const STUCK: Duration = Duration::from_secs(60);
/// After so long without a byte of input nothing is under way any more.
const UNREAD: Duration = Duration::from_secs(1);
/// How long it may take until what came too late is counted.
const PARTED: Duration = Duration::from_secs(5);
/// Part of the error when the front end lags too far behind with its input.
const BACKLOG: &str = "bytes of input wait to be read";
/// How much a peer must have moved in each direction before it may be replaced.
const ENOUGH: u64 = 32 << 10;

/// What came of it all.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How long each change took, from the command to the answer.
    pub changes: Vec<Duration>,
    /// The changes that did not happen, with their errors.
    pub refused: Vec<String>,
    /// How often a change had to wait for the program to read earlier peers' input.
    pub deferred: u64,
    /// Damaged lines, the first few.
    pub evidence: Vec<String>,
    /// The lines the program printed.
    pub output: Verdict,
    /// The records the program read.
    pub input: Input,
    /// How long the program's transmitter made it wait, if it knows.
    pub waits: Option<Waits>,
    /// Bytes of input that the program's device read.
    pub delivered: u64,
    /// What the daemon counted as sent after the change, and not delivered.
    pub late: u64,
    /// Bytes that all peers together were told were taken.
    pub sent: u64,
    /// From the start of the daemon to the program's last line.
    pub time: Duration,
}

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Bytes the program read.
    pub bytes: u64,
    /// Whole records among them.
    pub records: u64,
    /// Records accepted from a peer that the program did not read.
    pub lost: u64,
    /// Records it read again.
    pub doubled: u64,
    /// Records of a peer that came after a later peer's.
    pub reordered: u64,
    /// What is no record.
    pub damaged: u64,
}

impl Report {
    /// Whether not a byte is missing, doubled or in the wrong place, and every change was made.
    pub fn is_clean(&self) -> bool {
        let Input {
            lost,
            doubled,
            reordered,
            damaged,
            ..
        } = self.input;
        self.output.is_clean()
            && lost + doubled + reordered + damaged == 0
            && self.refused.is_empty()
    }
}

/// A console of the daemon, and its peers.
pub struct Rig {
    id: String,
    dir: tempfile::TempDir,
    daemon: Arc<Mutex<Daemon>>,
    monitor: Monitor,
    ring_monitor: Address,
    report: OwnedFd,
    current: Option<Peer>,
    replaced: Vec<Replaced>,
    next: u64,
    began: Instant,
    enough: u64,
    flow: Arc<Flow>,
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
    /// Tells the peers how much of what they sent was read. Nobody ever reads what a peer wrote into a
    /// pipe or terminal that had just been replaced; nothing says how much that is, but when nothing
    /// is read any more nothing else can be under way.
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

/// What a console needs before its program is there.
struct Bed {
    id: String,
    dir: tempfile::TempDir,
    report: OwnedFd,
    prepared: Prepared,
    flow: Arc<Flow>,
    kind: Kind,
}

impl Bed {
    fn new(id: &str, first: Load, ahead: Option<u64>) -> Result<Self, String> {
        let dir = tempfile::Builder::new()
            .prefix("chardev-demo-")
            .tempdir()
            .map_err(|error| format!("no temporary directory: {error}"))?;
        let path = dir.path().join("report");
        let failed = |error: rustix::io::Errno| format!("{}: {error}", path.display());
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(failed)?;
        // Opened both ways, so that there is no end of file before the program has opened it.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let report = open(&path, flags, Mode::empty()).map_err(failed)?;
        let flow = Arc::new(Flow {
            ahead,
            ..Flow::default()
        });
        Ok(Bed {
            id: id.to_owned(),
            prepared: Prepared::new(first, dir.path(), 0)?.with_flow(&flow),
            dir,
            report,
            flow,
            kind: first.kind,
        })
    }

    fn setup(&self) -> Setup {
        Setup::new(&self.id, &self.prepared.line, self.dir.path())
    }

    /// The console of the running program.
    fn connect(self, daemon: &Arc<Mutex<Daemon>>, began: Instant) -> Result<Rig, String> {
        let monitor = Address::Unix(self.dir.path().join("qmp"));
        let ring_monitor = Address::Unix(self.dir.path().join("qmp-ring"));
        let mut monitor = process::wait_for_monitor(&monitor, &mut lock(daemon), began)?;
        let pty = if self.kind == Kind::Pty {
            process::pty_path(&mut monitor, &self.id)?
        } else {
            None
        };
        let pty = pty.as_deref();
        let current = self.prepared.attach(0, &self.id, pty, &ring_monitor)?;
        // Until the program has made its terminal raw, input would be echoed into its output.
        wait_until(
            || current.received() > 0 || current.is_done(),
            || "the program prints nothing".to_owned(),
        )?;
        Ok(Rig {
            id: self.id,
            dir: self.dir,
            daemon: Arc::clone(daemon),
            monitor,
            ring_monitor,
            report: self.report,
            current: Some(current),
            replaced: Vec::new(),
            next: 1,
            began,
            enough: ENOUGH,
            flow: self.flow,
            read: InputRead {
                count: 0,
                since: Instant::now(),
                never: 0,
            },
            result: Report::default(),
        })
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
    /// Starts everything; the first back end is a socket that listens, as in `first`, because its
    /// peer sends nothing before the program runs.
    ///
    /// # Errors
    /// What does not work, and why.
    pub fn start(programs: &Programs, first: Load) -> Result<Rig, String> {
        Rig::start_with(first, |setup| programs.command(setup))
    }

    /// [`Rig::start`] with a program of the caller's, behind whose chardev something prints lines,
    /// checks records and reports as `chardevctl demo-program` does.
    ///
    /// # Errors
    /// What does not work, and why.
    pub fn start_with(first: Load, command: impl FnOnce(&Setup) -> Command) -> Result<Rig, String> {
        let mut rigs = Rig::start_many(&[None], first, |setups| command(&setups[0]))?;
        rigs.pop().ok_or_else(|| "there is no console".to_owned())
    }

    /// Several consoles of one program, each with its own peers, monitors and report. Where a program
    /// reads much slower than kernels buffer, the peers of a console can be kept from getting further
    /// ahead of it than the number of bytes in its place of `ahead`.
    ///
    /// # Errors
    /// What does not work, and why.
    pub fn start_many(
        ahead: &[Option<u64>],
        first: Load,
        command: impl FnOnce(&[Setup]) -> Command,
    ) -> Result<Vec<Rig>, String> {
        let mut beds = Vec::new();
        for (number, ahead) in ahead.iter().enumerate() {
            beds.push(Bed::new(&format!("con{number}"), first, *ahead)?);
        }
        let setups: Vec<Setup> = beds.iter().map(Bed::setup).collect();
        let began = Instant::now();
        let dir = beds.first().ok_or("there is no console")?.dir.path();
        let daemon = Arc::new(Mutex::new(process::start(dir, command(&setups))?));
        let rigs = beds.into_iter().map(|bed| bed.connect(&daemon, began));
        rigs.collect()
    }

    /// Sets how many bytes a peer must have moved in each direction before it may be replaced, for a
    /// program that is slower than a shell.
    pub fn set_enough(&mut self, bytes: u64) {
        self.enough = bytes;
    }

    /// Sends a command to the daemon's monitor and returns the answer.
    ///
    /// # Errors
    /// What the monitor says.
    pub fn execute(&mut self, command: &str, arguments: Object) -> Result<Json, String> {
        let answer = self.monitor.execute(command, arguments);
        answer.map_err(|error| format!("{command}: {error}"))
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
    pub fn wait_for_load(&mut self) -> Result<(), String> {
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
                return Err(format!("{about}{}", self.explain()));
            }
            if peer.is_done() && peer.load.kind != Kind::File {
                let about = about();
                let current = self.current.take().map(Peer::finish);
                let cause = current
                    .and_then(Result::err)
                    .unwrap_or("end of file".to_owned());
                return Err(format!("{about}, then {cause}{}", self.explain()));
            }
            pump_pause(Duration::from_millis(1));
        }
    }

    /// Replaces the back end.
    ///
    /// # Errors
    /// Setting the peers up failed. A change that is refused is counted, and nothing else.
    pub fn change(&mut self, load: Load) -> Result<(), String> {
        let number = self.next;
        let prepared = Prepared::new(load, self.dir.path(), number)?;
        let prepared = prepared.with_flow(&self.flow);
        let arguments = Object::new()
            .with("id", self.id.as_str())
            .with("backend", backend_json(&prepared.line)?);
        let Some(old) = self.current.take() else {
            return Err("the console has no peer".to_owned());
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
                    if error.desc.contains(BACKLOG) && first.elapsed() < STUCK =>
                {
                    self.result.deferred += 1;
                    pump_pause(Duration::from_millis(10));
                }
                Err(ClientError::Command(error)) => {
                    let text = format!("{} → {}: {error}", old.load.kind.name(), load.kind.name());
                    self.result.refused.push(text);
                    self.current = Some(old);
                    return Ok(());
                }
                Err(error) => return Err(format!("chardev-change: {error}{}", self.explain())),
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

    /// Ends the program, then the daemon, and counts. The present back end must be a socket.
    ///
    /// # Errors
    /// Something does not end.
    pub fn finish(mut self) -> Result<Report, String> {
        self.stop()?;
        self.quit()?;
        self.count()
    }

    /// Ends what is behind this console. The present back end must be a socket.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<(), String> {
        let Some(last) = self.current.take() else {
            return Err("the console has no peer".to_owned());
        };
        last.shared.stop.store(true, Ordering::Release);
        let text = match self.read_report() {
            Ok(text) => text,
            Err(error) => return Err(format!("{error}{}", self.explain())),
        };
        wait_until(
            || last.is_done(),
            || "the program's last line has not come".to_owned(),
        )?;
        self.result.time = self.began.elapsed();
        let accepted = last.shared.accepted.load(Ordering::Acquire) - STOP.len() as u64;
        self.replaced.push(Replaced {
            peer: last,
            accepted,
        });
        for replaced in &self.replaced {
            let peer = &replaced.peer;
            let about = || {
                format!(
                    "peer {} ({}): no end of file",
                    peer.number,
                    peer.load.kind.name()
                )
            };
            wait_until(|| peer.is_done(), about)?;
        }
        let report = ProgramReport::parse(&text)?;
        self.result.waits = report.waits;
        self.result.input = judge_input(&report, &self.replaced);
        self.result.sent = self.flow.sent.load(Ordering::Acquire);
        self.count_read();
        Ok(())
    }

    /// What arrived, once the daemon has ended: only then its files are complete.
    ///
    /// # Errors
    /// A peer failed.
    pub fn count(mut self) -> Result<Report, String> {
        let mut tally = Tally::default();
        for replaced in self.replaced.drain(..) {
            let about = format!(
                "peer {} ({})",
                replaced.peer.number,
                replaced.peer.load.kind.name()
            );
            let known = tally.samples().len();
            tally.append(replaced.peer.finish()?);
            let news = &tally.samples()[known..];
            self.result
                .evidence
                .extend(news.iter().map(|line| format!("{about}: {line}")));
        }
        self.result.output = tally.verdict();
        Ok(std::mem::take(&mut self.result))
    }

    /// Reads the FIFO up to the end of the report.
    fn read_report(&self) -> Result<String, String> {
        let mut text = Vec::new();
        let began = Instant::now();
        while !text.ends_with(b"\n") || !String::from_utf8_lossy(&text).contains("faults") {
            let left = STUCK.checked_sub(began.elapsed());
            let left = left.ok_or_else(|| {
                let text = String::from_utf8_lossy(&text);
                let last = text.lines().next_back().unwrap_or("nothing").to_owned();
                format!("the program did not get the record that ends it; it reported last: {last}")
            })?;
            let mut fds = [PollFd::new(&self.report, PollFlags::IN)];
            let time = Timespec {
                tv_sec: left.as_secs() as i64 + 1,
                tv_nsec: 0,
            };
            let _ = poll(&mut fds, Some(&time));
            let mut buffer = [0; 4096];
            if let Ok(count) = rustix::io::read(&self.report, &mut buffer) {
                text.extend_from_slice(&buffer[..count]);
            }
        }
        String::from_utf8(text).map_err(|_| "the program's report is not text".to_owned())
    }

    /// Counts what the daemon read, which is complete when the last of the old peers was parted from.
    fn count_read(&mut self) {
        let began = Instant::now();
        loop {
            let mut count = |name| counter(&mut self.monitor, &self.id, name).unwrap_or(0);
            let (delivered, late) = (count("input-delivered"), count("input-late"));
            self.result.delivered = delivered;
            self.result.late = late;
            if delivered + late >= self.result.sent || began.elapsed() > PARTED {
                return;
            }
            pump_pause(Duration::from_millis(1));
        }
    }

    /// Ends the daemon in order, so that its files are complete.
    ///
    /// # Errors
    /// It does not end.
    pub fn quit(&mut self) -> Result<(), String> {
        let _ = self.monitor.execute("quit", Object::new());
        let child = &mut lock(&self.daemon).child;
        wait_until(
            || child.try_wait().is_ok_and(|status| status.is_some()),
            || "the daemon does not end".to_owned(),
        )
    }

    /// What the daemon and its counters say about trouble.
    fn explain(&mut self) -> String {
        let mut text = String::new();
        let stream = self.monitor.stream_mut();
        stream.give_up_after(Duration::from_secs(2));
        let answers = self.monitor.execute("x-query-chardev-stats", Object::new());
        if let Ok(stats) = answers {
            text += &format!("\n  {stats}");
        }
        text + &lock(&self.daemon).said()
    }
}

/// Bytes of input that were read from the console's peers.
fn input_taken(monitor: &mut Monitor, id: &str) -> Option<u64> {
    let delivered = counter(monitor, id, "input-delivered")?;
    Some(delivered + counter(monitor, id, "input-late")?)
}

fn counter(monitor: &mut Monitor, id: &str, name: &str) -> Option<u64> {
    let asked = Object::new().with("id", id);
    let stats = monitor.execute("x-query-chardev-stats", asked).ok()?;
    stats.as_array()?.first()?.get(name)?.as_u64()
}

/// Compares what the program read with what was accepted from each peer.
fn judge_input(report: &ProgramReport, peers: &[Replaced]) -> Input {
    let mut input = Input {
        lost: report.faults.lost,
        doubled: report.faults.doubled,
        reordered: report.faults.reordered,
        damaged: report.faults.damaged,
        ..Input::default()
    };
    for received in &report.peers {
        input.bytes += received.bytes;
        input.records += received.records;
        // A number that no peer has is an invention.
        input.damaged += u64::from(received.peer >= peers.len() as u64);
    }
    for Replaced { peer, accepted } in peers {
        let received = report
            .peers
            .iter()
            .find(|received| received.peer == peer.number);
        let bytes = received.map_or(0, |received| received.bytes);
        if bytes < *accepted {
            let missing = records_in(peer.number, *accepted) - records_in(peer.number, bytes);
            input.lost += missing.max(1);
        }
    }
    input
}

fn wait_until(
    mut condition: impl FnMut() -> bool,
    about: impl Fn() -> String,
) -> Result<(), String> {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() > STUCK {
            return Err(about());
        }
        pump_pause(Duration::from_millis(1));
    }
    Ok(())
}
