//! `chardevctl watch` and `chardevctl history`: a console's output, without being its peer.

use std::io::{self, Read, Write as _};
use std::os::unix::net::UnixStream;

use chardev::text::shown;
use chardev_qapi::{Json, Object};
use chardev_qmp::ringbuf::{Format, decode};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::commands::print_bytes;
use super::complete;
use super::connect::{Monitor, Target};
use super::failure::{Failure, Status};
use super::frames::{Frame, Frames};
use super::suggest::{self, execute};

/// The name under which the daemon is given our descriptor.
const FDNAME: &str = "chardevctl-watch";

/// Prints a chardev's output as it arrives, without disturbing its peer
///
/// It continues across changes of the back end and ends when the chardev is removed. A viewer that
/// is too slow misses output, and a line says so. With --fleet, ID is HOST/CONSOLE; it waits for a
/// host that has gone away, misses nothing, and a line says where a console was begun anew.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The chardev
    #[arg(add = complete::ids())]
    pub(super) id: String,
    /// Start at this absolute offset; if negative, that many bytes before the end [default: now]
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
    pub(super) from: Option<i64>,
    /// Start with the first byte; with --fleet, with the oldest that the stream has
    #[arg(long, conflicts_with = "from")]
    pub(super) from_start: bool,
    /// Print offsets too: "data OFFSET COUNT", a newline and COUNT bytes; "gap FROM TO"; "end
    /// REASON"; with --fleet also "life EPOCH", before what is printed in each
    #[arg(long)]
    pub(super) framed: bool,
    /// Exit when too slow to keep up, instead of skipping output
    #[arg(long)]
    pub(super) drop: bool,
}

/// Prints the output that has been kept for a chardev
///
/// Output is kept while somebody is watching, and always with the option x-history. With --fleet,
/// ID is HOST/CONSOLE, and it is what the stream has: of all lives of the console, unless --from
/// says where in the newest, and also while its host is down.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct HistoryArgs {
    /// The chardev
    #[arg(add = complete::ids())]
    pub(super) id: String,
    /// Start at this absolute offset; if negative, that many bytes before the end [default: the
    /// oldest byte kept]
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
    pub(super) from: Option<i64>,
}

