//! front → chardev → back → [host]: one descriptor, and what the kernel knows of who waits for it.
//!
//! Whoever waits gets one report, but the kernel is not always told so for each. A reader on the
//! I/O thread that takes what is there and waits again does so before the kernel is asked for the
//! next time. So what it waits for stays armed in the kernel (*standing*), and arming it again
//! costs no system call:
//!
//! ```text
//!           arm                        report
//!   spent ───────▶ armed once ───────────────────────▶ spent
//!           arm, to read, on the I/O thread
//!   spent ───────▶ standing ──▶ report ──▶ arm ──▶ report …
//!                                  └──▶ report: nobody has come for the first, so not told
//!   armed once ◀──────────────────────────┘
//! ```
//!
//! A reader that does not keep up costs one report that nobody is told, and is armed once the next
//! time. Writing stands in no case: a descriptor that can be written would be reported for ever.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev_core::Ready;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use super::Reactor;
use crate::offload::is_io_thread;
use crate::port::Port;

/// Tokens are not given twice, since a descriptor moves from one reactor to another with its own.
static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

/// One descriptor under watch; dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct FdWatch(Arc<Watched>);

/// What can be watched.
pub(crate) trait Descriptor: AsFd + std::fmt::Debug + Send + Sync {}
impl<T: AsFd + std::fmt::Debug + Send + Sync> Descriptor for T {}

/// What a [`FdWatch`] shares with its reactor and with the home of its chardev.
#[derive(Debug)]
pub(crate) struct Watched {
    token: u64,
    fd: Arc<dyn Descriptor>,
    port: Port,
    state: Mutex<Arming>,
}

#[derive(Debug)]
struct Arming {
    /// Where it is registered.
    reactor: Arc<Reactor>,
    /// What is waited for, and was not reported since.
    asked: Ready,
    kernel: Kernel,
    /// A hang-up was reported: the kernel would go on reporting it with whatever is armed.
    hung_up: bool,
    /// Its reader did not keep up the last time.
    lags: bool,
    /// It is watched no more, so it must not be registered anywhere again.
    ended: bool,
}

/// What the kernel reports besides a hang-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    /// Nothing: it has reported.
    Spent,
    /// What is asked for, once.
    Once,
    /// This, as long as it is so.
    Standing(Ready),
}

/// What becomes of a report of the kernel's.
pub(super) struct Fired {
    /// It is told.
    pub(super) news: bool,
    /// There is something that has not fired yet, which is to be armed again soon.
    pub(super) rest: bool,
}

impl FdWatch {
    /// Registers `fd`. Nothing is armed but its hang-up, which the kernel reports once
    /// uncalled-for. Regular files are refused by the kernel (`EPERM`).
    pub(crate) fn new(port: &Port, fd: Arc<impl Descriptor + 'static>) -> io::Result<Self> {
        let reactor = port.reactor();
        let watched = Arc::new(Watched {
            token: NEXT_TOKEN.fetch_add(1, Ordering::Relaxed),
            fd,
            port: port.clone(),
            state: Mutex::new(Arming {
                reactor: Arc::clone(reactor),
                asked: Ready::empty(),
                kernel: Kernel::Once,
                hung_up: false,
                lags: false,
                ended: false,
            }),
        });
        watched.register(reactor)?;
        port.home().has_watch(&watched);
        // Its chardev may just have moved.
        watched.go_home();
        Ok(FdWatch(watched))
    }

    /// Asks for one report of each of `interest`, on top of what is armed already. Where a hang-up
    /// was reported there is nothing to wait for until somebody comes back: reads and writes say at
    /// once what there is.
    ///
    /// May be called from any thread, also under the chardev's lock.
    pub(crate) fn arm(&self, interest: Ready) {
        let mut state = self.0.lock();
        if state.ended || state.asked.contains(interest) {
            return;
        }
        if state.hung_up && is_hung_up(self.fd()) {
            return;
        }
        state.hung_up = false;
        state.asked |= interest;
        // What is there by now is reported when the kernel is asked for the next time.
        if !matches!(state.kernel, Kernel::Standing(known) if known.contains(state.asked)) {
            self.0.tell_kernel(&mut state);
        }
    }

