//! The end: the program is stopped, the daemon ends, and everything is counted.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chardev_qapi::Object;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::monitor::counter;
use super::report::{Report, judge_input};
use super::{Replaced, Rig, lock, wait_until};
use crate::LoadError;
use crate::STUCK;
use crate::check::Tally;
use crate::peers::pause;
use crate::records::STOP;
use crate::report::ProgramReport;

/// How long it may take until what came too late is counted.
const PARTED: Duration = Duration::from_secs(5);

impl Rig {
    /// Ends the program, then the daemon, and counts. The present back end must be a socket.
    ///
    /// # Errors
    /// Something does not end.
    pub fn finish(mut self) -> Result<Report, LoadError> {
        self.stop()?;
        self.quit()?;
        self.count()
    }

    /// Ends what is behind this console. The present back end must be a socket.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<(), LoadError> {
        let Some(last) = self.current.take() else {
            return Err("the console has no peer".into());
        };
        last.shared.stop.store(true, Ordering::Release);
        let text = match self.read_report() {
            Ok(text) => text,
            Err(error) => return Err(format!("{error}{}", self.explain()).into()),
        };
        wait_until(
            || last.is_done(),
            || "the program's last line has not arrived".to_owned(),
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
    pub fn count(mut self) -> Result<Report, LoadError> {
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
    fn read_report(&self) -> Result<String, LoadError> {
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
        String::from_utf8(text).map_err(|_| "the program's report is not text".into())
    }

    /// Counts what the daemon read, which is complete when the last of the old peers was parted
    /// from.
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
            pause(Duration::from_millis(1));
        }
    }

    /// Ends the daemon in order, so that its files are complete.
    ///
    /// # Errors
    /// It does not end.
    pub fn quit(&mut self) -> Result<(), LoadError> {
        let _ = self.monitor.execute("quit", Object::new());
        let child = &mut lock(&self.daemon).child;
        wait_until(
            || child.try_wait().is_ok_and(|status| status.is_some()),
            || "the daemon does not exit".to_owned(),
        )
    }
}
