//! front → chardev → back → [host]: having a device to oneself.
//!
//! Of two who read a line each gets a part. So a device is locked while it is open: by `flock`,
//! which those see who look, and by `TIOCEXCL`, which makes the kernel refuse everybody but root.
//!
//! Back ends of this process share the lock, and the descriptor with it, where one gives the device
//! up for the other: one that is about to be replaced lends it, and one that only has to send what
//! it was given leaves it to whoever comes.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, Stat, flock, major, minor};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::termios::{ioctl_tiocexcl, ioctl_tiocnxcl};

use super::way_back::PTY_MAJORS;
use crate::disk;
use crate::slow_fd::SlowFd;

/// Which node of which file system.
pub(super) type Node = (u64, u64);

/// Asks a back end that leaves for a share in this device.
pub(super) struct WantDevice(pub(super) Node);

/// What all of this process have locked.
static CLAIMS: Mutex<Vec<Claim>> = Mutex::new(Vec::new());

struct Claim {
    device: Arc<SlowFd>,
    node: Node,
    /// The chardev that has locked it.
    owner: String,
    /// How many back ends have a share, and how many that only send what is left.
    users: usize,
    drains: usize,
    exclusive: bool,
}

/// A share in a lock; the last one that is dropped ends it.
pub(super) struct Share {
    device: Arc<SlowFd>,
    is_drain: bool,
}

/// Somebody else has it: a chardev of ours, or another program.
#[derive(Debug)]
pub(super) struct Locked(pub(super) Option<String>);

/// The device that `stat` is of.
pub(super) fn node(stat: &Stat) -> Node {
    (stat.st_dev, stat.st_ino)
}

impl Share {
    /// Locks `device` for the chardev `owner`.
    pub(super) fn take(device: &Arc<SlowFd>, owner: &str) -> Result<Option<Self>, Locked> {
        let Ok(stat) = disk::fstat(device) else {
            return Ok(None);
        };
        // Each opening of `/dev/ptmx` is another terminal.
        if (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2) {
            return Ok(None);
        }
        // A pseudoterminal stays exclusive after the last has closed it, so that one who was
        // killed would leave it so.
        let is_pty = PTY_MAJORS.contains(&major(stat.st_rdev));
        Share::take_as(device, node(&stat), owner, !is_pty)
    }

    fn take_as(
        device: &Arc<SlowFd>,
        node: Node,
        owner: &str,
        exclusive: bool,
    ) -> Result<Option<Self>, Locked> {
        let mut claims = claims();
        match flock(device, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                if let Some(share) = left(&mut claims, node) {
                    return Ok(Some(share));
                }
                let ours = claims.iter().find(|claim| claim.node == node);
                return Err(Locked(ours.map(|claim| claim.owner.clone())));
            }
            // A file system without locks.
            Err(_) => return Ok(None),
        }
        claims.push(Claim {
            device: Arc::clone(device),
            node,
            owner: owner.to_owned(),
            users: 1,
            drains: 0,
            exclusive: exclusive && ioctl_tiocexcl(device).is_ok(),
        });
        Ok(Some(Share {
            device: Arc::clone(device),
            is_drain: false,
        }))
    }

    /// A share in the lock of `node` that only those have who send what is left.
    pub(super) fn left_at(node: Node) -> Option<Self> {
        left(&mut claims(), node)
    }

    /// A share for one successor, if this is of `node`.
    pub(super) fn lend(&self, node: Node) -> Option<Self> {
        let mut claims = claims();
        let claim = self.claim(&mut claims)?;
        (claim.node == node && claim.users == 1).then(|| claim.share())
    }

    /// From here on it is the chardev `owner` that has the device.
    pub(super) fn belongs_to(&self, owner: &str) {
        if let Some(claim) = self.claim(&mut claims()) {
            owner.clone_into(&mut claim.owner);
        }
    }

    /// For one who only sends what is left.
    pub(super) fn for_drain(mut self) -> Self {
        if let Some(claim) = self.claim(&mut claims()) {
            claim.users -= 1;
            claim.drains += 1;
            self.is_drain = true;
        }
        self
    }

    /// Another descriptor of the device, which may not let itself be opened again.
    pub(super) fn descriptor(&self) -> Result<OwnedFd, Errno> {
        fcntl_dupfd_cloexec(&self.device, 0)
    }

    fn claim<'a>(&self, claims: &'a mut [Claim]) -> Option<&'a mut Claim> {
        let is_ours = |claim: &&mut Claim| Arc::ptr_eq(&claim.device, &self.device);
        claims.iter_mut().find(is_ours)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut claims = claims();
        let Some(claim) = self.claim(&mut claims) else {
            return;
        };
        match self.is_drain {
            true => claim.drains -= 1,
            false => claim.users -= 1,
        }
        if claim.users > 0 || claim.drains > 0 {
            return;
        }
        // Here and now, though the device is closed later: nobody is to be refused by one who has
        // left. Neither call waits.
        if claim.exclusive {
            let _ = ioctl_tiocnxcl(&self.device);
        }
        let _ = flock(&self.device, FlockOperation::Unlock);
        claims.retain(|claim| !Arc::ptr_eq(&claim.device, &self.device));
    }
}

impl Claim {
    fn share(&mut self) -> Share {
        self.users += 1;
        Share {
            device: Arc::clone(&self.device),
            is_drain: false,
        }
    }
}

fn left(claims: &mut [Claim], node: Node) -> Option<Share> {
    let is_left = |claim: &&mut Claim| claim.node == node && claim.users == 0;
    claims.iter_mut().find(is_left).map(Claim::share)
}

fn claims() -> MutexGuard<'static, Vec<Claim>> {
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::FileType;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;
    use crate::sys::is_exclusive;

    #[test]
    fn a_terminal_is_exclusive_until_the_last_share_is_gone() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let open = || super::super::open_device(path.to_str().unwrap().as_ref()).unwrap();
        let device = Arc::new(SlowFd::new(open(), FileType::CharacterDevice));
        let node = node(&disk::fstat(&device).unwrap());
        let is_exclusive = || is_exclusive(device.as_fd()).unwrap();
        assert!(!is_exclusive());
        let first = Share::take_as(&device, node, "con0", true)
            .unwrap()
            .unwrap();
        assert!(is_exclusive());
        let stranger = Arc::new(SlowFd::new(open(), FileType::CharacterDevice));
        let refused = |owner: &str| {
            let taken = Share::take_as(&stranger, node, "con1", true);
            assert_eq!(taken.err().unwrap().0.as_deref(), Some(owner));
        };
        refused("con0");
        // One successor at a time.
        let second = first.lend(node).unwrap();
        assert!(first.lend(node).is_none() && Share::left_at(node).is_none());
        second.belongs_to("con2");
        drop(first);
        refused("con2");
        let drain = second.for_drain();
        assert!(is_exclusive());
        let third = Share::left_at(node).unwrap();
        assert!(Share::left_at(node).is_none());
        drop(drain);
        assert!(is_exclusive());
        drop(third);
        assert!(!is_exclusive());
        let after = Share::take_as(&stranger, node, "con1", false);
        assert!(after.unwrap().is_some() && !is_exclusive());
    }
}
