//! `chardevctl play`: shows a recording, or a log that has an index, as it happened.

mod cast;
mod log;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chardev::text::shown_path;
use signal_hook::consts::SIGINT;

use super::attach::Modes;
use super::commands::print_bytes;
use super::complete;
use super::failure::Failure;
use super::time::parse_span;

/// The longest sleep before Ctrl-C is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Plays an asciicast (v2 or v3), or the log of a console that has an index (x-logindex); with
/// --fleet what a console has printed, as the stream was given it
///
/// What comes before --from in an asciicast is shown at once. Ctrl-C ends it and leaves the
/// terminal as it was.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The recording, or the log; with --fleet HOST/CONSOLE
    #[arg(add = complete::recordings())]
    pub(super) file: PathBuf,
    /// The index of the log [default: FILE.index or FILE.idx, or as FILE with this ending]
    #[arg(long, value_name = "FILE")]
    pub(super) index: Option<PathBuf>,
    /// So many times as fast
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = parse_speed)]
    speed: f64,
    /// Begin at this time (seconds, M:SS or H:MM:SS after the beginning), or at the output byte
    /// @OFFSET
    #[arg(long, value_name = "TIME|@OFFSET", value_parser = parse_from)]
    pub(super) from: Option<From>,
    /// Make no pause longer than this
    #[arg(long, value_name = "SECONDS", value_parser = parse_span)]
    idle_limit: Option<Duration>,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// So long after the beginning.
    Time(Duration),
    /// With this byte of the output.
    Offset(u64),
}

/// What happened at a time.
#[derive(Debug)]
pub(super) struct Moment {
    /// Since the beginning.
    pub(super) time: Duration,
    /// The offset of the first byte.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// A recording, one moment after the other.
pub(super) trait Recording {
    /// The next; none at the end.
    fn next(&mut self) -> Result<Option<Moment>, Failure>;

    /// Goes to where it begins, if what is before that is of no use.
    fn seek(&mut self, _from: From) -> Result<(), Failure> {
        Ok(())
    }
}

impl Args {
    /// Whether what is to be played is taken for a file, where a fleet is at hand as well.
    pub(super) fn is_for_a_file(&self) -> bool {
        let is_console = self.file.to_str().is_some_and(|it| it.contains('/'));
        !is_console || self.file.exists()
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok();
    let speed = speed.filter(|speed: &f64| *speed > 0.0 && speed.is_finite());
    speed.ok_or_else(|| "give a number above 0, such as 2 or 0.5".to_owned())
}

fn parse_from(text: &str) -> Result<From, String> {
    match text.strip_prefix('@') {
        Some(offset) => {
            let offset = offset
                .parse()
                .map_err(|_| format!("'{text}' is no offset, such as @4096"));
            offset.map(From::Offset)
        }
        None => parse_span(text).map(From::Time),
    }
}

/// Plays the file.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    show_as_it_happened(args, open(args)?.as_mut())
}

/// Plays `recording`, until its end or Ctrl-C.
pub(super) fn show_as_it_happened(
    args: &Args,
    recording: &mut dyn Recording,
) -> Result<(), Failure> {
    let stopped = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&stopped))
        .map_err(|error| format!("signals: {error}"))?;
    if let Some(from) = args.from {
        recording.seek(from)?;
    }
    let mut modes = io::stdout().is_terminal().then(Modes::default);
    let played = play(args, recording, &stopped, &mut modes);
    if let Some(modes) = modes {
        let mut rest = modes.rest();
        rest.extend_from_slice(b"\r\n");
        // Whoever has left does not mind.
        let _ = io::stdout().write_all(&rest);
    }
    played
}

fn open(args: &Args) -> Result<Box<dyn Recording>, Failure> {
    if let Some(cast) = cast::Cast::open(&args.file)? {
        return Ok(Box::new(cast));
    }
    let named = |ending: &str| {
        let mut name = args.file.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let instead = |ending| args.file.with_extension(ending);
    let beside = [
        named(".index"),
        named(".idx"),
        instead("index"),
        instead("idx"),
    ];
    let index = args.index.clone();
    let index = index.or_else(|| beside.into_iter().find(|path| path.is_file()));
    let Some(index) = index else {
        return Err(format!(
            "{} is no asciicast, and no index is beside it\nname a log's index, which the option x-logindex of its chardev writes, with --index FILE",
            shown_path(&args.file)
        )
        .into());
    };
    Ok(Box::new(log::Log::open(&args.file, &index)?))
}

fn play(
    args: &Args,
    recording: &mut dyn Recording,
    stopped: &AtomicBool,
    modes: &mut Option<Modes>,
) -> Result<(), Failure> {
    let mut before: Option<Duration> = None;
    let mut due = Instant::now();
    while let Some(moment) = recording.next()? {
        let mut bytes = &moment.bytes[..];
        let at_once = match args.from {
            Some(From::Time(time)) => moment.time < time,
            Some(From::Offset(offset)) => {
                let end = moment.offset + bytes.len() as u64;
                if moment.offset < offset && offset < end {
                    // What is before it of this moment is shown at once, too.
                    let count = usize::try_from(offset - moment.offset).unwrap_or(usize::MAX);
                    show(modes, &bytes[..count])?;
                    bytes = &bytes[count..];
                }
                end <= offset
            }
            None => false,
        };
        if !at_once {
            let pause = before.map_or(Duration::ZERO, |before| moment.time.saturating_sub(before));
            let pause = args.idle_limit.map_or(pause, |limit| pause.min(limit));
            // Times add up, so that what is slow to show is made up for.
            due += pause.div_f64(args.speed);
            if !sleep(due, stopped) {
                return Ok(());
            }
            before = Some(moment.time);
        }
        if stopped.load(Ordering::Relaxed) || !show(modes, bytes)? {
            return Ok(());
        }
        if at_once {
            due = Instant::now();
        }
    }
    Ok(())
}

fn show(modes: &mut Option<Modes>, bytes: &[u8]) -> Result<bool, Failure> {
    if let Some(modes) = modes {
        modes.follow(bytes);
    }
    print_bytes(bytes)
}

/// Waits until `due`; `false` if it is to end.
fn sleep(due: Instant, stopped: &AtomicBool) -> bool {
    loop {
        if stopped.load(Ordering::Relaxed) {
            return false;
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// What is wrong at a line of a file.
fn wrong(path: &Path, line: u64, what: impl std::fmt::Display) -> Failure {
    format!("{}, line {line}: {what}", shown_path(path)).into()
}
