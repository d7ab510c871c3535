//! front → chardev → [back] → host: a pseudoterminal; whoever opens its slave is the peer.
//!
//! That somebody comes or leaves is told by inotify on the slave, so an idle pty needs no timer;
//! who is there, by the master, which is hung up while nobody is.

mod link;
mod renewal;
mod retiring;
mod settling;

use std::any::Any;
use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chardev_core::spec::{
    Expected, KindSpec, OptionSpec, OptionType, Options, ParameterError, Short,
};
use chardev_core::{
    Backend, BackendEvent, BackendId, Drain, NothingToDrain, OpenError, Peers, Ready, Sent,
    Sharing, WeakChardev,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use self::link::Link;
use self::renewal::Renewal;
use self::retiring::RetiringPty;
use self::settling::{SETTLE_MS, Settling};
use super::{Kind, OpenContext, opening_elsewhere};
use crate::port::Port;
use crate::presence::PresenceWatch;
use crate::reactor::FdWatch;
use crate::sys::failed;

/// The most a pty can hold on its way to us: both kernel buffers, rounded up.
const CUT_LIMIT: usize = 128 << 10;

/// The most that `x-settle-ms` takes.
const MAX_SETTLE_MS: u64 = 10_000;

/// The kind `pty` (QAPI `ChardevPty`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "pty",
        "a new pseudoterminal",
        &[
            OptionSpec::new(
                "path",
                OptionType::Str,
                "symbolic link to create, pointing to the slave",
            )
            .path(),
            OptionSpec::new(
                "x-settle-ms",
                OptionType::Int,
                "how long output waits for a client that has just opened the pty to flush it, in ms, 0 to 10000 (default 100)",
            ),
        ],
    )
    .spelled(&[Short::Name, Short::Path]),
    // Devpts waits for no device; what has a link is also on a disk.
    open: |options, context| match options.str("path") {
        None => Box::pin(std::future::ready(open(options, context))),
        Some(_) => opening_elsewhere(options, context, open),
    },
};

/// A wish for the pseudoterminal of a back end about to be replaced, with whoever is there.
struct WantPty;

/// A wish for the link at this path, which points there; see [`Link`].
struct WantLink(PathBuf, OsString);

fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, OpenError> {
    let path = options.path("path");
    let path = path.as_deref();
    let settle = settle_time(options)?;
    if context.handover {
        if let Some(lent) = context.borrow::<WantPty, LentPty>(&WantPty) {
            return Ok(Box::new(Pty::succeed(lent, path, settle, context)?));
        }
    }
    let (master, slave) = make()?;
    let presence = watch_slave(&slave, &context.port)?;
    let link = path
        .map(|path| Link::create(path, &slave, context))
        .transpose()?;
    Ok(Box::new(Pty {
        port: context.port.clone(),
        master: watch(master, &context.port)?,
        presence,
        slave,
        link,
        connected: false,
        settle,
        settling: None,
        settles: true,
        succeeds: false,
        reader_end: None,
        renewal: None,
        events: Vec::new(),
    }))
}

/// `x-settle-ms`.
fn settle_time(options: &Options) -> Result<Duration, ParameterError> {
    let ms = match options.int("x-settle-ms") {
        None => Some(SETTLE_MS),
        Some(ms) => u64::try_from(ms).ok().filter(|ms| *ms <= MAX_SETTLE_MS),
    };
    let range = Expected::Range(0, MAX_SETTLE_MS.cast_signed());
    ms.map(Duration::from_millis)
        .ok_or_else(|| ParameterError::expects("x-settle-ms", range))
}

/// A new pseudoterminal: its master, and the path of its slave.
#[expect(
    clippy::disallowed_methods,
    reason = "nobody else has a new pty, and no driver is behind it"
)]
fn make() -> Result<(OwnedFd, String), OpenError> {
    let failed = |error: Errno| failed("Failed to create PTY", error);
    let master =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(failed)?;
    grantpt(&master).map_err(failed)?;
    unlockpt(&master).map_err(failed)?;
    let slave = ptsname(&master, Vec::new()).map_err(failed)?;
    let slave = slave.to_string_lossy().into_owned();

    // The settings of a pty are those of its slave and can be set without opening that.
    let mut settings = tcgetattr(&master).map_err(failed)?;
    settings.make_raw();
    tcsetattr(&master, OptionalActions::Now, &settings).map_err(failed)?;
    fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK).map_err(failed)?;

    // Until its slave was open once a master is not hung up, although nobody is there.
    drop(open_slave(&master).map_err(failed)?);
    Ok((master, slave))
}

