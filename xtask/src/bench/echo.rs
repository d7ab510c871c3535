//! From a key to its echo: in the web page, beside `chardevctl attach` in a terminal, on the same
//! console in turn. A bare WebSocket says how much of it is the daemon's, and a page with nothing
//! but a WebSocket to an echo of ours, and a number to show, how much is the browser's.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use serde_json::{Value, json};

use super::browser::Browser;
use super::site::{LIMIT, Site};
use super::stream::{Stream, echo_server};
use super::{Programs, report};
use crate::sh::Result;

pub(super) const KEYS: usize = 200;
/// Nobody types faster; the page's keys wait for a frame to be drawn.
const BETWEEN: Duration = Duration::from_millis(16);
const WANTED: f64 = 2.0;
/// A program that shows what is typed, as it is.
pub(super) const CONSOLE: &str = "[console.con]\nexec = 'stty raw -echo; exec cat'\n";
const WAYS: [&str; 5] = [
    "`chardevctl attach`, shown",
    "a bare WebSocket, arrived",
    "a bare page and an echo of our own, arrived",
    "the page, arrived at the terminal",
    "the page, drawn",
];

pub(super) fn table(programs: &Programs, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let site = Site::start(chardevd, CONSOLE)?;
    let mut browser = Browser::start()?;
    let port = echo_server()?;
    browser.ask(&json!({ "do": "floor", "port": port }))?;
    let session = site.log_in()?;
    let mut all: [Vec<Vec<f64>>; 5] = Default::default();
    for round in 1..=rounds {
        eprintln!("xtask: keys, round {round} of {rounds}");
        // Nobody else looks meanwhile.
        browser.ask(&json!({ "do": "open", "link": site.link()?, "id": "con" }))?;
        let page = browser.ask(&json!({ "do": "press", "keys": KEYS }))?;
        browser.ask(&json!({ "do": "close" }))?;
        let mut attached = Attached::start(site.ctl(&["attach", "--share", "con"]))?;
        let shown = timed(|| attached.press())?;
        drop(attached);
        let mut stream = Stream::open(&session, "con", "mode=share")?;
        let bare = timed(|| stream.press())?;
        drop(stream);
        let floor = browser.ask(&json!({ "do": "pressFloor", "keys": KEYS }))?;
        let ways = [
            shown,
            bare,
            times(&floor, "arrived"),
            times(&page, "arrived"),
            times(&page, "drawn"),
        ];
        for (all, mut times) in all.iter_mut().zip(ways) {
            times.sort_by(f64::total_cmp);
            all.push(times);
        }
    }
    let title = format!("From key to echo in ms, {rounds} rounds of {KEYS} keys");
    let header = [
        "way",
        "p50",
        "p99",
        "p50, attach = 1, median of rounds",
        &format!("{WANTED} times kept"),
    ];
    let rows = WAYS.iter().zip(&all).map(|(way, rounds)| {
        let ratio = report::percentile(&ratios(rounds, &all[0]), 0.5);
        let verdict = match *way {
            "the page, arrived at the terminal" => report::verdict(ratio <= WANTED),
            _ => String::new(),
        };
        let mut row = told(way, rounds);
        row.extend([format!("{ratio:.2}"), verdict]);
        row
    });
    Ok(report::table(&title, &header, &rows.collect::<Vec<_>>()))
}

/// A way, and the median and the 99th percentile of all its rounds.
pub(super) fn told(way: &str, rounds: &[Vec<f64>]) -> Vec<String> {
    let mut every = rounds.concat();
    every.sort_by(f64::total_cmp);
    let of_all = |part| format!("{:.2}", report::percentile(&every, part));
    vec![way.to_owned(), of_all(0.5), of_all(0.99)]
}

/// The ratios of the medians of rounds, by size. The times of each round are sorted.
pub(super) fn ratios(rounds: &[Vec<f64>], to: &[Vec<f64>]) -> Vec<f64> {
    let p50 = |times: &Vec<f64>| report::percentile(times, 0.5);
    let pairs = rounds.iter().zip(to);
    let mut ratios: Vec<f64> = pairs.map(|(way, other)| p50(way) / p50(other)).collect();
    ratios.sort_by(f64::total_cmp);
    ratios
}

fn times(samples: &Value, key: &str) -> Vec<f64> {
    let samples = samples.as_array().map_or(&[][..], Vec::as_slice);
    samples.iter().filter_map(|it| it[key].as_f64()).collect()
}

/// How long each of so many key presses takes, in ms.
pub(super) fn timed(mut press: impl FnMut() -> Result) -> Result<Vec<f64>> {
    let one = |_| {
        thread::sleep(BETWEEN);
        let pressed = Instant::now();
        press()?;
        Ok(pressed.elapsed().as_secs_f64() * 1e3)
    };
    (0..KEYS).map(one).collect()
}

/// `chardevctl attach` on a terminal of ours.
pub(super) struct Attached {
    child: Child,
    terminal: File,
}

impl Attached {
    pub(super) fn start(mut command: Command) -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = openpt(flags)?;
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        let peer = || -> Result<Stdio> { Ok(ioctl_tiocgptpeer(&terminal, flags)?.into()) };
        let child = command
            .stdin(peer()?)
            .stdout(peer()?)
            .stderr(peer()?)
            .spawn()?;
        let mut attached = Attached {
            child,
            terminal: File::from(terminal),
        };
        attached.settle()?;
        Ok(attached)
    }

    /// Until it passes keys on: what it says first is no echo, and neither is a first key that a
    /// terminal shows which is not raw yet.
    fn settle(&mut self) -> Result {
        let end = Instant::now() + LIMIT;
        let quiet = Duration::from_millis(300);
        while self.wait(quiet)? {
            let _ = self.terminal.read(&mut [0; 4096])?;
            if Instant::now() > end {
                return Err("chardevctl attach does not fall silent".into());
            }
        }
        Ok(())
    }

    fn wait(&self, limit: Duration) -> Result<bool> {
        let mut polled = [PollFd::new(&self.terminal, PollFlags::IN)];
        Ok(poll(&mut polled, Some(&Timespec::try_from(limit)?))? > 0)
    }

    pub(super) fn press(&mut self) -> Result {
        self.terminal.write_all(b"x")?;
        if !self.wait(LIMIT)? {
            return Err("chardevctl attach shows no echo".into());
        }
        match self.terminal.read(&mut [0; 64])? {
            1 => Ok(()),
            count => Err(format!("chardevctl attach shows {count} bytes for a key").into()),
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Either call fails only if it has ended already, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
