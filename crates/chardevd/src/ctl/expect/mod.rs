//! `chardevctl expect`: waits for output of a console that matches, and answers it.
//!
//! Output is known by its absolute offset. A call begins where it is told to, and says where its
//! last match ended, so nothing is missed between two calls.

mod scan;
mod source;
mod steps;

use std::time::{Duration, Instant};

use chardev::text::shown;
use chardev_qapi::{Json, Object};

use super::commands::print;
use super::complete;
use super::connect::Target;
use super::failure::{Failure, Status};
use super::keys;
use super::progress::Progress;
use super::send::{Typist, parse_pace};
use scan::{Found, Scanner};
use source::Source;
use steps::{Pattern, Step, Steps};

/// Waits until a console's output matches a pattern; several patterns must match one after the
/// other
///
/// Each match is printed as 'OFFSET MATCH', where OFFSET is that of the byte after it: with it as
/// --from, the next call misses nothing. A pattern is a regular expression; ^ and $ match at the
/// ends of lines, and what counts is the output so far, so end '[0-9]+' with what comes after it.
/// A match is at most 64 KiB long. Without --timeout it waits for as long as it takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "chardevctl expect [OPTIONS] <ID> <PATTERN> [--send TEXT] [PATTERN [--send TEXT]]…",
    after_help = keys::HELP
)]
pub(super) struct Args {
    /// The chardev
    #[arg(add = complete::ids())]
    pub(super) id: String,
    /// Start at this absolute offset; if negative, up to that many bytes before the end; 'oldest'
    /// for all that is kept [default: now]
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true, value_parser = parse_from)]
    from: Option<i64>,
    /// Patterns are plain text
    #[arg(short = 'F', long)]
    fixed: bool,
    /// Pause for this long after each byte that is sent
    #[arg(long, value_name = "MS", value_parser = parse_pace)]
    pace: Option<Duration>,
    /// Print a JSON object for each match: pattern, offset, next, match, groups
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    steps: Steps,
}

fn parse_from(text: &str) -> Result<i64, String> {
    match text {
        "oldest" => Ok(i64::MIN),
        text => text
            .parse()
            .map_err(|_| "give an offset, a negative number, or 'oldest'".to_owned()),
    }
}

/// Takes the steps that `args` name.
pub(super) fn run(target: &Target, args: &Args) -> Result<(), Failure> {
    let usage = |error| Failure::new(Status::Usage, error);
    let steps = args.steps.read(args.fixed).map_err(usage)?;
    let monitor = target.private(|_| Ok(()))?;
    let (mut source, offset) = Source::open(target, &args.id, args.from)?;
    let mut scanner = Scanner::new(offset);
    let mut typist = Typist::new(target, &args.id, args.pace, monitor);
    for step in &steps {
        match step {
            Step::Send(keys) => {
                source.check_reader()?;
                typist.send(keys)?;
            }
            Step::Wait(pattern) => {
                let found = wait(target, args, &mut source, &mut scanner, pattern)?;
                print(&told(args, pattern, &found))?;
            }
        }
    }
    Ok(())
}

fn wait(
    target: &Target,
    args: &Args,
    source: &mut Source,
    scanner: &mut Scanner,
    pattern: &Pattern,
) -> Result<Found, Failure> {
    let from = scanner.offset();
    let mut progress = Progress::begin();
    loop {
        if let Some(found) = scanner.find(&pattern.regex) {
            return Ok(found);
        }
        progress.tell(|| {
            let (id, seen) = (&args.id, scanner.end() - from);
            let tail = String::from_utf8_lossy(scanner.tail()).into_owned();
            format!(
                "{id}: waiting for '{}' ({seen} bytes so far: {tail})",
                pattern.text
            )
        });
        let left = target.time_left();
        let look = [left, progress.next()].into_iter().flatten().min();
        let until = look.map(|look| Instant::now() + look);
        if !source.read(until, scanner)? && left.is_some_and(|left| left.is_zero()) {
            return Err(too_late(target, args, scanner, pattern, from));
        }
    }
}

fn too_late(
    target: &Target,
    args: &Args,
    scanner: &Scanner,
    pattern: &Pattern,
    from: u64,
) -> Failure {
    let (id, end) = (shown(&args.id), scanner.end());
    let timeout = target.timeout().unwrap_or_default().as_secs_f64();
    let pattern = shown(&pattern.text);
    let seen = match end == from {
        true => format!("there was no output after offset {from}"),
        false => {
            let tail = scanner.tail();
            let tail = shown(String::from_utf8_lossy(tail));
            format!("the output from offset {from} to {end} ends in '{tail}'")
        }
    };
    let text = format!("{id}: nothing matched '{pattern}' within {timeout} s (--timeout); {seen}");
    Failure::new(Status::TimedOut, text)
}

fn told(args: &Args, pattern: &Pattern, found: &Found) -> String {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    if !args.json {
        return format!("{} {}\n", found.next, shown(text(&found.text)));
    }
    let groups = found.groups.iter().map(|group| match group {
        Some(group) => Json::from(text(group)),
        None => Json::Null,
    });
    let all = Object::new()
        .with("pattern", pattern.text.as_str())
        .with("offset", found.offset)
        .with("next", found.next)
        .with("match", text(&found.text))
        .with("groups", groups.collect::<Vec<_>>());
    format!("{}\n", Json::Object(all))
}