fn watch(fd: OwnedFd, port: &Port) -> Result<FdWatch, OpenError> {
    FdWatch::new(port, Arc::new(fd)).map_err(|error| failed("Failed to create PTY", error))
}

fn watch_slave(slave: &str, port: &Port) -> Result<PresenceWatch, OpenError> {
    PresenceWatch::new(slave, port).map_err(|error| {
        let remedy = match error {
            Errno::MFILE => "; raise fs.inotify.max_user_instances or the limit of open files",
            Errno::NOSPC => "; raise fs.inotify.max_user_watches",
            _ => "",
        };
        let failed = failed("Failed to create PTY", error);
        let text = format!("{failed}{remedy}");
        failed.shown_as(text)
    })
}

/// Another descriptor of the terminal's far side, whatever is mounted on `/dev/pts`.
fn open_slave(master: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    ioctl_tiocgptpeer(master, flags)
}

/// A share in a pseudoterminal.
struct LentPty {
    master: OwnedFd,
    slave: String,
    link: Option<Link>,
}

struct Pty {
    port: Port,
    master: FdWatch,
    presence: PresenceWatch,
    slave: String,
    link: Option<Link>,
    connected: bool,
    /// How long a client has for flushing the terminal that it has opened.
    settle: Duration,
    /// One that has just come.
    settling: Option<Settling>,
    /// Whether the next one that is seen has just come.
    settles: bool,
    /// It shares the pseudoterminal of the back end it replaces.
    succeeds: bool,
    /// Our own descriptor of the slave, once this back end is being replaced.
    reader_end: Option<OwnedFd>,
    /// A pseudoterminal that is to take this one's place.
    renewal: Option<Renewal>,
    events: Vec<BackendEvent>,
}

impl Pty {
    /// The same pseudoterminal under another link.
    fn succeed(
        lent: LentPty,
        path: Option<&Path>,
        settle: Duration,
        context: &OpenContext,
    ) -> Result<Self, OpenError> {
        let link = match (path, lent.link) {
            (Some(path), Some(link)) if link.is_at(path) => Some(link),
            (Some(path), _) => Some(Link::create(path, &lent.slave, context)?),
            (None, _) => None,
        };
        Ok(Pty {
            port: context.port.clone(),
            master: watch(lent.master, &context.port)?,
            presence: watch_slave(&lent.slave, &context.port)?,
            slave: lent.slave,
            link,
            connected: false,
            settle,
            settling: None,
            // Whoever is there has had the time.
            settles: false,
            succeeds: true,
            reader_end: None,
            renewal: None,
            events: Vec::new(),
        })
    }

    fn share(&self) -> Option<LentPty> {
        Some(LentPty {
            master: self.master.fd().try_clone_to_owned().ok()?,
            slave: self.slave.clone(),
            link: self.link.clone(),
        })
    }

    /// Whether output still waits for the client to flush.
    fn is_settling(&mut self) -> bool {
        let over = |settling: &mut Settling| settling.is_over(&self.master);
        if self.settling.as_mut().is_some_and(over) {
            self.settled();
        }
        self.settling.is_some()
    }

    /// Output waits no longer. Whoever finds that out, all are woken who wait for room: none of
    /// them has asked the descriptor.
    fn settled(&mut self) {
        if let Some(settling) = self.settling.take() {
            settling.end(&self.master);
            self.port.kick_soon(Ready::WRITE);
        }
    }

    fn look_for_peer(&mut self) {
        let present = !is_hung_up(&self.master);
        if !present {
            self.settled();
        }
        match (self.connected, present) {
            (false, true) => {
                self.events.push(BackendEvent::Opened);
                if std::mem::replace(&mut self.settles, true) {
                    self.settling = Settling::begin(&self.master, self.settle, &self.port);
                }
            }
            (true, false) => {
                let unread = read_all(&self.master);
                self.events.push(BackendEvent::Closed { unread });
            }
            // A peer may come, write and go before we look once.
            (false, false) => {
                let unread = read_all(&self.master);
                if !unread.is_empty() {
                    self.events.push(BackendEvent::Opened);
                    self.events.push(BackendEvent::Closed { unread });
                }
            }
            (true, true) => {}
        }
        self.connected = present;
    }
}

