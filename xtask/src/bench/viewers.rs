//! What output to a viewer costs the daemon: to the web page in a browser and to a bare client of
//! its stream, beside `chardevctl watch`. Each is given output as fast as it shows it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::json;

use super::browser::Browser;
use super::site::{LIMIT, Session, Site};
use super::stream::Stream;
use super::{Programs, report};
use crate::qmp::Client;
use crate::sh::Result;
use crate::wait::within;

const MIB: u64 = 1 << 20;
const BYTES: u64 = 64 * MIB;
const BLOCK: usize = 64 << 10;
/// So much further than what is shown is the output at most; the history holds more.
const AHEAD: u64 = MIB;
/// What a page tells of is told in steps.
const STEP: u64 = 256 << 10;
const WANTED: f64 = 2.0;
/// A console whose output comes from a socket; nobody is at its back end.
const CONSOLE: &str = "[console.con]\nfrom = 'unix:DIR/source,server=on,wait=off,x-closed=hold'\n\
    to = 'null'\nhistory = '8M'\n";
const WAYS: [Way; 4] = [Way::Nobody, Way::Watch, Way::Bare, Way::Page];

pub(super) fn table(programs: &Programs, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let rig = Rig {
        site: Site::start(chardevd, CONSOLE)?,
    };
    let session = rig.site.log_in()?;
    let mut source = rig.site.connect("source")?;
    let mut browser = Browser::start()?;
    let mut all: [Vec<Sample>; 4] = Default::default();
    for round in 1..=rounds {
        eprintln!("xtask: output to viewers, round {round} of {rounds}");
        for (way, all) in WAYS.iter().zip(&mut all) {
            all.push(rig.measure(*way, &mut source, &session, &mut browser)?);
        }
    }
    Ok(lay_out(&all, rounds))
}

#[derive(Clone, Copy)]
enum Way {
    Nobody,
    Watch,
    Bare,
    Page,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Nobody => "nobody",
            Way::Watch => "`chardevctl watch`",
            Way::Bare => "a bare client of the stream",
            Way::Page => "the page in Chromium",
        }
    }
}

struct Sample {
    mib_per_s: f64,
    cpu_s_per_gib: f64,
}

struct Rig {
    site: Site,
}

impl Rig {
    fn measure(
        &self,
        way: Way,
        source: &mut UnixStream,
        session: &Session,
        browser: &mut Browser,
    ) -> Result<Sample> {
        let seen = Arc::new(AtomicU64::new(0));
        wait_for_viewers(&self.site, "con", 0)?;
        match way {
            Way::Nobody => self.pour(source, None),
            Way::Watch => {
                let watch = Watch::start(&self.site, Arc::clone(&seen))?;
                let sample = self.pour(source, Some(&seen));
                drop(watch);
                sample
            }
            Way::Bare => {
                let mut stream = Stream::open(session, "con", "")?;
                let counted = Arc::clone(&seen);
                // It ends when the console's output is over, or with the process.
                let reader = thread::spawn(move || {
                    let mut all = 0;
                    while all < BYTES {
                        let Ok(count) = stream.output() else { return };
                        all = counted.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
                    }
                });
                let sample = self.pour(source, Some(&seen));
                reader.join().map_err(|_| "the client panicked")?;
                sample
            }
            Way::Page => {
                let link = self.site.link()?;
                browser.seen().store(0, Ordering::Relaxed);
                browser.ask(&json!({ "do": "open", "link": link, "id": "con" }))?;
                let seen = browser.seen();
                let sample = self.pour(source, Some(&seen));
                browser.ask(&json!({ "do": "close" }))?;
                sample
            }
        }
    }

