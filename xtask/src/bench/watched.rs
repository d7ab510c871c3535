//! How fast a console is that passes its output on while others look at it: nobody, web pages, and
//! a thousand sockets.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chardev_load::rig;
use chardev_qapi::Object;

use super::lookers::{Crowd, Looker, pages};
use super::relay::STALL_TIMEOUT;
use super::site::{Session, Site};
use super::viewers::{lines, wait_for_viewers};
use super::{Programs, report};
use crate::sh::Result;

const MIB: u64 = 1 << 20;
const WANTED: f64 = 0.9;
/// How long the console prints, and how much in a second where it has a pace.
const SPAN: Duration = Duration::from_secs(3);
pub(super) const PACE: u64 = 20 * MIB;
const TICK: Duration = Duration::from_millis(1);
const CONSOLE: &str = "[console.relay]\nfrom = 'unix:DIR/in,server=on,wait=off,x-closed=hold'\n\
    to = 'unix:DIR/out,server=on,wait=off,x-closed=hold'\nhistory = '1M'\n";
const AUDIENCES: [(&str, Audience); 4] = [
    ("nobody", Audience::Pages(0)),
    ("1 page", Audience::Pages(1)),
    ("100 pages", Audience::Pages(100)),
    ("1,000 sockets", Audience::Plain(1000)),
];

pub(super) fn table(programs: &Programs, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let site = Site::start(chardevd, CONSOLE)?;
    let session = site.log_in()?;
    let mut ends = [site.connect("in")?, site.connect("out")?];
    let mut rows = Vec::new();
    for (how, pace) in [("as fast as it can", None), ("20 MiB/s", Some(PACE))] {
        let mut all: Vec<Vec<f64>> = vec![Vec::new(); AUDIENCES.len()];
        for round in 1..=rounds {
            eprintln!("xtask: a console with viewers, {how}, round {round} of {rounds}");
            for ((_, audience), all) in AUDIENCES.iter().zip(&mut all) {
                wait_for_viewers(&site, "relay", 0)?;
                let _crowd = Crowd::start(audience.come(&site, &session)?)?;
                all.push(pass_on(&mut ends, pace)?);
            }
        }
        for ((who, _), speeds) in AUDIENCES.iter().zip(&all) {
            let ratio = median(speeds.iter().zip(&all[0]).map(|(a, b)| a / b).collect());
            rows.push(vec![
                format!("{how}: {who}"),
                format!("{:.0}", median(speeds.clone())),
                format!("{ratio:.2}"),
                report::verdict(ratio >= WANTED),
            ]);
        }
    }
    let title = format!("A console's own output while others look, median of {rounds} rounds");
    let kept = format!("{WANTED} kept");
    let header = ["who looks", "MiB/s", "nobody = 1", &kept];
    Ok(report::table(&title, &header, &rows))
}

enum Audience {
    Pages(usize),
    Plain(usize),
}

impl Audience {
    fn come(&self, site: &Site, session: &Session) -> Result<Vec<Looker>> {
        match self {
            Audience::Pages(count) => pages(session, "relay", *count),
            Audience::Plain(count) => {
                let mut monitor = rig::connect(&site.path("qmp"))?;
                let mut come = || {
                    let asked = Object::new().with("id", "relay");
                    let (stream, _) = rig::with_stream(&mut monitor, "x-chardev-watch", asked)?;
                    stream.set_nonblocking(true)?;
                    Ok(Looker::Plain(stream))
                };
                (0..*count).map(|_| come()).collect()
            }
        }
    }
}

/// MiB/s that come out of the console.
pub(super) fn pass_on(ends: &mut [UnixStream; 2], pace: Option<u64>) -> Result<f64> {
    let [input, output] = ends;
    output.set_read_timeout(Some(STALL_TIMEOUT))?;
    let mut output = output.try_clone()?;
    let (block, began) = (lines(), Instant::now());
    let total = Arc::new(AtomicU64::new(u64::MAX));
    let wanted = Arc::clone(&total);
    let taking = thread::spawn(move || take(&mut output, &wanted).map_err(|e| e.to_string()));
    let mut sent = 0;
    while began.elapsed() < SPAN {
        let piece = match pace {
            None => &block[..],
            Some(pace) => {
                let due = (pace as f64 * began.elapsed().as_secs_f64()) as u64;
                if due <= sent {
                    thread::sleep(TICK);
                }
                &block[..due.saturating_sub(sent).min(block.len() as u64) as usize]
            }
        };
        input.write_all(piece)?;
        sent += piece.len() as u64;
    }
    // A last byte, so that who takes is not left waiting for one.
    total.store(sent + 1, Ordering::SeqCst);
    input.write_all(b"\n")?;
    taking.join().map_err(|_| "who takes panicked")??;
    Ok((sent + 1) as f64 / MIB as f64 / began.elapsed().as_secs_f64())
}

/// Takes until so many bytes have come as were sent, which is known only at the end.
fn take(output: &mut UnixStream, wanted: &AtomicU64) -> Result {
    let mut block = vec![0; 256 << 10];
    let mut got = 0;
    while got < wanted.load(Ordering::SeqCst) {
        got += match output.read(&mut block)? {
            0 => return Err("the console ended".into()),
            count => count as u64,
        };
    }
    Ok(())
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    report::percentile(&values, 0.5)
}
