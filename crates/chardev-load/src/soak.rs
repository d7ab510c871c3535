//! A thousand consoles for an hour: their back ends are changed, peers and viewers come and go,
//! people attach and detach, logs rotate, and every byte is accounted for.
//!
//! One thread is all the programs and all the peers. It goes over the consoles again and again, in
//! *sweeps*: each prints and reads a little at both of its ends, without waiting for anything, and
//! a few are changed. After each of some *rounds* everything comes to rest: all consoles have the
//! same kind of back end, everything that was printed and typed has arrived, and then it is
//!
//! - counted: each stream, both ways, each log, and what the daemon says it has lost;
//! - compared with the rounds in which the daemon became warm: its descriptors, threads, memory.
//!
//! What happens follows from the seed; when, from the machine.

mod account;
mod bed;
mod console;
mod link;
mod log;
mod report;
mod usage;

pub use report::Report;
pub use usage::Usage;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chardev_qapi::{ErrorKind, Json, Object};
use chardev_qmp::client::ClientError;

use crate::lines::Form;
use crate::peers::{Kind, Prepared, pause};
use crate::random::Random;
use crate::rig::Monitor;
use crate::rig::process::Daemon;
use crate::viewer::Viewer;
use crate::{LoadError, STUCK};
use console::Console;
use link::Pace;

/// A round lasts a part of the whole time, within these limits.
const ROUNDS: u32 = 10;
const ROUND: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(120));
/// After so many rounds the daemon is warm: what is kept for viewers is full, and the allocator has
/// what it needs when all are busy.
const WARM: usize = 5;
/// How often is told how it goes.
const TELL: Duration = Duration::from_secs(5);
/// How much of the time is slept at least between two sweeps.
const REST: Duration = Duration::from_millis(2);
/// What has not arrived after that may have been too late.
const ARRIVED: Duration = Duration::from_secs(2);
/// The longest piece that is read or written at once.
const PIECE: usize = 64 << 10;
/// How many are changed at once when all are.
const AT_ONCE: usize = 50;
/// How a peer reads, at random.
const PACES: [Pace; 4] = [Pace::Quick, Pace::Quick, Pace::Sips, Pace::Stalled];
/// What all are changed to when they come to rest.
const BASE: Kind = Kind::UnixClient;
/// One viewer for so many consoles.
const CONSOLES_A_VIEWER: usize = 20;

/// What is to be soaked, and for how long.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `chardevd`
    pub daemon: PathBuf,
    /// How many consoles.
    pub consoles: usize,
    /// For how long, the last count not included.
    pub time: Duration,
    /// Where the random choices begin.
    pub seed: u64,
    /// How much of a CPU this side may take, in percent; what the daemon takes follows from it.
    pub share: u32,
}

/// Soaks a daemon of its own, on the calling thread, until the time is over or something is found.
/// `tell` is told every few seconds how it goes.
///
/// # Errors
/// What was found, with what happened to the console before; or what cannot be set up.
pub fn run(setup: &Setup, tell: &mut dyn FnMut(&str)) -> Result<Report, LoadError> {
    let began = Instant::now();
    let mut soak = bed::start(setup)?;
    let last = began + setup.time;
    let length = (setup.time / ROUNDS).clamp(ROUND.0, ROUND.1);
    let mut base: Option<Usage> = None;
    loop {
        soak.report.rounds += 1;
        let done = soak.round(length, tell).and_then(|()| soak.come_to_rest());
        if let Err(error) = done {
            return Err(format!("{error}{}", soak.daemon.said()).into());
        }
        let now = soak.settled_usage(base.as_ref())?;
        tell(&format!("round {}: at rest, {now}", soak.report.rounds));
        soak.report.last = now;
        match &base {
            Some(base) if now.has_grown(base, soak.kept_kib()) => {
                return Err(format!("the daemon has grown: at rest {now}; it was {base}").into());
            }
            Some(_) => {}
            None => {
                soak.report.base = soak.report.base.warmed(&now);
                base = (soak.report.rounds >= WARM).then_some(soak.report.base);
            }
        }
        if Instant::now() >= last && soak.report.rounds > WARM {
            soak.report.time = began.elapsed();
            return soak.end();
        }
    }
}

/// The daemon, what it is driven by, and everybody at its consoles.
struct Soak {
    _dir: tempfile::TempDir,
    daemon: Daemon,
    monitor: Monitor,
    consoles: Vec<Console>,
    viewers: Vec<Viewer>,
    random: Random,
    share: u32,
    scratch: Vec<u8>,
    began: Instant,
    told: Instant,
    report: Report,
}

