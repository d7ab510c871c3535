//! `chardevctl send`: types to a console beside whoever is there.

use std::time::{Duration, Instant};

use chardev::text::shown;
use chardev_qapi::{Json, Object};
use chardev_qmp::ringbuf::{Format, encode};

use super::commands::print;
use super::complete;
use super::connect::{Monitor, Target};
use super::failure::{Failure, Status};
use super::keys::{self, Key};
use super::progress::Progress;
use super::suggest::execute;

/// How long the front end may go without reading.
const WAIT: Duration = Duration::from_secs(10);
/// How long one request waits, so that the daemon is not taken for one that does not answer.
const LOOK: Duration = Duration::from_millis(500);
/// Less time than this is none.
const TICK: Duration = Duration::from_millis(10);
/// The most bytes of one request.
const PIECE: usize = 16 << 10;

/// Types to a console beside whoever is connected to it, whose own typing is not lost
///
/// It ends when the front end has read everything, and prints the offset at which the console's
/// output was before: 'chardevctl expect ID --from OFFSET' then misses nothing of the answer.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = keys::HELP)]
pub(super) struct Args {
    /// The chardev
    #[arg(add = complete::ids())]
    pub(super) id: String,
    /// What to type, with escapes such as \r; several are joined by spaces
    #[arg(required = true, allow_hyphen_values = true)]
    text: Vec<String>,
    /// Pause for this long after each byte, for consoles that lose what comes too fast
    #[arg(long, value_name = "MS", value_parser = parse_pace)]
    pace: Option<Duration>,
    /// Print JSON: {"offset": …, "sent": …}
    #[arg(long)]
    json: bool,
}

/// Reads the option `--pace`.
pub(super) fn parse_pace(text: &str) -> Result<Duration, String> {
    let pause = text
        .parse()
        .ok()
        .filter(|pause| (0..=60_000).contains(pause));
    let pause = pause.map(Duration::from_millis);
    pause.ok_or_else(|| "give milliseconds, from 0 to 60000".to_owned())
}

/// Sends what `args` say.
pub(super) fn run(target: &Target, args: &Args) -> Result<(), Failure> {
    let keys = keys::parse(&args.text.join(" "));
    let keys = keys.map_err(|error| Failure::new(Status::Usage, error))?;
    let mut typist = Typist::new(target, &args.id, args.pace, target.private(|_| Ok(()))?);
    let sent = typist.send(&keys)?;
    let (offset, count) = (sent.offset, sent.count);
    print(&match args.json {
        true => {
            let all = Object::new().with("offset", offset).with("sent", count);
            format!("{}\n", Json::Object(all))
        }
        false => format!("{offset} sent {count} bytes\n"),
    })
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SentText {
    /// Where the console's output was before it.
    pub(super) offset: u64,
    /// How many bytes the front end has read.
    pub(super) count: u64,
}

/// Somebody who types to a chardev.
pub(super) struct Typist<'a> {
    target: &'a Target,
    id: &'a str,
    pace: Option<Duration>,
    monitor: Monitor,
}

impl<'a> Typist<'a> {
    /// Types over `monitor`.
    pub(super) fn new(
        target: &'a Target,
        id: &'a str,
        pace: Option<Duration>,
        monitor: Monitor,
    ) -> Self {
        Typist {
            target,
            id,
            pace,
            monitor,
        }
    }

    /// Types `keys`, and waits until the front end has read them.
    ///
    /// # Errors
    /// There is no such chardev, or its front end does not read; then what waits is said.
    pub(super) fn send(&mut self, keys: &[Key]) -> Result<SentText, Failure> {
        let mut sent = SentText {
            offset: self.offset()?,
            count: 0,
        };
        let all: usize = keys.iter().map(|key| key.text().len()).sum();
        let mut progress = Progress::begin();
        for key in keys {
            match key {
                Key::Break => self.send_break()?,
                Key::Text(bytes) => {
                    let size = self.pace.map_or(usize::MAX, |_| 1);
                    for piece in bytes.chunks(size) {
                        self.type_bytes(piece, (sent.count, all), &mut progress)?;
                        sent.count += piece.len() as u64;
                        let (id, count) = (self.id, sent.count);
                        progress.tell(|| format!("{id}: {count} of {all} bytes sent"));
                        self.pace.into_iter().for_each(std::thread::sleep);
                    }
                }
            }
        }
        Ok(sent)
    }

    /// Where the console's output is now.
    fn offset(&mut self) -> Result<u64, Failure> {
        let answer = self.ask(&[], Duration::ZERO)?;
        Ok(answer.get("offset").and_then(Json::as_u64).unwrap_or(0))
    }

    fn send_break(&mut self) -> Result<(), Failure> {
        let (monitor, id) = (&mut self.monitor, Object::new().with("id", self.id));
        execute(self.target, monitor, self.id, "chardev-send-break", id).map(drop)
    }

    /// Types `bytes`, for as long as the front end reads.
    fn type_bytes(
        &mut self,
        bytes: &[u8],
        (before_it, all): (u64, usize),
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let (mut rest, mut before) = (bytes, u64::MAX);
        let mut since = Instant::now();
        // Before the time-out of the connection itself, which could not say what waits.
        let until = self.target.time_left().map(|left| since + left * 9 / 10);
        loop {
            let left = WAIT.saturating_sub(since.elapsed());
            let time = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = time.map_or(left, |time| time.min(left));
            let piece = &rest[..rest.len().min(PIECE)];
            let answer = self.ask(piece, left.min(LOOK))?;
            let number = |name| answer.get(name).and_then(Json::as_u64).unwrap_or(0);
            let waiting = number("waiting");
            let queued = usize::try_from(number("queued")).unwrap_or(usize::MAX);
            rest = &rest[queued.min(rest.len())..];
            if rest.is_empty() && waiting == 0 {
                return Ok(());
            }
            if queued > 0 || waiting < before {
                since = Instant::now();
            }
            progress.tell(|| {
                let done = before_it + (bytes.len() - rest.len()) as u64;
                format!(
                    "{}: {done} of {all} bytes sent, {waiting} not read yet",
                    self.id
                )
            });
            before = waiting;
            if left < TICK {
                return Err(self.not_read(waiting, rest.len()));
            }
        }
    }

    fn ask(&mut self, bytes: &[u8], wait: Duration) -> Result<Json, Failure> {
        let arguments = Object::new()
            .with("id", self.id)
            .with("data", encode(bytes.to_vec().into(), Format::Base64))
            .with("format", "base64")
            .with("wait-ms", u64::try_from(wait.as_millis()).unwrap_or(0));
        let monitor = &mut self.monitor;
        execute(self.target, monitor, self.id, "x-chardev-send", arguments)
    }

    fn not_read(&self, waiting: u64, left: usize) -> Failure {
        let id = shown(self.id);
        let mut text =
            format!("{id}: {waiting} bytes are queued that its front end has not read in time");
        if left > 0 {
            text += &format!("; for another {left} there was no room, so they were not sent");
        }
        text += "\n'chardevctl list' shows whether anything is connected behind it";
        Failure::new(Status::TimedOut, text)
    }
}
