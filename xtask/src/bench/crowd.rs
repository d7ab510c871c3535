//! What a hundred web pages that look at one console cost the daemon, beside a bare loop that sends
//! as many sockets the same frames.

use std::io::{IoSlice, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::lookers::{Crowd, Looker, pages};
use super::site::{Session, Site};
use super::viewers::{lines, wait_for_viewers};
use super::{Programs, report};
use crate::sh::Result;

const MIB: u64 = 1 << 20;
const PAGES: usize = 100;
/// What each is sent.
const SHOWN: u64 = 16 * MIB;
/// So much further than the slowest is what is printed at most, as much as a page may be sent.
const AHEAD: u64 = 256 << 10;
/// What the daemon puts into a frame at most.
const PIECE: usize = 64 << 10;
const WANTED: f64 = 1.2;
/// Nobody is at its back end.
const CONSOLE: &str = "[console.con]\nfrom = 'unix:DIR/source,server=on,wait=off,x-closed=hold'\n\
    to = 'null'\nhistory = '1M'\n";

pub(super) fn table(programs: &Programs, rounds: usize) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let site = Site::start(chardevd, CONSOLE)?;
    let session = site.log_in()?;
    let mut source = site.connect("source")?;
    let gib = (SHOWN * PAGES as u64) as f64 / f64::from(1 << 30);
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        eprintln!("xtask: {PAGES} pages, round {round} of {rounds}");
        ours.push(by_pages(&site, &session, &mut source)?.as_secs_f64() / gib);
        bare.push(by_loop()?.as_secs_f64() / gib);
        ratios.push(ours[round - 1] / bare[round - 1]);
    }
    let ratio = median(ratios);
    let row = |name: &str, costs: Vec<f64>, ratio: f64, kept: String| {
        let cost = format!("{:.3}", median(costs));
        vec![name.to_owned(), cost, format!("{ratio:.2}"), kept]
    };
    let rows = [
        row("a bare loop of frames", bare, 1.0, String::new()),
        row("chardevd", ours, ratio, report::verdict(ratio <= WANTED)),
    ];
    let title = format!("{PAGES} pages that look at one console, median of {rounds} rounds");
    let kept = format!("{WANTED} times kept");
    let header = ["who sends", "CPU s per GiB sent", "the loop = 1", &kept];
    Ok(report::table(&title, &header, &rows))
}

/// The console prints as fast as the slowest page looks.
fn by_pages(site: &Site, session: &Session, source: &mut UnixStream) -> Result<Duration> {
    wait_for_viewers(site, "con", 0)?;
    let crowd = Crowd::start(pages(session, "con", PAGES)?)?;
    let cpu = site.server.exact_cpu()?;
    let block = lines();
    let mut printed = 0;
    while printed < SHOWN {
        crowd.wait_for(printed.saturating_sub(AHEAD))?;
        source.write_all(&block)?;
        printed += block.len() as u64;
    }
    crowd.wait_for(SHOWN)?;
    Ok(site.server.exact_cpu()? - cpu)
}

/// A loop of `writev` sends each socket in turn the same frame: a head, an offset and a piece.
fn by_loop() -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (mut sockets, mut lookers) = (Vec::new(), Vec::new());
    for _ in 0..PAGES {
        let client = TcpStream::connect(listener.local_addr()?)?;
        lookers.push(Looker::page_at(client)?);
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    let crowd = Crowd::start(lookers)?;
    let block = lines();
    let cpu = own_cpu();
    for at in (0..SHOWN).step_by(PIECE) {
        let mut head = vec![0x82, 127];
        head.extend((8 + PIECE as u64).to_be_bytes());
        head.extend(at.to_be_bytes());
        for mut socket in &sockets {
            let mut bufs = [IoSlice::new(&head), IoSlice::new(&block[..PIECE])];
            let mut bufs = &mut bufs[..];
            while !bufs.is_empty() {
                let count = socket.write_vectored(bufs)?;
                IoSlice::advance_slices(&mut bufs, count);
            }
        }
    }
    let cpu = own_cpu() - cpu;
    crowd.wait_for(SHOWN)?;
    Ok(cpu)
}

fn own_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    report::percentile(&values, 0.5)
}