    /// Ends the watch while the descriptor is still used: nothing more is reported.
    pub(crate) fn end(&self) {
        let mut state = self.0.lock();
        if !std::mem::replace(&mut state.ended, true) {
            self.0.forget(&state.reactor);
        }
    }

    /// The descriptor under watch.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl Drop for FdWatch {
    fn drop(&mut self) {
        self.end();
        self.0.port.home().has_no_watch(&self.0);
    }
}

impl Watched {
    pub(super) fn port(&self) -> &Port {
        &self.port
    }

    /// Goes to where its chardev has moved. What the old reactor is about to report is reported as
    /// well: somebody looks once more, which is no harm. Where it cannot be registered it stays.
    pub(crate) fn go_home(self: &Arc<Self>) {
        let mut state = self.lock();
        let reactor = self.port.reactor();
        let is_there = state.ended || Arc::ptr_eq(reactor, &state.reactor);
        if is_there || self.register(reactor).is_err() {
            return;
        }
        let old = std::mem::replace(&mut state.reactor, Arc::clone(reactor));
        self.forget(&old);
        if !state.asked.is_empty() {
            self.tell_kernel(&mut state);
        } else if state.kernel != Kernel::Spent {
            state.kernel = Kernel::Once;
        }
    }

    /// Has nothing but its hang-up reported there.
    fn register(self: &Arc<Self>, reactor: &Reactor) -> io::Result<()> {
        epoll::add(
            &reactor.epoll,
            self.fd.as_fd(),
            epoll::EventData::new_u64(self.token),
            epoll::EventFlags::ONESHOT,
        )?;
        reactor.watches().insert(self.token, Arc::downgrade(self));
        Ok(())
    }

    fn forget(&self, reactor: &Reactor) {
        let _ = epoll::delete(&reactor.epoll, self.fd.as_fd());
        reactor.watches().remove(&self.token);
    }

    fn lock(&self) -> MutexGuard<'_, Arming> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel has reported `ready`. A hang-up fires everything.
    pub(super) fn fired(&self, ready: Ready, hung_up: bool) -> Fired {
        let mut state = self.lock();
        let hangs_up = ready.contains(Ready::HANGUP);
        let stood = matches!(state.kernel, Kernel::Standing(_));
        let told_before = state.asked.is_empty() && state.hung_up;
        let nobody_came = stood && !hangs_up && !state.asked.contains(Ready::READ);
        state.hung_up |= hung_up;
        state.asked -= ready;
        state.lags |= nobody_came;
        if !stood {
            state.kernel = Kernel::Spent;
        } else if hangs_up || nobody_came {
            self.tell_kernel(&mut state);
        }
        Fired {
            news: !nobody_came && !told_before,
            rest: state.kernel == Kernel::Spent && !state.asked.is_empty(),
        }
    }

    /// Arms what has not fired, unless somebody has armed more since.
    pub(super) fn arm_rest(&self) {
        let mut state = self.lock();
        if state.kernel == Kernel::Spent && !state.asked.is_empty() {
            self.tell_kernel(&mut state);
        }
    }

    /// Tells the kernel what is asked for. It reports what `Ready::GONE` means with whatever else
    /// is armed, or nothing else.
    fn tell_kernel(&self, state: &mut Arming) {
        let asked = state.asked;
        let mut flags = epoll::EventFlags::empty();
        if asked.contains(Ready::READ) {
            flags |= epoll::EventFlags::IN;
        }
        if asked.contains(Ready::WRITE) {
            flags |= epoll::EventFlags::OUT;
        }
        if asked.contains(Ready::HANGUP) {
            flags |= epoll::EventFlags::RDHUP;
        }
        let reads = asked.contains(Ready::READ) && !asked.contains(Ready::WRITE);
        if reads && is_io_thread() && !state.lags {
            state.kernel = Kernel::Standing(asked);
        } else {
            state.kernel = Kernel::Once;
            state.lags &= !reads;
            flags |= epoll::EventFlags::ONESHOT;
        }
        let _ = epoll::modify(
            &state.reactor.epoll,
            self.fd.as_fd(),
            epoll::EventData::new_u64(self.token),
            flags,
        );
    }
}

fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may wait")]
mod tests {
    use std::io::Write;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::Chardevs;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// A watch that nobody listens to, and the other end of what it watches.
    struct Bed {
        _chardevs: Chardevs,
        port: Port,
        watch: Arc<FdWatch>,
        fd: Arc<OwnedFd>,
        peer: UnixStream,
    }

