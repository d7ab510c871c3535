//! front → [chardev] → back → host: the log file, a copy of all output.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use chardev_core::spec::{Expected, OptionValue, Options, ParameterError, Problem};
use chardev_core::{Landmark, LogControl, LogSink, OpenError};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::leftover::clear_beside;
use super::rotation::{LogFile, RotationLimit};
use super::{Created, FileWriter, Target, Writing, could_not, open_target};
use crate::back::{Access, FDSET, FdSource, open_set};
use crate::port::Port;

/// The smallest size at which a log is rotated, and the most old files.
const MIN_SIZE: i64 = 4096;
const MAX_COUNT: i64 = 1000;

/// Opens the log that `options` name, if any, for a chardev whose log port is `port`. The file is
/// truncated, if `logappend` does not forbid it, only once the log goes live.
///
/// Always opened with `O_APPEND`, so that a log may be truncated by whoever rotates it. A FIFO
/// is fine too: it opens without a reader, and holds what comes before one. So is a descriptor
/// from a set of `fds`, but it has no name: it is not rotated by renaming, and not reopened.
///
/// # Errors
/// The cause in QEMU's words.
pub(crate) fn open_log(
    options: &Options,
    fds: &dyn FdSource,
    port: &Port,
) -> Result<Option<Box<dyn LogSink>>, OpenError> {
    let limit = limit(options)?;
    let Some(path) = options.str("logfile") else {
        let of_no_use = ["x-logsize", "x-logcount", "x-logindex"];
        return match of_no_use
            .into_iter()
            .find(|name| options.get(name).is_some())
        {
            None => Ok(None),
            Some(name) => Err(needs(name, "a log", "logfile").into()),
        };
    };
    let append = options.bool_or("logappend", false);
    let renames = limit.is_some_and(|limit| limit.count > 0);
    if let Some(path) = [Some(path), options.str("x-logindex")]
        .into_iter()
        .flatten()
        .find(|path| renames && path.starts_with(FDSET))
    {
        let text = format!(
            "Log file '{path}' cannot be renamed; add 'x-logcount=0' to empty it \
             at its limit"
        );
        return Err(OpenError::new(text).about(path));
    }
    let open = |path: &str, place: &Path| match open_set(path, Access::Write, true, fds) {
        Some(given) => match given.and_then(Target::of) {
            Ok(target) => Ok((target, None)),
            Err(error) => Err(no_descriptor(path, append, error)),
        },
        None => open_target(place, true).map_err(|error| could_not("create", path, error)),
    };
    let place = options.path("logfile").unwrap_or_default();
    let (target, created) = open(path, &place)?;
    let mut index_created = None;
    let index = match options.str("x-logindex") {
        None => None,
        Some(index) => {
            let place = options.path("x-logindex").unwrap_or_default();
            let (target, created) = open(index, &place)?;
            index_created = created;
            Some((place, target.fd))
        }
    };
    if renames {
        let index = index.as_ref().map(|(path, _)| path);
        [Some(&place), index]
            .into_iter()
            .flatten()
            .for_each(|path| clear_beside(path));
    }
    let log = LogFile::new(&place, limit, index, !append);
    Ok(Some(Box::new(FileLog {
        writer: FileWriter::of_log(target, log, port),
        truncate: !append,
        created: [created, index_created].into_iter().flatten().collect(),
    })))
}

/// Why a set has no descriptor for a log, in QEMU's words.
fn no_descriptor(path: &str, append: bool, error: Errno) -> OpenError {
    let mode = if append {
        OFlags::APPEND
    } else {
        OFlags::TRUNC
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | mode;
    let text = match error {
        Errno::INVAL => format!("Could not parse fdset {path}"),
        Errno::NOENT => format!("Failed to find fdset {path}"),
        Errno::ACCESS => format!(
            "Failed to find file descriptor with matching flags={:#x}",
            flags.bits()
        ),
        other => return could_not("create", path, other),
    };
    let error = std::io::Error::from(error);
    OpenError::new(text).about(path).because(error)
}

/// Option `name` is of no use without `what`, which the option `other` brings.
fn needs(name: &str, what: &str, other: &str) -> ParameterError {
    let words = format!("Parameter '{name}' needs {what}; add '{other}'");
    ParameterError::new(name, Problem::Conflict).shown_as(words)
}

fn limit(options: &Options) -> Result<Option<RotationLimit>, ParameterError> {
    let within = |name: &str, least: i64, most: i64| match options.get(name) {
        Some(OptionValue::Int(value)) if (least..=most).contains(value) => Ok(Some(*value)),
        None => Ok(None),
        Some(_) => Err(ParameterError::expects(name, Expected::Range(least, most))),
    };
    let size = within("x-logsize", MIN_SIZE, i64::MAX)?;
    let count = within("x-logcount", 0, MAX_COUNT)?;
    match (size, count) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(needs("x-logcount", "a size", "x-logsize")),
        (Some(size), count) => Ok(Some(RotationLimit {
            size: size.unsigned_abs(),
            count: count.unwrap_or(1).unsigned_abs() as u32,
        })),
    }
}

#[derive(Debug)]
struct FileLog {
    writer: FileWriter,
    truncate: bool,
    created: Vec<Created>,
}

impl LogSink for FileLog {
    fn room(&self) -> usize {
        self.writer.shared.log_room()
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        self.writer.push(&[IoSlice::new(bytes)])
    }

    fn is_prompt(&self) -> bool {
        self.writer.shared.is_prompt()
    }

    fn skip(&mut self, bytes: u64) {
        self.writer.shared.skip(bytes);
    }

    fn go_on(&mut self) {
        self.writer.shared.go_on();
    }

    fn trouble(&self) -> Option<String> {
        self.writer.shared.trouble()
    }

    fn watch(&mut self) {
        self.writer.watch();
    }

    fn note(&mut self, landmark: &Landmark) -> Option<bool> {
        self.writer.shared.note(landmark)
    }

    fn pending(&self) -> u64 {
        self.writer.pending()
    }

    fn begin_at(&mut self, offset: u64) {
        self.writer.shared.begin_at(offset);
    }

    fn activate(&mut self) {
        self.writer.go_live(self.truncate);
        self.created.iter_mut().for_each(Created::keep);
    }

    fn control(&self) -> Option<Arc<dyn LogControl>> {
        let shared = &self.writer.shared;
        let named = shared.log.as_ref().is_some_and(LogFile::has_name);
        named.then(|| Arc::new(Control(Arc::clone(shared))) as Arc<dyn LogControl>)
    }
}

struct Control(Arc<Writing>);

impl LogControl for Control {
    fn reopen(&self) -> Result<(), OpenError> {
        self.0.reopen()
    }
}
