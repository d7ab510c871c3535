//! `chardevctl record`: a console's output with its times, as an asciicast.
//!
//! What happens beside the output (another size of the terminal, a marker) is told with an offset,
//! and goes before the byte at that offset.

mod cast;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use chardev::text::{shown, shown_path};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Event;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::attach::Reason;
use super::complete;
use super::connect::{Monitor, Target};
use super::failure::{Failure, Status};
use super::frames::{Frame, Frames};
use super::suggest::execute;
use super::watch::view;
use cast::{Cast, Kind};

/// Records a console's output to a file in the format asciicast v3, for 'chardevctl play' and
/// asciinema
///
/// Sizes of the terminal and markers (chardevctl mark) are recorded too. It goes on until Ctrl-C,
/// or until the chardev is removed. Every event is written whole: where the disk is full, the
/// recording ends after the last one that fitted, and says so.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The chardev
    #[arg(add = complete::ids())]
    pub(super) id: String,
    /// The file to write, which must not be there yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
    /// Begin with output from this offset on; if negative, that many bytes before the end
    /// [default: now]
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
    from: Option<i64>,
}

/// Sets a marker in a console's output, for those who record it or are attached.
pub(super) fn mark(target: &Target, id: &str, text: &str) -> Result<(), Failure> {
    let mut monitor = target.connect()?;
    let arguments = Object::new().with("id", id).with("text", text);
    let answer = execute(target, &mut monitor, id, "x-chardev-mark", arguments)?;
    if let Some(missing) = not_indexed(&answer) {
        let _ = writeln!(std::io::stderr(), "chardevctl: {missing}");
    }
    Ok(())
}

/// What is to be said of a marker that the index of the log has no room for.
pub(super) fn not_indexed(answer: &Json) -> Option<String> {
    let answer = answer.as_object()?;
    if answer.get("indexed")?.as_bool()? {
        return None;
    }
    let offset = answer.get("offset")?.as_u64()?;
    Some(format!(
        "the marker is at offset {offset}, but not in the index of the log, which has no room: rotate the log, \
         or see whether its disk takes anything"
    ))
}

/// Records until the chardev is gone.
pub(super) fn run(target: &Target, args: &Args) -> Result<(), Failure> {
    let mut monitor = target.private(|_| Ok(()))?;
    let failed = |error| target.failed(&error);
    let events = Object::new().with("enable", true);
    monitor
        .execute("x-chardev-events", events)
        .map_err(failed)?;
    let (viewer, offset) = view(target, &mut monitor, &args.id, args.from, false)?;
    viewer
        .set_nonblocking(true)
        .map_err(|error| format!("socket pair: {error}"))?;
    let size = size(target, &mut monitor, &args.id)?;
    let cast = Cast::create(&args.output, args.overwrite, &args.id, size)?;
    let mut recorder = Recorder {
        id: args.id.clone(),
        frames: Frames::default(),
        offset,
        waiting: VecDeque::new(),
        cast,
    };
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!(
            "chardevctl: recording {} to {}; Ctrl-C ends it\n",
            shown(&args.id),
            shown_path(&args.output)
        )
        .as_bytes(),
    );
    let ended = recorder.record(&viewer, &mut monitor);
    let told = recorder.cast.told();
    // Who cannot hear it has the file all the same.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("chardevctl: {}: {told}\n", shown_path(&args.output)).as_bytes(),
    );
    ended
}

/// The size of the console's terminal, as far as that is known.
fn size(target: &Target, monitor: &mut Monitor, id: &str) -> Result<Option<(u64, u64)>, Failure> {
    let arguments = Object::new().with("id", id);
    let stats = execute(target, monitor, id, "x-query-chardev-stats", arguments)?;
    let size = stats.as_array().and_then(|all| all.first()?.get("size"));
    Ok(size.and_then(size_of))
}

fn size_of(data: &Json) -> Option<(u64, u64)> {
    Some((data.get("cols")?.as_u64()?, data.get("rows")?.as_u64()?))
}

