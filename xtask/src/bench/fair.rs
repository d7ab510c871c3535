//! What each gets of the daemon when all want as much as they can get: a thousand relays whose
//! senders never rest, and how much the slowest passes on beside the mean.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::relay::BLOCK;
use super::relays::Relays;
use super::{Programs, report};
use crate::sh::Result;

const RELAYS: usize = 1000;
/// How long they go on before it counts, since each has to have passed on ten mebibytes or so until
/// it is known to go on like that, and has its thread; and then.
const WARM_UP: Duration = Duration::from_secs(10);
const COUNTED: Duration = Duration::from_secs(6);
/// What the slowest is to have of the mean.
const WANTED: f64 = 0.5;

pub(super) fn table(programs: &Programs) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    let pieces = [("100 bytes", 100), ("4 KiB", 4096), ("256 KiB", BLOCK)];
    let mut rows = Vec::new();
    for (name, piece) in pieces {
        eprintln!("xtask: {RELAYS} relays of pieces of {name}");
        let mut shares = measure(chardevd, piece)?;
        shares.sort_by(f64::total_cmp);
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        let slowest = shares.first().map_or(0.0, |share| share / mean);
        let fastest = shares.last().map_or(0.0, |share| share / mean);
        rows.push(vec![
            format!("pieces of {name}"),
            format!("{:.1}", mean * RELAYS as f64 / 1e6),
            format!("{slowest:.2}"),
            format!("{fastest:.2}"),
            report::verdict(slowest >= WANTED),
        ]);
    }
    let title = format!(
        "{RELAYS} relays that are all busy, for {} s",
        COUNTED.as_secs()
    );
    let header = [
        "what is sent",
        "MB/s in all",
        "the slowest, mean = 1",
        "the fastest, mean = 1",
        &format!("the slowest has {WANTED}"),
    ];
    Ok(report::table(&title, &header, &rows))
}

/// How many bytes each relay has passed on in a second.
fn measure(chardevd: &Path, piece: usize) -> Result<Vec<f64>> {
    let relays = Relays::start(Command::new(chardevd), RELAYS)?;
    let (inputs, outputs) = (&relays.inputs, &relays.outputs);
    for end in inputs.iter().chain(outputs) {
        end.set_nonblocking(true)?;
    }
    let counts: Vec<AtomicU64> = outputs.iter().map(|_| AtomicU64::new(0)).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let feeding = scope.spawn(|| feed(inputs, piece, &is_over).map_err(|e| e.to_string()));
        let taking = scope.spawn(|| take(outputs, &counts, &is_over).map_err(|e| e.to_string()));
        let now = || counts.iter().map(|count| count.load(Ordering::Relaxed));
        thread::sleep(WARM_UP);
        let (began, before) = (Instant::now(), now().collect::<Vec<_>>());
        thread::sleep(COUNTED);
        let after: Vec<u64> = now().collect();
        let seconds = began.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        for work in [feeding, taking] {
            work.join().map_err(|_| "a thread panicked")??;
        }
        let both = before.iter().zip(after);
        Ok(both
            .map(|(before, after)| (after - before) as f64 / seconds)
            .collect())
    })
}

/// Sends to each that has room a piece, in turn.
fn feed(inputs: &[UnixStream], piece: usize, is_over: &AtomicBool) -> Result {
    let piece = vec![b'x'; piece];
    in_turn(inputs, PollFlags::OUT, is_over, |_, mut input| {
        input.write(&piece).map(drop)
    })
}

/// Takes from each what has come, in turn.
fn take(outputs: &[UnixStream], counts: &[AtomicU64], is_over: &AtomicBool) -> Result {
    let mut buffer = vec![0; BLOCK];
    in_turn(outputs, PollFlags::IN, is_over, |at, mut output| {
        let count = output.read(&mut buffer)?;
        counts[at].fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    })
}

fn in_turn(
    all: &[UnixStream],
    ready: PollFlags,
    is_over: &AtomicBool,
    mut serve: impl FnMut(usize, &UnixStream) -> std::io::Result<()>,
) -> Result {
    let mut polled: Vec<_> = all.iter().map(|one| PollFd::new(one, ready)).collect();
    let limit = Timespec::try_from(Duration::from_millis(100))?;
    while !is_over.load(Ordering::Relaxed) {
        poll(&mut polled, Some(&limit))?;
        for (at, one) in all.iter().enumerate() {
            if polled[at].revents().is_empty() {
                continue;
            }
            match serve(at, one) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}
