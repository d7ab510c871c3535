//! `chardevctl play --fleet`: what a console of a fleet has printed, as it happened.

use std::time::Duration;

use chardev_fleet::Start;
use chardev_fleet::reader::Found;
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use tokio::sync::mpsc::Receiver;

use super::Options;
use super::output::{Event, begin, begun_anew, epoch_of, spawn};
use super::way::{Way, failure};
use crate::ctl::failure::{Failure, Status};
use crate::ctl::play::{self, Args, From, Moment, Recording};

/// Plays what the stream has of it, up to what is its end now.
pub(in crate::ctl) fn play(
    options: &Options,
    timeout: Option<Duration>,
    args: &Args,
    written: &str,
) -> Result<(), Failure> {
    if args.index.is_some() {
        let text = "--index is of no use over a fleet: times are in the stream";
        return Err(Failure::new(Status::Usage, text).with_hint("leave it out"));
    }
    let way = Way::open(options, timeout)?;
    let console = way.find(written, timeout)?;
    let from = match args.from {
        Some(From::Offset(offset)) => Start::Offset(offset),
        Some(From::Time(_)) | None => Start::Oldest,
    };
    let (events, left) = begin(way, console, from, false)?;
    let mut signals = Signals::new([SIGINT]).map_err(|error| format!("signals: {error}"))?;
    // Who plays looks for Ctrl-C between two moments, and may wait for a server instead.
    spawn("signals", move || {
        if signals.forever().next().is_some() {
            // It fails where nothing is played any more.
            let _ = left.blocking_send(Event::Left);
        }
    })?;
    play::show_as_it_happened(args, &mut Played::new(events, written.to_owned()))
}

/// What is played, as it comes.
struct Played {
    events: Receiver<Event>,
    name: String,
    /// When the first of it happened.
    began: Option<Duration>,
    epoch: Option<chardev::Epoch>,
    /// What happened before that is left out.
    from: Duration,
}

impl Played {
    fn new(events: Receiver<Event>, name: String) -> Played {
        Played {
            events,
            name,
            began: None,
            epoch: None,
            from: Duration::ZERO,
        }
    }

    /// What is shown of it: also where something is missing, or another life begins.
    fn moment(&mut self, found: Found, time: Duration) -> Moment {
        let epoch = epoch_of(&found);
        let begun = match self.epoch.replace(epoch) {
            Some(before) if before != epoch => begun_anew(&self.name),
            _ => String::new(),
        };
        let mut text = begun.into_bytes();
        let offset = match found {
            Found::Output { offset, bytes, .. } => {
                text.extend_from_slice(&bytes);
                offset
            }
            Found::Gap { from, to, .. } => {
                let count = to.saturating_sub(from);
                text.extend(format!("\r\n[{count} bytes are missing in the stream]\r\n").bytes());
                from
            }
            Found::End { offset, .. } => offset,
        };
        Moment {
            time,
            offset,
            bytes: text,
        }
    }
}

impl Recording for Played {
    fn next(&mut self) -> Result<Option<Moment>, Failure> {
        while let Some(event) = self.events.blocking_recv() {
            let (found, given) = match event {
                Event::Found(found, given) => (found, given),
                Event::Left => return Ok(None),
                Event::Done(done) => return done.map(|()| None).map_err(|blind| failure(&blind)),
            };
            let time = given.saturating_sub(*self.began.get_or_insert(given));
            let moment = self.moment(found, time);
            if time >= self.from {
                return Ok(Some(moment));
            }
        }
        Ok(None)
    }

    fn seek(&mut self, from: From) -> Result<(), Failure> {
        if let From::Time(time) = from {
            self.from = time;
        }
        Ok(())
    }
}
