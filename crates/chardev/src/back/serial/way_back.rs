//! front → chardev → back → [host]: waiting for a device that is gone, or that has not come yet.
//!
//! The kernel tells when its name appears or is given to others, and when a directory or a symbolic
//! link on the way there is replaced, as far as it exists. Only what it cannot tell is looked at
//! from time to time: a device that is there and does not open, a file system that reports nothing.
//!
//! The number of a pseudoterminal that has ended goes to whoever wants one next, be it somebody's
//! login. So one is taken up again only where a link was made anew to it, or where the user said to
//! wait for whatever comes.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, major, statfs};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::claim::{Node, Share};
use super::device::{Device, Unfit};
use super::options::Terms;
use super::rs485::Refusal;
use crate::disk;
use crate::port::{OwnedTask, Port};
use crate::presence::PresenceWatch;
use crate::sys::strerror;
use crate::tasks::TaskKind;

/// How often a device that is there and does not open is tried.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often one is looked for that the kernel would tell of.
const TOLD_INTERVAL: Duration = Duration::from_secs(30);
/// A device that was there for a shorter time than this comes and goes.
const STEADY: Duration = Duration::from_secs(1);
/// The first and the longest pause before one that comes and goes is taken up again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));
/// What the kernel numbers the far sides of pseudoterminals with.
pub(super) const PTY_MAJORS: RangeInclusive<u32> = 136..=143;
/// The file system that they are in.
const DEVPTS: rustix::fs::FsWord = 0x1cd1;
/// Symbolic links that are followed, as many as the kernel follows.
const LINKS: usize = 40;

/// Where a device is found, and how often somebody wants it to be looked for.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// As it was given, for messages.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) interval: Option<Duration>,
    pub(super) terms: Terms,
}

/// How a device comes back.
pub(super) struct WayBack {
    /// None where it does not.
    place: Option<Place>,
    search: Option<Search>,
    /// What led to it when it was opened last.
    link: Option<LinkMark>,
    /// When it was taken up last, and how long the next search waits if it is lost soon.
    taken_up: Option<Instant>,
    pause: Duration,
}

struct Search {
    found: Arc<Mutex<Option<Found>>>,
    _task: OwnedTask,
}

type Found = (Device, Option<LinkMark>);

/// One link among all there ever were: device, inode, and when it was made.
type LinkMark = (u64, u64, i64, u64);

impl WayBack {
    /// The way to what is at `place` now. Looks at the disk.
    pub(super) fn new(place: Option<Place>) -> Self {
        let link = place.as_ref().and_then(|place| mark(&place.path));
        WayBack {
            place,
            search: None,
            link,
            taken_up: None,
            pause: PAUSES.0,
        }
    }

    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.place.is_some()
    }

    /// The device's path, as it was given.
    pub(super) fn name(&self) -> &str {
        self.place.as_ref().map_or("", |place| &place.name)
    }

    /// What is gone does not come back.
    pub(super) fn give_up(&mut self) {
        self.place = None;
        self.search = None;
    }

    /// Looks for the device until it is found; `port` is kicked then.
    pub(super) fn look(&mut self, port: &Port) {
        let Some(place) = self.place.clone() else {
            return;
        };
        let pause = match self.taken_up.take() {
            Some(then) if then.elapsed() < STEADY => {
                let pause = self.pause;
                self.pause = (pause * 2).min(PAUSES.1);
                pause
            }
            _ => {
                self.pause = PAUSES.0;
                Duration::ZERO
            }
        };
        let former = self.link;
        let found = Arc::new(Mutex::new(None));
        let (hand_over, kicked) = (Arc::clone(&found), port.clone());
        let task = OwnedTask::spawn_listed(port, TaskKind::Connect, async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let device = search(&kicked, &place, former).await;
            *hand_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(device);
            kicked.kick(chardev_core::Ready::empty());
        });
        self.search = Some(Search { found, _task: task });
    }

    /// A share in the lock of a device that was found, if it is `node`.
    pub(super) fn lend(&self, node: Node) -> Option<Share> {
        let found = &self.search.as_ref()?.found;
        let found = found.lock().unwrap_or_else(PoisonError::into_inner);
        let (device, _) = found.as_ref()?;
        device.share.as_ref()?.lend(node)
    }

    /// The device, if it was found.
    pub(super) fn take_found(&mut self) -> Option<Device> {
        let search = self.search.as_ref()?;
        let mut found = search.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (device, link) = found.take()?;
        drop(found);
        self.search = None;
        self.link = link;
        self.taken_up = Some(Instant::now());
        Some(device)
    }
}