impl Backend for Pty {
    fn kind(&self) -> &'static str {
        "pty"
    }

    fn filename(&self) -> String {
        format!("pty:{}", self.slave)
    }

    fn is_open(&self) -> bool {
        self.connected
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        if !self.connected {
            return Sent::NoPeer;
        }
        if self.is_settling() {
            return Sent::Full;
        }
        let bufs = &bufs[..bufs.len().min(64)];
        match rustix::io::writev(self.master.fd(), bufs) {
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) => Sent::Full,
            Ok(count) => Sent::Taken(count),
            Err(_) => {
                self.look_for_peer();
                Sent::NoPeer
            }
        }
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        if !self.connected {
            return 0;
        }
        let count = bufs.len().min(64);
        let bufs = &mut bufs[..count];
        let received = match &mut self.settling {
            Some(settling) => settling.read(&self.master, bufs),
            None => rustix::io::readv(self.master.fd(), bufs),
        };
        match received {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => {
                self.look_for_peer();
                0
            }
        }
    }

    fn watch(&mut self, mut interest: Ready) {
        // There may well be room, which is not to be used yet.
        interest.set(
            Ready::WRITE,
            interest.contains(Ready::WRITE) && !self.is_settling(),
        );
        // Without a peer the master is hung up, which would be reported for ever.
        if self.connected {
            self.master.arm(interest);
        }
    }

    fn update(&mut self, ready: Ready) {
        self.take_renewed();
        self.look_for_peer();
        if self.connected {
            // Inotify tells of a close just before the kernel hangs the terminal up, so it may be
            // too early to see that. Whoever reads would notice, but nobody has to read.
            self.master.arm(Ready::HANGUP);
        }
        self.is_settling();
        let was_used = self.succeeds || self.presence.has_told();
        if was_used && !self.connected && ready.contains(Ready::GONE) {
            self.lift_lock();
        }
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        self.link.iter().for_each(Link::keep);
    }

    fn refuse_input(&mut self) {
        self.look_for_peer();
        self.settled();
        if self.connected {
            self.reader_end = open_slave(self.master.fd()).ok();
            self.reader_end.iter().for_each(retiring::hold_writers);
        }
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        self.settled();
        (read_all(&self.master), false)
    }

    /// Without a reader nobody is left who could take what is buffered, and looking after it
    /// would only keep descriptors and the I/O thread busy.
    /// The link is a name on a disk. A terminal is opened and closed where that holds up nobody.
    fn may_wait(&self) -> bool {
        self.link.is_some()
    }

    fn retire(mut self: Box<Self>) -> Box<dyn Drain> {
        self.look_for_peer();
        self.settled();
        if !self.connected {
            return Box::new(NothingToDrain);
        }
        let Pty {
            port,
            master,
            link,
            reader_end,
            ..
        } = *self;
        drop(link);
        Box::new(RetiringPty::new(port, master, reader_end))
    }

    fn peers(&mut self) -> Option<&mut dyn Peers> {
        Some(self)
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl Peers for Pty {
    fn pty(&self) -> Option<String> {
        Some(self.slave.clone())
    }
}

impl Sharing for Pty {
    fn activate(&mut self) -> Result<(), OpenError> {
        self.link.as_ref().map_or(Ok(()), Link::activate)
    }

    fn deactivate(&mut self) {
        self.link.iter().for_each(Link::deactivate);
    }

    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        if let Some(WantLink(path, target)) = wanted.downcast_ref() {
            let link = self.link.as_ref();
            let link = link.filter(|link| link.is_for(path, target))?;
            return Some(Box::new(link.clone()));
        }
        wanted.downcast_ref::<WantPty>()?;
        self.settled();
        Some(Box::new(self.share()?))
    }

    fn adopt(&mut self, old: &mut dyn Backend) -> bool {
        let lent = old.lend(&WantPty);
        let Some(lent) = lent.and_then(|lent| lent.downcast::<LentPty>().ok()) else {
            return false;
        };
        self.succeeds && lent.slave == self.slave
    }
}

fn is_hung_up(master: &FdWatch) -> bool {
    let fd = master.fd();
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let _ = poll(
        &mut fds,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    );
    fds[0].revents().contains(PollFlags::HUP)
}

/// Everything the slave's side has written and nobody has read.
fn read_all(master: &FdWatch) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    while all.len() < CUT_LIMIT {
        match rustix::io::read(master.fd(), &mut buf) {
            Ok(count) if count > 0 => all.extend_from_slice(&buf[..count]),
            Err(Errno::INTR) => {}
            _ => break,
        }
    }
    all
}
