//! front → [chardev] → back → host: the log file, a copy of all output.

use std::io::IoSlice;

use chardev_core::LogSink;

use super::{Created, FileWriter, could_not, open_target};
use crate::port::Port;

/// Opens the log file `path` for a chardev whose log port is `port`. The file is truncated, if
/// `append` does not forbid it, only once the log goes live.
///
/// Always opened with `O_APPEND`, so that a log may be truncated by whoever rotates it. A FIFO
/// is fine too: it opens without a reader, and output waits while it is full.
///
/// # Errors
/// The cause in QEMU's words.
pub(crate) fn open_log(path: &str, append: bool, port: &Port) -> Result<Box<dyn LogSink>, String> {
    let (target, created) =
        open_target(path, true).map_err(|error| could_not("create", path, error))?;
    let writer = FileWriter::new(target, path, port);
    Ok(Box::new(FileLog {
        writer,
        truncate: !append,
        created,
    }))
}

#[derive(Debug)]
struct FileLog {
    writer: FileWriter,
    truncate: bool,
    created: Option<Created>,
}

impl LogSink for FileLog {
    fn room(&self) -> usize {
        self.writer.room()
    }

    fn push(&mut self, bytes: &[u8]) {
        self.writer.push(&[IoSlice::new(bytes)]);
    }

    fn watch(&mut self) {
        self.writer.watch();
    }

    fn activate(&mut self) {
        self.writer.go_live(self.truncate);
        if let Some(created) = &mut self.created {
            created.keep();
        }
    }
}
