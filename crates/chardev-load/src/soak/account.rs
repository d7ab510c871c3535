//! The end of a round: everything comes to rest, and is counted.

use std::time::{Duration, Instant};

use chardev_qapi::{Json, Object};

use super::link::Pace;
use super::{AT_ONCE, BASE, Report, Soak, Usage, change};
use crate::peers::pause;
use crate::{LoadError, STUCK};

/// How long the daemon may take until what is not needed any more is gone: a replaced back end
/// waits a second or two for its peer, and threads wait for more to do.
const GONE: Duration = Duration::from_secs(30);
/// How often is looked meanwhile, and how often in a row nothing may have changed.
const LOOK: Duration = Duration::from_millis(250);
const SAME: u32 = 6;
/// How many changes the daemon keeps of each console, and how many bytes each takes at most.
const LANDMARKS: u64 = 128;
const LANDMARK: u64 = 256;
/// What the daemon says is lost, which never is while each console holds what it has no peer for.
const LOSSES: [&str; 7] = [
    "output-discarded",
    "output-dropped",
    "output-overwritten",
    "output-undrained",
    "output-purged",
    "input-overflowed",
    "input-purged",
];
/// How many of the consoles with which something is wrong are named.
const NAMED: usize = 5;

impl Soak {
    /// Everything printed and typed arrives, and is counted.
    pub(super) fn come_to_rest(&mut self) -> Result<(), LoadError> {
        self.consoles.iter_mut().for_each(super::Console::hurry);
        self.sweep_until(true, super::Console::may_change)?;
        self.change_all()?;
        self.sweep_until(false, super::Console::is_at_rest)?;
        self.viewers
            .iter_mut()
            .for_each(crate::viewer::Viewer::hurry);
        self.sweep_until_seen()?;
        self.viewers.clear();
        let mut wrong = Vec::new();
        for console in &mut self.consoles {
            if let Err(error) = console.count() {
                wrong.push(console.about(&error).to_string());
            }
        }
        self.ask_for_losses(&mut wrong)?;
        let logs = self.compare_logs()?;
        wrong.extend(logs);
        if wrong.is_empty() {
            return Ok(());
        }
        let count = wrong.len();
        wrong.truncate(NAMED);
        Err(format!("{count} findings:\n{}", wrong.join("\n")).into())
    }

    /// What the daemon has, once that does not change any more and is not more than it was, or
    /// what it still has after a while.
    pub(super) fn settled_usage(&self, base: Option<&Usage>) -> Result<Usage, LoadError> {
        let kept = self.kept_kib();
        let id = self.daemon.child.id();
        let usage = || Usage::of(id).ok_or("the daemon is gone");
        let deadline = Instant::now() + GONE;
        let (mut last, mut same) = (usage()?, 0);
        while Instant::now() < deadline {
            pause(LOOK);
            let now = usage()?;
            same = match now.has_as_many(&last) {
                true => same + 1,
                false => 0,
            };
            last = now;
            if same >= SAME && base.is_none_or(|base| !now.has_grown(base, kept)) {
                break;
            }
        }
        Ok(last)
    }

    /// What the daemon keeps of changes on purpose: where in its output each console's newest were.
    pub(super) fn kept_kib(&self) -> u64 {
        let most = LANDMARKS * self.consoles.len() as u64;
        self.report.changes.min(most) * LANDMARK / 1024
    }

    /// Ends the daemon in order.
    pub(super) fn end(mut self) -> Result<Report, LoadError> {
        let quit = self.monitor.execute("quit", Object::new());
        quit.map_err(|error| format!("quit: {error}"))?;
        let deadline = Instant::now() + STUCK;
        while Instant::now() < deadline {
            match self.daemon.child.try_wait() {
                Ok(None) => pause(LOOK),
                Ok(Some(status)) if status.success() => return Ok(self.report),
                other => return Err(format!("the daemon's end: {other:?}").into()),
            }
        }
        Err("the daemon does not end".into())
    }