struct Recorder {
    id: String,
    frames: Frames,
    /// That of the next byte.
    offset: u64,
    /// What goes before a byte that has not come yet, by its offset.
    waiting: VecDeque<(u64, Kind, String)>,
    cast: Cast,
}

impl Recorder {
    fn record(&mut self, viewer: &UnixStream, monitor: &mut Monitor) -> Result<(), Failure> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let heard = wait(viewer, monitor)?;
            if heard {
                self.hear(monitor)?;
            }
            let mut viewer = viewer;
            match viewer.read(&mut buffer) {
                Ok(0) => return Err(self.gone()),
                Ok(count) => {
                    if self.take(&buffer[..count])? {
                        return Ok(());
                    }
                }
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {}
                Err(_) => return Err(self.gone()),
            }
        }
    }

    fn gone(&self) -> Failure {
        let id = shown(&self.id);
        Failure::new(Status::NoDaemon, format!("{id}: the daemon is gone"))
    }

    fn hear(&mut self, monitor: &mut Monitor) -> Result<(), Failure> {
        let event = monitor.next_event().map_err(|_| self.gone())?;
        self.take_event(&event)?;
        for event in monitor.take_events() {
            self.take_event(&event)?;
        }
        Ok(())
    }

    fn take_event(&mut self, event: &Event) -> Result<(), Failure> {
        if event.data.get("id").and_then(Json::as_str) != Some(&self.id) {
            return match Reason::of_event(event, &self.id) {
                Some(Reason::Daemon) => Err(self.gone()),
                _ => Ok(()),
            };
        }
        let offset = event.data.get("offset").and_then(Json::as_u64);
        let happened = match event.name.as_str() {
            "X_CHARDEV_RESIZED" => {
                size_of(&event.data).map(|(cols, rows)| (Kind::Resize, format!("{cols}x{rows}")))
            }
            "X_CHARDEV_MARKED" => {
                let text = event.data.get("text").and_then(Json::as_str);
                text.map(|text| (Kind::Marker, text.to_owned()))
            }
            _ => None,
        };
        if let (Some(offset), Some((kind, text))) = (offset, happened) {
            self.waiting.push_back((offset, kind, text));
            self.put_due()?;
        }
        Ok(())
    }

    /// What happened no later than the next byte.
    fn put_due(&mut self) -> Result<(), Failure> {
        while self.waiting.front().is_some_and(|it| it.0 <= self.offset) {
            if let Some((_, kind, text)) = self.waiting.pop_front() {
                self.cast.put(Instant::now(), kind, &text)?;
            }
        }
        Ok(())
    }

    /// Takes what a viewer is sent; whether it has ended.
    fn take(&mut self, mut bytes: &[u8]) -> Result<bool, Failure> {
        while let Some(frame) = self.frames.next(&mut bytes)? {
            match frame {
                Frame::Data(mut data) => {
                    while !data.is_empty() {
                        self.put_due()?;
                        let next = self.waiting.front().map_or(u64::MAX, |it| it.0);
                        let count = usize::try_from(next - self.offset).unwrap_or(usize::MAX);
                        let (now, later) = data.split_at(count.min(data.len()));
                        self.cast.output(Instant::now(), now)?;
                        self.offset += now.len() as u64;
                        data = later;
                    }
                    self.put_due()?;
                }
                Frame::Gap(from, to) => {
                    let text = format!("{} bytes are missing here", to.saturating_sub(from));
                    self.cast.put(Instant::now(), Kind::Marker, &text)?;
                    self.offset = to;
                    self.put_due()?;
                }
                Frame::TooSlow(_) | Frame::Removed | Frame::Revoked => return Ok(true),
            }
        }
        Ok(false)
    }
}

/// Waits for output or an event; whether there is an event.
fn wait(viewer: &UnixStream, monitor: &Monitor) -> Result<bool, Failure> {
    loop {
        let mut fds = [
            PollFd::new(viewer, PollFlags::IN),
            PollFd::new(monitor.stream(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) => return Ok(!fds[1].revents().is_empty()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(format!("poll: {error}").into()),
        }
    }
}