impl Soak {
    /// Everything at random, for so long.
    fn round(&mut self, length: Duration, tell: &mut dyn FnMut(&str)) -> Result<(), LoadError> {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.sweep(true)?;
            self.change_some()?;
            self.come_and_go()?;
            if self.told.elapsed() >= TELL {
                self.told = Instant::now();
                let usage = Usage::of(self.daemon.child.id()).ok_or("the daemon is gone")?;
                let seconds = self.began.elapsed().as_secs();
                tell(&format!("after {seconds} s: {}; {usage}", self.report));
            }
        }
        Ok(())
    }

    /// Each console prints, types and reads a little, and each viewer looks.
    fn sweep(&mut self, busy: bool) -> Result<(), LoadError> {
        let began = Instant::now();
        for console in &mut self.consoles {
            let moved = console.step(&mut self.random, &mut self.scratch, busy);
            let moved = moved.map_err(|error| console.about(&error))?;
            self.report.output += moved.output;
            self.report.input += moved.input;
            self.report.came += moved.came;
        }
        let (mut kept, before) = (Vec::new(), self.viewers.len());
        for mut viewer in self.viewers.drain(..) {
            if viewer.look(&mut self.scratch, &mut self.report.viewed)? {
                kept.push(viewer);
            }
        }
        self.report.too_slow += (before - kept.len()) as u64;
        self.viewers = kept;
        let work = began.elapsed();
        pause(REST.max(work * (100 - self.share.min(100)) / self.share.max(1)));
        Ok(())
    }

    /// A few consoles get another back end, each by itself or all at one moment.
    fn change_some(&mut self) -> Result<(), LoadError> {
        let most = self.consoles.len() / 64 + 1;
        let mut chosen = Vec::new();
        for _ in 0..=self.random.below(most) {
            let number = self.random.below(self.consoles.len());
            if self.consoles[number].may_change() && !chosen.contains(&number) {
                chosen.push(number);
            }
        }
        let mut wanted = Vec::new();
        for number in chosen {
            let kind = self.random.pick(&Kind::ALL);
            // It is under full load when the change comes.
            self.report.output += self.consoles[number].print(PIECE, &mut self.scratch)?;
            wanted.push((number, self.consoles[number].prepare(kind)?));
        }
        if self.random.one_in(4) && !wanted.is_empty() {
            return self.change_together(wanted);
        }
        for one in wanted {
            self.change_one(one)?;
        }
        Ok(())
    }

    fn change_one(&mut self, (number, prepared): (usize, Prepared)) -> Result<(), LoadError> {
        let arguments = change(&self.consoles[number].id, &prepared);
        let answer = self.monitor.execute("chardev-change", arguments);
        let Some(answer) = self.answered(answer)? else {
            self.consoles[number].note_refusal();
            return Ok(());
        };
        let pace = self.random.pick(&PACES);
        self.replaced(number, prepared, &answer, pace)
    }

    fn change_together(&mut self, wanted: Vec<(usize, Prepared)>) -> Result<(), LoadError> {
        let actions = wanted.iter().map(|(number, prepared)| {
            let data = change(&self.consoles[*number].id, prepared);
            Object::new()
                .with("type", "chardev-change")
                .with("data", data)
        });
        let arguments = Object::new().with("actions", actions.collect::<Vec<_>>());
        let answer = self.monitor.execute("x-chardev-transaction", arguments);
        let Some(answer) = self.answered(answer)? else {
            for (number, _) in wanted {
                self.consoles[number].note_refusal();
            }
            return Ok(());
        };
        self.report.transactions += 1;
        let answers = answer.as_array().unwrap_or_default();
        for (at, (number, prepared)) in wanted.into_iter().enumerate() {
            let answer = answers.get(at).ok_or("a transaction has too few answers")?;
            let pace = self.random.pick(&PACES);
            self.replaced(number, prepared, answer, pace)?;
        }
        Ok(())
    }

    fn replaced(
        &mut self,
        number: usize,
        by: Prepared,
        answer: &Json,
        pace: Pace,
    ) -> Result<(), LoadError> {
        self.report.changes += 1;
        let pty = answer.get("pty").and_then(Json::as_str);
        let console = &mut self.consoles[number];
        let replaced = console.replaced(by, pty, pace);
        replaced.map_err(|error| console.about(&error))
    }

    /// The answer, or `None` for a refusal that is in order: input still waits to be read, or
    /// somebody else has the port meanwhile. What the peers had prepared is then of no use.
    fn answered(&mut self, answer: Result<Json, ClientError>) -> Result<Option<Json>, LoadError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(ClientError::Command(error))
                if error.kind() == Some(ErrorKind::Backlog)
                    || error.to_string().contains("in use") =>
            {
                self.report.refused += 1;
                Ok(None)
            }
            Err(error) => Err(format!("a change: {error}").into()),
        }
    }

    /// Some attach or detach, peers of consoles that listen leave, viewers come and go.
    fn come_and_go(&mut self) -> Result<(), LoadError> {
        for _ in 0..=self.consoles.len() / 128 {
            let number = self.random.below(self.consoles.len());
            let console = &mut self.consoles[number];
            let attached = console.attach(&mut self.monitor);
            self.report.attached += u64::from(attached.map_err(|error| console.about(&error))?);
            let number = self.random.below(self.consoles.len());
            self.consoles[number].leave();
        }
        for console in &mut self.consoles {
            if console.has_guest() && self.random.one_in(40) {
                console.detach();
            }
        }
        let most = self.consoles.len() / CONSOLES_A_VIEWER + 1;
        for _ in 0..=most / 16 {
            if self.viewers.len() == most {
                let leaves = self.random.below(self.viewers.len());
                self.viewers.swap_remove(leaves);
                continue;
            }
            let console = &self.consoles[self.random.below(self.consoles.len())];
            let slow = self.random.one_in(4);
            let viewer = Viewer::come(&mut self.monitor, &console.id, Form::Padded, slow)?;
            self.viewers.push(viewer);
            self.report.viewers += 1;
        }
        Ok(())
    }

    /// Sweeps until `rested` holds of each console.
    fn sweep_until(
        &mut self,
        busy: bool,
        rested: impl Fn(&Console) -> bool,
    ) -> Result<(), LoadError> {
        let began = Instant::now();
        loop {
            self.sweep(busy)?;
            if !busy && began.elapsed() > ARRIVED {
                self.ask_for_late()?;
            }
            let mut restless = self.consoles.iter().filter(|console| !rested(console));
            let Some(first) = restless.next() else {
                return Ok(());
            };
            if began.elapsed() > STUCK {
                let more = restless.count();
                let about = first.about(&"does not come to rest".into());
                return Err(format!("{about}\n  and {more} others").into());
            }
        }
    }
}

/// The arguments of a change.
fn change(id: &str, to: &Prepared) -> Object {
    let arguments = Object::new().with("id", id);
    arguments.with("backend", to.backend.json.clone())
}