    fn change_all(&mut self) -> Result<(), LoadError> {
        let all: Vec<usize> = (0..self.consoles.len()).collect();
        for some in all.chunks(AT_ONCE) {
            for number in some {
                let prepared = self.consoles[*number].prepare(BASE)?;
                let arguments = change(&self.consoles[*number].id, &prepared);
                let answer = self.monitor.execute("chardev-change", arguments);
                let answer = answer.map_err(|error| {
                    self.consoles[*number].about(&format!("the change at rest: {error}").into())
                })?;
                self.replaced(*number, prepared, &answer, Pace::Quick)?;
            }
            // What is replaced may wait for its peer to read.
            self.sweep(true)?;
        }
        Ok(())
    }

    /// Until each viewer has seen what there is; who is too slow for it has been told meanwhile.
    fn sweep_until_seen(&mut self) -> Result<(), LoadError> {
        let deadline = Instant::now() + STUCK;
        loop {
            self.sweep(false)?;
            let printed = |id: &str| {
                let console = self.consoles.iter().find(|console| console.id == id);
                console.map_or(0, |console| console.printed())
            };
            let mut behind = self.viewers.iter();
            let Some(viewer) = behind.find(|viewer| viewer.seen() < printed(&viewer.console))
            else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let (seen, of) = (viewer.seen(), printed(&viewer.console));
                return Err(format!(
                    "{}: a viewer has seen {seen} of {of} bytes, and no more comes",
                    viewer.console
                )
                .into());
            }
        }
    }

    /// What came of the input of consoles that lack some.
    pub(super) fn ask_for_late(&mut self) -> Result<(), LoadError> {
        let lack = self
            .consoles
            .iter_mut()
            .filter(|console| console.lacks_input());
        for console in lack {
            let asked = Object::new().with("id", console.id.as_str());
            let stats = self.monitor.execute("x-query-chardev-stats", asked);
            let stats = stats.map_err(|error| format!("x-query-chardev-stats: {error}"))?;
            let entry = stats.as_array().and_then(|entries| entries.first());
            let late = entry.and_then(|entry| entry.get("input-late")?.as_u64());
            console.set_late(late.ok_or("the statistics have no input-late")?);
        }
        Ok(())
    }

    fn ask_for_losses(&mut self, wrong: &mut Vec<String>) -> Result<(), LoadError> {
        let asked = self.monitor.execute("x-query-chardev-stats", Object::new());
        let stats = asked.map_err(|error| format!("x-query-chardev-stats: {error}"))?;
        (self.report.log_lost, self.report.late) = (0, 0);
        for entry in stats.as_array().unwrap_or_default() {
            let label = entry.get("label").and_then(Json::as_str).unwrap_or("?");
            let value = |name: &str| entry.get(name).and_then(Json::as_u64).unwrap_or(0);
            for loss in LOSSES.iter().filter(|loss| value(loss) > 0) {
                wrong.push(format!("{label}: the daemon says {loss} {}", value(loss)));
            }
            self.report.log_lost += value("log-lost");
            self.report.late += value("input-late");
            if let Some(console) = self.consoles.iter_mut().find(|console| console.id == label) {
                console.set_log_lost(value("log-lost"));
                let (failed, refused) = (value("changes-failed"), console.refused());
                if failed > refused {
                    wrong.push(format!(
                        "{label}: {failed} changes failed, {refused} were refused"
                    ));
                }
                let (ours, theirs) = (console.printed(), value("output-accepted"));
                if ours != theirs {
                    wrong.push(format!("{label}: printed {ours} bytes, accepted {theirs}"));
                }
            }
        }
        Ok(())
    }

    /// What is wrong with the logs.
    fn compare_logs(&mut self) -> Result<Vec<String>, LoadError> {
        let mut wrong = Vec::new();
        let deadline = Instant::now() + STUCK;
        for console in &self.consoles {
            let Some(log) = console.log() else { continue };
            // What was printed last may still be written.
            let compared = loop {
                match log.compare(console.printed()) {
                    Err(_) if Instant::now() < deadline => pause(LOOK),
                    compared => break compared,
                }
            };
            match compared {
                Ok(kept) => self.report.logged += kept,
                Err(error) => wrong.push(console.about(&error).to_string()),
            }
        }
        Ok(wrong)
    }
}