/// Watches until the chardev is removed, or nobody reads what we print.
pub(super) fn watch(target: &Target, args: &Args) -> Result<(), Failure> {
    let mut stream = attach(target, args)?;
    let gone = || {
        Failure::new(
            Status::NoDaemon,
            format!("{}: the daemon is gone", shown(&args.id)),
        )
    };
    let mut frames = Frames::default();
    let mut buf = vec![0; 64 << 10];
    while has_reader(&stream)? {
        let count = match stream.read(&mut buf) {
            Ok(0) => return Err(gone()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Err(gone()),
        };
        if args.framed && !print_bytes(&buf[..count])? {
            return Ok(());
        }
        let mut rest = &buf[..count];
        while let Some(frame) = frames.next(&mut rest)? {
            if !show(args, frame)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Prints a frame; `false` when the reader has left.
fn show(args: &Args, frame: Frame<'_>) -> Result<bool, Failure> {
    let id = shown(&args.id);
    match frame {
        Frame::Removed => Err(Failure::new(Status::Removed, format!("{id} was removed"))),
        Frame::TooSlow(behind) => {
            let text = format!("{id}: too slow, {behind} bytes behind, so the viewer was ended");
            Err(text.into())
        }
        Frame::Revoked => Err(revoked(&args.id)),
        _ if args.framed => Ok(true),
        Frame::Data(bytes) => print_bytes(bytes),
        Frame::Gap(from, to) => {
            let count = to.saturating_sub(from);
            let text = format!(
                "\r\n[chardev {id}: {count} bytes are missing here, offset {from} to {to}]\r\n"
            );
            print_bytes(text.as_bytes())
        }
    }
}

/// What a viewer is told that may not look any more.
pub(super) fn revoked(id: &str) -> Failure {
    format!("{}: you may not look at it any more", shown(id)).into()
}

/// Waits for output, for as long as somebody reads what we print.
fn has_reader(stream: &UnixStream) -> Result<bool, Failure> {
    let stdout = io::stdout();
    loop {
        let mut fds = [
            PollFd::new(stream, PollFlags::IN),
            PollFd::new(&stdout, PollFlags::empty()),
        ];
        match poll(&mut fds, None) {
            Ok(_) if !fds[1].revents().is_empty() => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(format!("poll: {error}").into()),
        }
    }
}

/// Prints what is kept, up to the end there is at the last request.
pub(super) fn history(target: &Target, args: &HistoryArgs) -> Result<(), Failure> {
    let mut from = args.from;
    loop {
        let mut arguments = Object::new().with("id", args.id.as_str());
        if let Some(from) = from {
            arguments.insert("from", from);
        }
        // Whoever reads what we print may take their time; the monitor is for others meanwhile.
        let piece = ask(target, &mut target.connect()?, &args.id, arguments)?;
        if from.is_some_and(|from| from >= 0 && from < piece.start) {
            let missing = piece.start - from.unwrap_or(piece.start);
            // Who cannot hear it still gets what there is.
            let _ = writeln!(
                io::stderr(),
                "chardevctl: the first {missing} bytes are no longer kept"
            );
        }
        if !print_bytes(&piece.bytes)? || piece.next >= piece.end {
            return Ok(());
        }
        from = Some(piece.next);
    }
}

struct Piece {
    bytes: Vec<u8>,
    start: i64,
    next: i64,
    end: i64,
}

fn ask(
    target: &Target,
    monitor: &mut Monitor,
    id: &str,
    arguments: Object,
) -> Result<Piece, Failure> {
    let arguments = arguments
        .with("format", "base64")
        .with("size", 256u32 << 10);
    let answer = execute(target, monitor, id, "x-chardev-history", arguments)?;
    let number = |name| {
        let number = answer.get(name).and_then(Json::as_u64);
        number.and_then(|number| i64::try_from(number).ok())
    };
    let contents = answer.get("contents").and_then(Json::as_str);
    match (contents, number("start"), number("next"), number("end")) {
        (Some(text), Some(start), Some(next), Some(end)) => Ok(Piece {
            bytes: decode(text, Format::Base64)?,
            start,
            next,
            end,
        }),
        _ => Err(format!("not an answer to x-chardev-history: {answer}").into()),
    }
}

/// Gives one end of a socket pair to the daemon and returns the other.
fn attach(target: &Target, args: &Args) -> Result<UnixStream, Failure> {
    let mut monitor = target.connect()?;
    let from = args.from.or(args.from_start.then_some(0));
    let viewed = view(target, &mut monitor, &args.id, from, args.drop);
    Ok(viewed?.0)
}

/// Makes us a viewer of chardev `id` over `monitor`: what the
/// [`Frames`] come from, and the offset at which they begin.
///
/// # Errors
/// There is no such chardev, or the offset has not been reached.
pub(super) fn view(
    target: &Target,
    monitor: &mut Monitor,
    id: &str,
    from: Option<i64>,
    drop_when_slow: bool,
) -> Result<(UnixStream, u64), Failure> {
    let ours = target.stream_as(FDNAME, monitor, false)?;
    let fdname = || Object::new().with("fdname", FDNAME);
    let mut arguments = fdname()
        .with("id", id)
        .with("framed", true)
        .with("slow", if drop_when_slow { "drop" } else { "skip" });
    if let Some(from) = from {
        arguments.insert("from", from);
    }
    match monitor.execute("x-chardev-watch", arguments) {
        Ok(answer) => {
            let offset = answer.get("offset").and_then(Json::as_u64);
            Ok((ours, offset.unwrap_or(0)))
        }
        Err(error) => {
            let _ = monitor.execute("closefd", fdname());
            Err(suggest::failed(target, monitor, id, &error))
        }
    }
}