async fn search(port: &Port, place: &Place, former: Option<LinkMark>) -> Found {
    let changed = Arc::new(Notify::new());
    let mut told = None;
    loop {
        let (inside, sought, task) = (port.clone(), place.clone(), Arc::clone(&changed));
        let any = place.interval.is_some();
        let attempt = move || {
            // Watched before it is looked for, so that it cannot come in between.
            let watches = Watches::on_the_way(&sought.path, any, &inside, &task);
            (watches, open(&sought, former, any, &inside))
        };
        let (watches, error) = match port.offload_open(attempt).await {
            Ok((_, Ok(found))) => return found,
            Ok((watches, Err(error))) => (Some(watches), error),
            Err(_) => (None, Errno::AGAIN),
        };
        // Without a device at its path, or with one that is not ours, there is no more to do.
        let absent = matches!(error, Errno::NOENT | Errno::NOTUNIQ);
        if error != Errno::NOENT && told != Some(error) {
            told = Some(error);
            let (label, name) = (port.label(), &place.name);
            let cause = match error {
                Errno::NOTUNIQ => "it is another pseudoterminal now".to_owned(),
                Errno::BUSY => "another program or chardev has locked it".to_owned(),
                Errno::OPNOTSUPP => "its driver does not do RS-485 as it should".to_owned(),
                error => strerror(error),
            };
            tracing::warn!(
                console = label,
                event = "device-missing",
                "chardev '{label}' does not open '{name}' yet: {cause}"
            );
        }
        let interval = match place.interval {
            _ if absent && watches.as_ref().is_some_and(|watches| watches.complete) => {
                TOLD_INTERVAL
            }
            Some(interval) => interval,
            None => INTERVAL,
        };
        let _ = tokio::time::timeout(interval, changed.notified()).await;
    }
}

/// Opens the device, if what is there now is one. A pseudoterminal that happens to have the number
/// of the former one is somebody else's (`ENOTUNIQ`), unless `any` will do.
pub(super) fn open(
    place: &Place,
    former: Option<LinkMark>,
    any: bool,
    port: &Port,
) -> Result<Found, Errno> {
    let path = &place.path;
    let link = mark(path);
    let stat = disk::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
        return Err(Errno::NOTTY);
    }
    let is_pty = PTY_MAJORS.contains(&major(stat.st_rdev));
    let made_anew = link.is_some() && link != former;
    if is_pty && !any && !made_anew {
        return Err(Errno::NOTUNIQ);
    }
    let fd = super::open_device(path)?;
    if disk::fstat(&fd)?.st_rdev != stat.st_rdev {
        // It changed just now, which was told.
        return Err(Errno::AGAIN);
    }
    let device =
        Device::new((fd, None), &place.name, place.terms, port).map_err(|cause| match cause {
            Unfit::NoDevice => Errno::NOTTY,
            Unfit::Locked(_) => Errno::BUSY,
            Unfit::Failed(error) => Errno::from_io_error(&error).unwrap_or(Errno::IO),
        })?;
    // Nobody else uses it. Without its driver's help it would not be heard, or disturb others.
    match place.terms.bus.map_or(Ok(()), |bus| bus.set(&device.fd)) {
        Ok(()) => Ok((device, link)),
        Err(Refusal::Failed(error)) => Err(error),
        Err(_) => Err(Errno::OPNOTSUPP),
    }
}

