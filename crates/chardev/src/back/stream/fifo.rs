//! front → chardev → back → [host]: what is special about FIFOs: their writers can be refused, and
//! what nobody has read is kept as long as anybody has them open.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chardev_core::{Drain, Late};
use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{CUT_LIMIT, conditions};
use crate::reactor::FdWatch;

/// How often a writer that is told "nobody reads" may find the moment at which somebody does.
const ATTEMPTS: usize = 256;
/// How often to look whether the reading end is closed: the reactor may hold it for a moment.
const LOOKS: usize = 16;

/// The other end of a FIFO that is read, to be opened while opening may still take its time: with
/// it nothing has to be opened when its writers are refused. Whoever has it finds no end of the
/// input.
pub(super) fn keeper(reader: BorrowedFd<'_>) -> Option<OwnedFd> {
    reopen(reader, OFlags::WRONLY).ok()
}

/// Lets go of a reading end, so that the kernel refuses from here on whoever writes, and returns
/// all that writers were told was taken, with the number of bytes that came too late.
///
/// A FIFO keeps its content without a reader as long as a writer, the `keeper`, has it open. What
/// came between the last read and the end of reading is fetched by opening it again.
pub(super) fn refuse(reader: FdWatch, keeper: Option<OwnedFd>) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let keeper = keeper.or_else(|| self::keeper(reader.fd()));
    fetch(reader.fd(), &mut bytes);
    drop(reader);
    let Some(keeper) = keeper else {
        return (bytes, 0);
    };
    for _ in 0..ATTEMPTS {
        // Where somebody else reads too, perhaps our successor, the rest is for them.
        if !refuses(&keeper) || unread(&keeper) == 0 || bytes.len() >= CUT_LIMIT {
            break;
        }
        let Ok(reader) = reopen(&keeper, OFlags::RDONLY) else {
            break;
        };
        fetch(reader.as_fd(), &mut bytes);
    }
    let left = unread(&keeper);
    let late = left > 0 && refuses(&keeper);
    (bytes, if late { left } else { 0 })
}

/// Whether nobody can read there any more.
fn refuses(keeper: &OwnedFd) -> bool {
    (0..LOOKS).any(|look| {
        if look > 0 {
            std::thread::yield_now();
        }
        conditions(keeper.as_fd()).contains(PollFlags::ERR)
    })
}

/// Another description of the same FIFO, whatever its name is by now.
fn reopen(fd: impl AsFd, access: OFlags) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
    #[expect(
        clippy::disallowed_methods,
        reason = "a FIFO that is open needs no disk"
    )]
    rustix::fs::open(path, flags, Mode::empty())
}

fn unread(fd: impl AsFd) -> usize {
    rustix::io::ioctl_fionread(fd).unwrap_or(0) as usize
}

/// Reads what is there now, and nothing that comes meanwhile.
fn fetch(reader: BorrowedFd<'_>, bytes: &mut Vec<u8>) {
    let mut rest = unread(reader).min(CUT_LIMIT);
    let mut piece = [0; 4096];
    while rest > 0 {
        let most = rest.min(piece.len());
        match rustix::io::read(reader, &mut piece[..most]) {
            Ok(count) if count > 0 => {
                bytes.extend_from_slice(&piece[..count]);
                rest -= count;
            }
            Err(Errno::INTR) => {}
            _ => return,
        }
    }
}

/// A back end that has a FIFO open for output, live or replaced.
pub(super) struct Holder {
    fifo: Inode,
    serial: u64,
}

type Inode = (u64, u64);

/// All holders in this process: their FIFOs, their serial numbers there, and whether they are live.
static HOLDERS: Mutex<Vec<(Inode, u64, bool)>> = Mutex::new(Vec::new());

fn holders() -> MutexGuard<'static, Vec<(Inode, u64, bool)>> {
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Holder {
    /// A live holder of the FIFO `fd`; `None` if the host cannot say which one that is.
    pub(super) fn live(fd: BorrowedFd<'_>) -> Option<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a FIFO that is open needs no disk"
        )]
        let stat = rustix::fs::fstat(fd).ok()?;
        let fifo = (stat.st_dev, stat.st_ino);
        let mut all = holders();
        let same = all.iter().filter(|(inode, ..)| *inode == fifo);
        let serial = same.map(|(_, serial, _)| serial + 1).max().unwrap_or(0);
        all.push((fifo, serial, true));
        Some(Holder { fifo, serial })
    }

    /// Its back end was replaced.
    fn retire(&self) {
        let mut all = holders();
        for (fifo, serial, live) in all.iter_mut() {
            *live &= (*fifo, *serial) != (self.fifo, self.serial);
        }
    }

    /// Whether another one keeps what is in the FIFO, and answers for it.
    fn is_relieved(&self) -> bool {
        let all = holders();
        all.iter().any(|(fifo, serial, live)| {
            *fifo == self.fifo && *serial != self.serial && (*live || *serial > self.serial)
        })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        holders().retain(|(fifo, serial, _)| (*fifo, *serial) != (self.fifo, self.serial));
    }
}

/// The output FIFO of a replaced back end: closing it while nobody else has it open would destroy
/// what its reader has not taken yet. Whether a reader will come cannot be known, so only the
/// limit of the drain ends the wait for one, or another back end on the same FIFO.
pub(super) struct RetiringFifo {
    watch: Option<FdWatch>,
    holder: Option<Holder>,
}

impl RetiringFifo {
    pub(super) fn new(watch: FdWatch, holder: Option<Holder>) -> Self {
        holder.iter().for_each(Holder::retire);
        RetiringFifo {
            watch: Some(watch),
            holder,
        }
    }
}

impl Drain for RetiringFifo {
    fn send(&mut self, bytes: &[u8]) -> usize {
        let fd = self.watch.as_ref().map(FdWatch::fd);
        fd.map_or(0, |fd| rustix::io::write(fd, bytes).unwrap_or(0))
    }

    fn pending(&mut self) -> u64 {
        if self.holder.as_ref().is_some_and(Holder::is_relieved) {
            return 0;
        }
        let fd = self.watch.as_ref().map(FdWatch::fd);
        fd.map_or(0, |fd| unread(fd) as u64)
    }

    /// What is still there after we let go is kept by somebody else and is not lost.
    fn give_up(&mut self) -> u64 {
        let Some(watch) = self.watch.take() else {
            return 0;
        };
        let left = unread(watch.fd());
        let place = reopen(watch.fd(), OFlags::PATH);
        drop(watch);
        let again = place.and_then(|place| reopen(place, OFlags::RDWR));
        left.saturating_sub(again.map_or(0, unread)) as u64
    }
}

/// A drain whose peer was refused with this many bytes too late.
pub(super) struct Refused {
    pub(super) drain: Box<dyn Drain>,
    pub(super) late: usize,
}

impl Drain for Refused {
    fn pending(&mut self) -> u64 {
        self.drain.pending()
    }

    fn progress(&mut self) -> u64 {
        self.drain.progress()
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        match std::mem::take(&mut self.late) {
            0 => self.drain.read_late(buf),
            late => Late::Data(late),
        }
    }

    fn give_up(&mut self) -> u64 {
        self.drain.give_up()
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        self.drain.send(bytes)
    }

    fn half_close(&mut self) {
        self.drain.half_close();
    }
}
