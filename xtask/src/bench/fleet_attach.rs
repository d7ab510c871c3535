//! How long a key takes to a console and back, attached over a fleet, beside attached on the host
//! itself: in turn, on the same daemon.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::echo::{Attached, CONSOLE, KEYS, ratios, timed, told};
use super::fleet::{Nats, until_connected};
use super::report;
use super::site::{LIMIT, Site};
use crate::sh::Result;
use crate::wait::within;

/// Before it is measured.
const FIRST_KEYS: usize = 50;
const WANTED: f64 = 3.0;
const WAYS: [&str; 4] = [
    "in a terminal, on the host",
    "in a terminal, over the fleet",
    "between pipes, on the host",
    "between pipes, over the fleet",
];
/// Besides that of keys in terminals; each has its own.
const CONSOLES: &str = "[console.near]\nfrom = 'unix:DIR/near,server=on,wait=off'\nto = 'null'\n\
    [console.far]\nfrom = 'unix:DIR/far,server=on,wait=off'\nto = 'null'\n";

pub(super) fn table(chardevd: &Path, rounds: usize) -> Result<String> {
    // It is on the keys' way, so it has the priority that all have.
    let nats = Nats::start(0)?;
    let text = format!("{}qmp = 'attach'\n{CONSOLE}{CONSOLES}", nats.section());
    let site = Site::start(chardevd, &text)?;
    until_connected(&site)?;
    let fleet = |words: &[&str]| {
        let mut command = site.ctl(&["--fleet", &nats.address(), "--fleet-role", "attach"]);
        command.args(words);
        command
    };
    let is_served = || {
        let mut asked = fleet(&["qmp", "--on", "bench", "query-chardev"]);
        let asked = asked.stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.ok()?.success().then_some(())
    };
    within(LIMIT, is_served).ok_or("the host serves nobody over the fleet")?;
    let near = site.ctl(&["attach", "--no-replay", "near"]);
    let far = fleet(&["attach", "--no-replay", "bench/far"]);
    let mut attached = [
        Piped::start(near, site.connect("near")?)?,
        Piped::start(far, site.connect("far")?)?,
    ];
    let mut all: [Vec<Vec<f64>>; 4] = Default::default();
    for round in 1..=rounds {
        eprintln!("xtask: keys over a fleet, round {round} of {rounds}");
        let ways = [
            in_terminal(site.ctl(&["attach", "--share", "con"]))?,
            in_terminal(fleet(&["attach", "--share", "bench/con"]))?,
            timed(|| attached[0].press())?,
            timed(|| attached[1].press())?,
        ];
        for (all, mut times) in all.iter_mut().zip(ways) {
            times.sort_by(f64::total_cmp);
            all.push(times);
        }
    }
    let rows = WAYS.iter().zip(&all).enumerate();
    let rows = rows.map(|(at, (way, rounds))| {
        let ratios = ratios(rounds, &all[at & !1]);
        let ratio = report::percentile(&ratios, 0.5);
        let mut row = told(way, rounds);
        row.extend([
            format!("{ratio:.2}"),
            format!("{:.2} to {:.2}", ratios[0], ratios[ratios.len() - 1]),
            report::verdict(ratio <= WANTED),
        ]);
        row
    });
    let title = format!(
        "One key's round trip in ms, attach over the fleet beside a local attach, {rounds} rounds \
         of {KEYS} keys"
    );
    let kept = format!("{WANTED} times kept");
    let header = ["attached", "p50", "p99", "p50, local = 1", "rounds", &kept];
    Ok(report::table(&title, &header, &rows.collect::<Vec<_>>()))
}

/// How long keys take from a terminal to a program that shows them, and back.
fn in_terminal(command: Command) -> Result<Vec<f64>> {
    let mut attached = Attached::start(command)?;
    (0..FIRST_KEYS).try_for_each(|_| attached.press())?;
    timed(|| attached.press())
}

/// A `chardevctl attach` whose terminal is pipes, and who is at the console's other end.
struct Piped {
    child: Child,
    keys: ChildStdin,
    shown: ChildStdout,
    end: UnixStream,
}

impl Piped {
    fn start(mut command: Command, end: UnixStream) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(keys), Some(shown)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let mut attached = Piped {
            child,
            keys,
            shown,
            end,
        };
        (0..FIRST_KEYS).try_for_each(|_| attached.press())?;
        Ok(attached)
    }

    fn press(&mut self) -> Result {
        let mut byte = [b'k'];
        self.keys.write_all(&byte)?;
        self.end.read_exact(&mut byte)?;
        self.end.write_all(&byte)?;
        self.shown.read_exact(&mut byte)?;
        Ok(())
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
