//! `chardevctl watch --fleet` and `chardevctl history --fleet`: what a console of a fleet prints,
//! or has printed, in all its lives.

use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use chardev::text::shown;
use chardev_fleet::reader::Found;
use chardev_fleet::{Blind, Console, Start};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Options;
use super::way::{Way, failure};
use crate::ctl::commands::print_bytes;
use crate::ctl::failure::{Failure, Status};
use crate::ctl::watch::{Args, HistoryArgs};

/// How many messages wait for whoever reads what we print.
const QUEUE: usize = 16;

/// What happens while one reads.
pub(super) enum Event {
    /// Something was found, which the stream was given then, since 1970.
    Found(Found, Duration),
    /// Nobody reads what we print any more.
    Left,
    /// There is nothing more.
    Done(Result<(), Blind>),
}

/// Prints what comes, until nobody reads it.
pub(in crate::ctl) fn watch(
    options: &Options,
    timeout: Option<Duration>,
    args: &Args,
) -> Result<(), Failure> {
    if args.drop {
        let text = "--drop is of no use over a fleet: whoever reads slowly there misses nothing";
        return Err(Failure::new(Status::Usage, text).with_hint("leave it out"));
    }
    let way = Way::open(options, timeout)?;
    let console = way.find(&args.id, timeout)?;
    let from = match args.from_start {
        true => Start::Oldest,
        false => args.from.map_or(Start::BeforeEnd(0), start),
    };
    // The one it begins in is said to programs only.
    let mut life = (!args.from_start && !args.framed).then_some(console.epoch);
    read(way, console, from, true, |found| {
        let epoch = epoch_of(&found);
        let mut text = match life.replace(epoch) {
            Some(before) if before == epoch => Vec::new(),
            None if !args.framed => Vec::new(),
            _ => begun(args, epoch),
        };
        match found {
            Found::Output { offset, bytes, .. } => {
                if args.framed {
                    text.extend(format!("data {offset} {}\n", bytes.len()).into_bytes());
                }
                text.extend_from_slice(&bytes);
            }
            Found::Gap { from, to, .. } => text.extend(gap(args, from, to)),
            Found::End { offset, .. } => text.extend(ended(args, offset)),
        }
        print_bytes(&text)
    })
}

/// Prints what the stream has, up to what is its end now.
pub(in crate::ctl) fn history(
    options: &Options,
    timeout: Option<Duration>,
    args: &HistoryArgs,
) -> Result<(), Failure> {
    let way = Way::open(options, timeout)?;
    let console = way.find(&args.id, timeout)?;
    let from = args.from.map_or(Start::Oldest, start);
    read(way, console, from, false, |found| match found {
        Found::Output { bytes, .. } => print_bytes(&bytes),
        Found::Gap {
            from, to, epoch, ..
        } => {
            // Who cannot hear it still gets what there is.
            let _ = writeln!(
                io::stderr(),
                "chardevctl: {} bytes are not in the stream, offset {from} to {to} of life {epoch}",
                to.saturating_sub(from)
            );
            Ok(true)
        }
        Found::End { .. } => Ok(true),
    })
}

/// What `--from` says.
fn start(from: i64) -> Start {
    match u64::try_from(from) {
        Ok(offset) => Start::Offset(offset),
        Err(_) => Start::BeforeEnd(from.unsigned_abs()),
    }
}

pub(super) fn epoch_of(found: &Found) -> chardev::Epoch {
    match found {
        Found::Output { epoch, .. } | Found::Gap { epoch, .. } | Found::End { epoch, .. } => *epoch,
    }
}

/// How a viewer is told that another life begins.
fn begun(args: &Args, epoch: chardev::Epoch) -> Vec<u8> {
    match args.framed {
        true => format!("life {epoch}\n"),
        false => begun_anew(&args.id),
    }
    .into_bytes()
}

/// How people are told that.
pub(super) fn begun_anew(id: &str) -> String {
    format!("\r\n[chardev {}: it was begun anew]\r\n", shown(id))
}

/// How a viewer is told of a gap, as by a daemon.
fn gap(args: &Args, from: u64, to: u64) -> Vec<u8> {
    let count = to.saturating_sub(from);
    match args.framed {
        true => format!("gap {from} {to}\n"),
        false => format!(
            "\r\n[chardev {}: {count} bytes are missing here, offset {from} to {to}]\r\n",
            shown(&args.id)
        ),
    }
    .into_bytes()
}

/// How a viewer is told that nothing more comes in this life.
fn ended(args: &Args, offset: u64) -> Vec<u8> {
    match args.framed {
        true => "end removed\n".to_owned(),
        false => format!(
            "\r\n[chardev {}: it has ended at offset {offset}]\r\n",
            shown(&args.id)
        ),
    }
    .into_bytes()
}

/// Hands on what is found until `each` says that it is enough.
fn read(
    way: Way,
    console: Console,
    from: Start,
    is_followed: bool,
    mut each: impl FnMut(Found) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let (mut events, left) = begin(way, console, from, is_followed)?;
    spawn("reader", move || wait_for_leave(&left, Event::Left))?;
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Found(found, _) => {
                if !each(found)? {
                    break;
                }
            }
            Event::Left => break,
            Event::Done(done) => return done.map_err(|blind| failure(&blind)),
        }
    }
    Ok(())
}

/// Begins to read; others may say something there, too. The servers are answered by a thread of its
/// own, so that they wait for nobody who reads what we print.
pub(super) fn begin(
    way: Way,
    console: Console,
    from: Start,
    is_followed: bool,
) -> Result<(Receiver<Event>, Sender<Event>), Failure> {
    let (sender, events) = channel(QUEUE);
    let others = sender.clone();
    let reading = move || {
        let Way { runtime, look } = way;
        runtime.block_on(async {
            let each = async |found, given| sender.send(Event::Found(found, given)).await.is_ok();
            let done = look.read(&console, from, is_followed, each).await;
            // It fails where nobody reads any more.
            let _ = sender.send(Event::Done(done)).await;
        });
        runtime.shutdown_background();
    };
    spawn("fleet", reading)?;
    Ok((events, others))
}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    let started = started.map_err(|error| format!("no thread: {error}"));
    Ok(started.map(drop)?)
}

/// Says when nobody reads what we print any more.
pub(super) fn wait_for_leave<T>(left: &Sender<T>, news: T) {
    let stdout = io::stdout();
    let poll = || poll(&mut [PollFd::new(&stdout, PollFlags::empty())], None);
    while poll() == Err(Errno::INTR) {}
    // It fails where nothing is read any more.
    let _ = left.blocking_send(news);
}
