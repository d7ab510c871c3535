//! Where the output of a console comes from: a cursor in its scrollback; where that has been
//! overwritten, its log, if that has an index; and where there is none, a gap with its numbers.

use std::future::poll_fn;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use chardev::{Chardevs, Epoch, Slow, ViewFrom, Viewed, Viewer};
use chardev_logs::{Piece as Logged, Shelf};

use crate::pool::Pool;

/// How long one waits for a log that has yet to be written, and how often.
const LOG_PAUSE: Duration = Duration::from_millis(100);
const LOG_TRIES: u32 = 50;

/// What comes next in a console's output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Some bytes.
    Output(Bytes),
    /// Nobody has what comes before that offset.
    Gap { to: u64 },
    /// The console was removed.
    Removed,
}

/// The output of one life of a console, from an offset on.
pub(crate) struct Source {
    chardevs: Chardevs,
    shelf: Arc<Shelf>,
    id: String,
    epoch: Epoch,
    viewer: Viewer,
    /// What the scrollback does not have any more, and is to be looked for in the log.
    behind: Option<Range<u64>>,
}

impl Source {
    /// That of chardev `id`, from `from` on. `None` if this life of it is over, or has not printed
    /// so much.
    pub(crate) fn open(
        chardevs: &Chardevs,
        shelf: &Arc<Shelf>,
        (id, epoch): (&str, Epoch),
        from: u64,
    ) -> Option<Source> {
        let viewer = chardevs.view(id, ViewFrom::Offset(from), Slow::Skip).ok()?;
        (viewer.epoch() == Some(epoch)).then(|| Source {
            chardevs: chardevs.clone(),
            shelf: Arc::clone(shelf),
            id: id.to_owned(),
            epoch,
            viewer,
            behind: None,
        })
    }

    /// How many bytes there are to come, as of now; they may turn out to be a gap.
    pub(crate) fn available(&self) -> usize {
        let recent = self.viewer.end().saturating_sub(self.viewer.offset());
        let behind = self.behind.as_ref().map_or(0, |it| it.end - it.start);
        usize::try_from(recent + behind).unwrap_or(usize::MAX)
    }

    /// Waits until there is something to read, were it the end.
    ///
    /// # Cancel safety
    /// Nothing is read.
    pub(crate) async fn ready(&self) {
        if self.behind.is_some() {
            return;
        }
        poll_fn(|cx| {
            let mut byte = [0];
            if self.viewer.peek(&mut byte).is_some() {
                return Poll::Ready(());
            }
            self.viewer.wake_when_ready(cx.waker());
            match self.viewer.peek(&mut byte) {
                Some(_) => Poll::Ready(()),
                None => Poll::Pending,
            }
        })
        .await;
    }

    /// What comes next, of output at most `most` bytes; `None` if there is nothing now. Waits for
    /// the disk where the log is asked, which nobody else waits for.
    pub(crate) async fn read(&mut self, most: usize, pool: &Pool) -> Option<Piece> {
        if let Some(behind) = self.behind.clone() {
            return Some(self.read_log(behind, most).await);
        }
        let there = self.viewer.end().saturating_sub(self.viewer.offset());
        let count = usize::try_from(there)
            .unwrap_or(usize::MAX)
            .clamp(1, most.max(1));
        let mut buffer = pool.take(count);
        match self.viewer.read(&mut buffer)? {
            Viewed::Data { count, .. } => {
                buffer.truncate(count);
                Some(Piece::Output(buffer.freeze()))
            }
            Viewed::Gap { from, to } => match self.log() {
                Some(_) => {
                    self.behind = Some(from..to);
                    Some(self.read_log(from..to, most).await)
                }
                None => Some(Piece::Gap { to }),
            },
            Viewed::End(_) => Some(Piece::Removed),
        }
    }

    /// What the log has of a range that the scrollback has not.
    async fn read_log(&mut self, behind: Range<u64>, most: usize) -> Piece {
        let most = usize::try_from(behind.end - behind.start).map_or(most, |it| it.min(most));
        for _ in 0..LOG_TRIES {
            let logged = self.logged(behind.start, most).await;
            // Another life logs to the same file.
            let is_same =
                self.chardevs.details(&self.id).map(|it| it.epoch) == Some(Some(self.epoch));
            let Some(logged) = logged.filter(|_| is_same) else {
                break;
            };
            if logged.bytes.is_empty() {
                // What was printed last is not written yet.
                tokio::time::sleep(LOG_PAUSE).await;
                continue;
            }
            if logged.start > behind.start {
                return self.skip(behind.clone(), logged.start.min(behind.end));
            }
            let next = behind.start + logged.bytes.len() as u64;
            self.behind = (next < behind.end).then_some(next..behind.end);
            return Piece::Output(logged.bytes.into());
        }
        let to = behind.end;
        self.skip(behind, to)
    }

    fn skip(&mut self, behind: Range<u64>, to: u64) -> Piece {
        self.behind = (to < behind.end).then_some(to..behind.end);
        Piece::Gap { to }
    }

    /// A piece of the log; `None` if there is no log, or it cannot be read.
    async fn logged(&self, from: u64, most: usize) -> Option<Logged> {
        let (log, index, count) = self.log()?;
        let shelf = Arc::clone(&self.shelf);
        let read = move || shelf.open(&log, &index, count)?.read(from, most);
        tokio::task::spawn_blocking(read).await.ok()?.ok()
    }

    /// Where the log is, its index, and how many older ones are kept.
    fn log(&self) -> Option<(PathBuf, PathBuf, u32)> {
        let all = self.chardevs.options();
        let (_, options) = all.into_iter().find(|(id, _)| *id == self.id)?;
        let named = |name| {
            let path = options.str(name)?;
            (!path.starts_with("/dev/fdset/")).then(|| Path::new(path).to_owned())
        };
        let count = u32::try_from(options.int("x-logcount").unwrap_or(1)).unwrap_or(0);
        Some((named("logfile")?, named("x-logindex")?, count))
    }
}