    /// Has the console print, no further ahead of what is seen than `AHEAD`.
    fn pour(&self, source: &mut UnixStream, seen: Option<&AtomicU64>) -> Result<Sample> {
        let block = lines();
        let seen_upto = |upto: u64| match seen {
            Some(seen) => within(LIMIT, || {
                (seen.load(Ordering::Relaxed) >= upto).then_some(())
            }),
            None => Some(()),
        };
        let cpu = self.site.server.exact_cpu()?;
        let began = Instant::now();
        let mut sent = 0;
        while sent < BYTES {
            seen_upto(sent.saturating_sub(AHEAD)).ok_or("a viewer shows nothing more")?;
            source.write_all(&block)?;
            sent += block.len() as u64;
        }
        seen_upto(BYTES - STEP).ok_or("a viewer does not show the end")?;
        let elapsed = began.elapsed().as_secs_f64();
        let cpu = self.site.server.exact_cpu()? - cpu;
        Ok(Sample {
            mib_per_s: (BYTES / MIB) as f64 / elapsed,
            cpu_s_per_gib: cpu.as_secs_f64() * 1024.0 / (BYTES / MIB) as f64,
        })
    }
}

/// Until so many look, and no more who have not quite left.
pub(super) fn wait_for_viewers(site: &Site, id: &str, count: u64) -> Result {
    let mut client = Client::connect(&site.path("qmp"))?;
    let there = within(LIMIT, || {
        let asked = json!({ "id": id });
        let stats = client.execute("x-query-chardev-stats", asked).ok()?;
        (stats[0]["viewers"] == count).then_some(())
    });
    there.ok_or_else(|| format!("there are not {count} viewers").into())
}

/// A block of lines such as a system prints.
pub(super) fn lines() -> Vec<u8> {
    let mut text = Vec::with_capacity(BLOCK + 64);
    let mut at = 0;
    while text.len() < BLOCK {
        text.extend(format!("[{at:>8}.000000] usb 1-1: a line of a log\r\n").bytes());
        at += 1;
    }
    text.truncate(BLOCK);
    text
}

/// `chardevctl watch`, whose output is counted.
struct Watch(Child);

impl Watch {
    fn start(site: &Site, seen: Arc<AtomicU64>) -> Result<Self> {
        let mut child = site.ctl(&["watch", "con"]).stdout(Stdio::piped()).spawn()?;
        let mut output = child.stdout.take().ok_or("no standard output")?;
        let watch = Watch(child);
        wait_for_viewers(site, "con", 1)?;
        thread::spawn(move || {
            let mut block = vec![0; 256 << 10];
            while let Ok(count @ 1..) = output.read(&mut block) {
                seen.fetch_add(count as u64, Ordering::Relaxed);
            }
        });
        Ok(watch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Either call fails only if it has ended already, which is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ratios within a round, since the machine's speed changes between them.
fn lay_out(all: &[Vec<Sample>; 4], rounds: usize) -> String {
    let [nobody, watch, ..] = all;
    let median = |values: &mut dyn Iterator<Item = f64>| {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        report::percentile(&values, 0.5)
    };
    let rows = WAYS.iter().zip(all).map(|(way, samples)| {
        let cost = |at: usize| samples[at].cpu_s_per_gib;
        let whole = median(&mut (0..rounds).map(|at| cost(at) / watch[at].cpu_s_per_gib));
        let own = median(&mut (0..rounds).map(|at| {
            let base = nobody[at].cpu_s_per_gib;
            (cost(at) - base) / (watch[at].cpu_s_per_gib - base)
        }));
        let is_web = matches!(way, Way::Bare | Way::Page);
        vec![
            way.name().to_owned(),
            format!(
                "{:.0}",
                median(&mut samples.iter().map(|sample| sample.mib_per_s))
            ),
            format!("{:.3}", median(&mut (0..rounds).map(cost))),
            format!("{whole:.2}"),
            format!("{own:.2}"),
            if is_web {
                report::verdict(whole <= WANTED)
            } else {
                String::new()
            },
        ]
    });
    let title = format!(
        "Output to viewers, {} MiB, median of {rounds} rounds",
        BYTES / MIB
    );
    let header = [
        "who looks",
        "MiB/s",
        "CPU s of the daemon per GiB",
        "CPU, watch = 1",
        "the viewer's part of it, watch = 1",
        &format!("{WANTED} times kept"),
    ];
    report::table(&title, &header, &rows.collect::<Vec<_>>())
}