    impl Bed {
        fn new() -> Self {
            let chardevs = Chardevs::new().unwrap();
            let port = Port::of(chardevs.shared(), "watched");
            let (ours, peer) = UnixStream::pair().unwrap();
            let fd = Arc::new(OwnedFd::from(ours));
            let watch = Arc::new(FdWatch::new(&port, Arc::clone(&fd)).unwrap());
            Bed {
                _chardevs: chardevs,
                port,
                watch,
                fd,
                peer,
            }
        }

        fn arm_on_the_io_thread(&self, interest: Ready) {
            let (done, armed) = channel();
            let watch = Arc::clone(&self.watch);
            self.port.run(async move {
                watch.arm(interest);
                let _ = done.send(());
            });
            armed.recv_timeout(DEADLINE).unwrap();
        }

        /// What the kernel reports of it.
        fn known(&self) -> epoll::EventFlags {
            let epoll = self.port.reactor().epoll.as_raw_fd();
            #[expect(clippy::disallowed_methods, reason = "this file is on no disk")]
            let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).unwrap();
            let number = self.fd.as_raw_fd().to_string();
            let events = text.lines().find_map(|line| {
                let mut words = line.strip_prefix("tfd:")?.split_whitespace();
                (words.next()? == number).then(|| words.nth(1).unwrap().to_owned())
            });
            epoll::EventFlags::from_bits_retain(u32::from_str_radix(&events.unwrap(), 16).unwrap())
        }

        fn wait_for(&self, what: &str, found: impl Fn(&Self) -> bool) {
            let began = Instant::now();
            while !found(self) {
                assert!(began.elapsed() < DEADLINE, "{what}: {:?}", self.known());
                std::thread::yield_now();
            }
        }

        /// Writes until the peer's buffer is full.
        fn fill(&self) {
            rustix::io::ioctl_fionbio(&*self.fd, true).unwrap();
            while rustix::io::write(&*self.fd, &[0; 4096]).is_ok() {}
        }

        fn reports(&self) -> u64 {
            self.port.reactor().reports()
        }
    }

    #[test]
    fn only_a_reader_on_the_io_thread_stays_armed() {
        let bed = Bed::new();
        bed.watch.arm(Ready::READ);
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        assert!(bed.known().contains(once), "{:?}", bed.known());
        let bed = Bed::new();
        bed.arm_on_the_io_thread(Ready::READ | Ready::HANGUP);
        assert!(
            bed.known()
                .contains(epoll::EventFlags::IN | epoll::EventFlags::RDHUP)
        );
        assert!(!bed.known().contains(epoll::EventFlags::ONESHOT));
        // Where there is room it is told at once, and what is left is a reader's.
        let bed = Bed::new();
        bed.fill();
        bed.arm_on_the_io_thread(Ready::READ | Ready::WRITE);
        assert!(bed.known().contains(epoll::EventFlags::ONESHOT));
    }

    #[test]
    fn a_reader_that_does_not_come_is_not_reported_again_and_again() {
        let mut bed = Bed::new();
        let before = bed.reports();
        bed.arm_on_the_io_thread(Ready::READ | Ready::HANGUP);
        bed.peer.write_all(b"x").unwrap();
        let silent = |bed: &Bed| !bed.known().contains(epoll::EventFlags::IN);
        bed.wait_for("the second report ends it", silent);
        assert_eq!(bed.reports() - before, 2);
        // The byte is still there, so whoever comes at last is told at once.
        bed.arm_on_the_io_thread(Ready::READ);
        bed.wait_for("a report", |bed| bed.reports() - before == 3);
        bed.wait_for("nothing is armed but the hang-up", silent);
    }

    #[test]
    fn a_hang_up_of_a_standing_watch_is_reported_no_more() {
        let bed = Bed::new();
        bed.arm_on_the_io_thread(Ready::READ | Ready::HANGUP);
        drop(bed.peer.shutdown(std::net::Shutdown::Both));
        let spent = |bed: &Bed| !bed.known().intersects(epoll::EventFlags::HUP);
        bed.wait_for("the kernel says no more", spent);
        bed.watch.arm(Ready::READ);
        assert!(spent(&bed), "{:?}", bed.known());
    }
}
