//! `chardevctl logs`: where a console's log is, its last lines, and what its index has marked.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chardev::text::{shown, shown_path, to_path};
use chardev_core::LandmarkKind;
use chardev_logs::Book;
use chardev_qapi::{Json, Object};
use rustix::event::{PollFd, PollFlags, poll};

use super::commands::{print, print_bytes};
use super::complete;
use super::connect::{Address, Target};
use super::failure::Failure;
use super::suggest::execute;
use super::time::utc;
use super::waiting::timespec;

/// How often to look whether a log has grown.
const LOOK: Duration = Duration::from_millis(200);
/// How much of a log is looked at from its end at a time.
const PIECE: u64 = 64 << 10;

/// Says where a console's log is, and prints its last lines
///
/// The log is a file on the daemon's machine; with --follow it is followed when it is rotated, too.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The chardev
    #[arg(add = complete::ids())]
    pub(super) id: String,
    /// So many lines
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: usize,
    /// Go on as the log grows, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only print where the log and its index are
    #[arg(long, conflicts_with_all = ["lines", "follow"])]
    path: bool,
    /// Print what the index has of marks, changes of the back end and holes, with their offsets
    #[arg(long, conflicts_with_all = ["lines", "follow", "path"])]
    marks: bool,
}

/// The files of a log.
struct Place {
    log: PathBuf,
    index: Option<PathBuf>,
    /// How many older ones there may be.
    count: u32,
}

/// Prints what is asked for.
pub(super) fn run(target: &Target, args: &Args) -> Result<(), Failure> {
    let place = find(target, &args.id)?;
    if matches!(target.address, Address::Fleet(_)) && !args.path {
        return Err(elsewhere(&place.log));
    }
    if args.marks {
        return print(&marks(&args.id, &place)?);
    }
    let Place { log, index, .. } = place;
    if args.path {
        let paths = [Some(log), index].into_iter().flatten();
        return print(
            &paths
                .map(|path| format!("{}\n", shown_path(&path)))
                .collect::<String>(),
        );
    }
    let place = shown_path(&log);
    // Who cannot hear it has the lines all the same.
    let _ = match &index {
        Some(index) => writeln!(io::stderr(), "==> {place} (index: {})", shown_path(index)),
        None => writeln!(io::stderr(), "==> {place}"),
    };
    let failed = |error: io::Error| Failure::from(format!("{}: {error}", shown_path(&log)));
    let mut file = File::open(&log).map_err(failed)?;
    seek_lines(&mut file, args.lines).map_err(failed)?;
    loop {
        let mut bytes = Vec::new();
        let count = (&mut file).take(PIECE).read_to_end(&mut bytes);
        if count.map_err(failed)? > 0 {
            if !print_bytes(&bytes)? {
                return Ok(());
            }
            continue;
        }
        if !args.follow || !is_read()? {
            return Ok(());
        }
        // What was rotated has been read to its end.
        if let Some(new) = replaced(&file, &log).map_err(failed)? {
            file = new;
        }
    }
}

/// What is said of a log that no one here can read.
fn elsewhere(log: &Path) -> Failure {
    let place = shown_path(log);
    Failure::from(format!("the log is on the host: {place}")).with_hint(
        "'chardevctl history' with the same --fleet prints what the console has printed; --path says where its log is",
    )
}

/// A line for each mark, change and hole, in their order.
fn marks(id: &str, place: &Place) -> Result<String, Failure> {
    let Some(index) = &place.index else {
        let id = shown(id);
        return Err(format!("{id} has no index, which would have its marks\nadd x-logindex=PATH to its back end with 'chardevctl change'").into());
    };
    let failed = |error: io::Error| Failure::from(format!("{}: {error}", shown_path(index)));
    let book = Book::open(&place.log, index, place.count).map_err(failed)?;
    let holes = book.holes().map(|(from, to)| {
        let words = format!("{} bytes are missing", to - from);
        (from, None, words)
    });
    let landmarks = book.landmarks().map(|landmark| {
        let words = match &landmark.what {
            LandmarkKind::Mark { text, by } => format!("mark {text} (by {by})"),
            LandmarkKind::Change { to } => format!("change to {to}"),
        };
        (landmark.offset, Some(landmark.time), words)
    });
    let mut all: Vec<_> = landmarks.chain(holes).collect();
    all.sort_by_key(|(offset, ..)| *offset);
    let line = |(offset, time, words): &(u64, Option<Duration>, String)| {
        let time = time.map_or("-".to_owned(), utc);
        format!("{offset:>12}  {time:<24}  {}\n", shown(words))
    };
    Ok(all.iter().map(line).collect())
}

/// The log of chardev `id`, and its index.
fn find(target: &Target, id: &str) -> Result<Place, Failure> {
    let mut monitor = target.connect()?;
    // For the error, if there is no such chardev.
    let named = Object::new().with("id", id);
    execute(target, &mut monitor, id, "x-query-chardev-stats", named)?;
    let all = execute(target, &mut monitor, id, "x-export", Object::new())?;
    let directory = all.get("directory").and_then(Json::as_str);
    let directory = directory.map(|directory| to_path(directory, None));
    let chardevs = all.get("chardevs").and_then(Json::as_array);
    let mut chardevs = chardevs.unwrap_or_default().iter();
    let own = chardevs.find(|one| one.get("id").and_then(Json::as_str) == Some(id));
    let data = own.and_then(|own| own.get("backend")?.get("data"));
    let path = |name| {
        let path = to_path(data?.get(name)?.as_str()?, None);
        Some(match &directory {
            Some(directory) => directory.join(path),
            None => path,
        })
    };
    let count = data.and_then(|data| data.get("x-logcount")?.as_u64());
    match path("logfile") {
        Some(log) => Ok(Place {
            log,
            index: path("x-logindex"),
            count: u32::try_from(count.unwrap_or(1)).unwrap_or(u32::MAX),
        }),
        None => Err(format!(
            "{} has no log\nadd logfile=PATH to its back end with 'chardevctl change'; 'chardevctl history' prints what is kept in memory",
            shown(id)
        )
        .into()),
    }
}

/// Goes to where the last `count` lines begin.
fn seek_lines(file: &mut File, count: usize) -> io::Result<()> {
    let end = file.metadata()?.len();
    let (mut start, mut found) = (end, 0);
    while start > 0 {
        let piece = start.min(PIECE);
        start -= piece;
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(piece).read_to_end(&mut bytes)?;
        for (at, byte) in bytes.iter().enumerate().rev() {
            let place = start + at as u64 + 1;
            // The end of the last line begins no other.
            if *byte == b'\n' && place < end {
                found += 1;
                if found == count {
                    file.seek(SeekFrom::Start(place))?;
                    return Ok(());
                }
            }
        }
    }
    file.seek(SeekFrom::Start(if count == 0 { end } else { 0 }))?;
    Ok(())
}

/// The file that is at `path` now, if it is another one or begins anew.
fn replaced(file: &File, path: &Path) -> io::Result<Option<File>> {
    let name = |found: &Metadata| (found.dev(), found.ino());
    let old = file.metadata()?;
    let new = match std::fs::metadata(path) {
        Ok(new) => new,
        // Between two renamings.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut at = file;
    let is_cut = new.len() < at.stream_position()?;
    match name(&old) != name(&new) || is_cut {
        true => File::open(path).map(Some),
        false => Ok(None),
    }
}

/// Waits a moment; `false` if nobody reads what we print any more.
fn is_read() -> Result<bool, Failure> {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut fds, Some(&timespec(LOOK))) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) => Err(format!("poll: {error}").into()),
    }
}