fn mark(path: &Path) -> Option<LinkMark> {
    let stat = disk::lstat(path).ok()?;
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    is_link.then_some((stat.st_dev, stat.st_ino, stat.st_ctime, stat.st_ctime_nsec))
}

/// The watches on the way to a device.
struct Watches {
    watches: Vec<PresenceWatch>,
    /// The kernel will tell when something on the way changes.
    complete: bool,
}

impl Watches {
    fn on_the_way(path: &Path, any: bool, port: &Port, task: &Arc<Notify>) -> Self {
        let mut watches = Watches {
            watches: Vec::new(),
            complete: false,
        };
        if let Ok(path) = std::path::absolute(path) {
            watches.complete = true;
            watches.walk(&path, any, port, task);
        }
        watches
    }

    /// Watches each part of `path`, over symbolic links, as far as it exists. A directory on the
    /// way is asked for its own sake: what else comes and goes beside it is often much.
    fn walk(&mut self, path: &Path, any: bool, port: &Port, task: &Arc<Notify>) {
        let mut at = PathBuf::from("/");
        let mut left = Vec::new();
        go_on(&mut left, path);
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let (next, is_last) = (at.join(&name), left.is_empty());
            if is_last && !any && is_for_ptys(&at) {
                // What comes and goes there concerns others, and wakes nobody here.
                return;
            }
            let leads_on = leads_on(is_last, |which| {
                self.add(match which {
                    Watched::Itself => PresenceWatch::of_itself(&next, port, task),
                    Watched::Name => PresenceWatch::of_name(&at, &name, port, task),
                })
            });
            if !leads_on {
                return;
            }
            let Ok(target) = disk::read_link(&next) else {
                at = next;
                continue;
            };
            links += 1;
            if links > LINKS {
                return;
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            go_on(&mut left, &target);
        }
    }

    /// Whether there is something to watch.
    fn add(&mut self, watch: Result<PresenceWatch, Errno>) -> bool {
        let is_there = !matches!(watch, Err(Errno::NOENT | Errno::NOTDIR));
        self.complete &= watch.is_ok() || !is_there;
        self.watches.extend(watch);
        is_there
    }
}

/// What is watched of one part of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    /// That it goes away.
    Itself,
    /// That its name appears.
    Name,
}

/// Watches one part of a path by `watch`, which says whether there was something to watch; whether
/// there is more to follow.
fn leads_on(is_last: bool, mut watch: impl FnMut(Watched) -> bool) -> bool {
    match is_last {
        true => watch(Watched::Name),
        // What comes between the first look and the watch of its name is told by nobody.
        false => watch(Watched::Itself) || watch(Watched::Name) && watch(Watched::Itself),
    }
}

/// Puts the parts of `path` before what is `left`, the first one last.
fn go_on(left: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().rev();
    left.extend(parts.filter_map(|part| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        _ => None,
    }));
}

/// Whether what comes to `directory` can only be a pseudoterminal.
fn is_for_ptys(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|kind| kind.f_type == DEVPTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_while_it_is_looked_for_is_followed() {
        use Watched::{Itself, Name};
        // Whether it is there at each look, whether it is the last part, what is followed, and what
        // was watched.
        let table: [(&[bool], bool, bool, &[Watched]); 6] = [
            (&[true], false, true, &[Itself]),
            (&[false, true, false], false, false, &[Itself, Name, Itself]),
            (&[false, true, true], false, true, &[Itself, Name, Itself]),
            (&[false, false], false, false, &[Itself, Name]),
            (&[true], true, true, &[Name]),
            (&[false], true, false, &[Name]),
        ];
        for (there, is_last, follows, watched) in table {
            let (mut looks, mut seen) = (there.iter(), Vec::new());
            let followed = leads_on(is_last, |which| {
                seen.push(which);
                *looks.next().unwrap()
            });
            assert_eq!((followed, &*seen), (follows, watched), "{there:?}");
        }
    }
}
