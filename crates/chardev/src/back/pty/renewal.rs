//! front → chardev → back → [host]: a client may lock its terminal (`TIOCEXCL`), and the lock
//! outlives it.
//!
//! A daemon with privileges opens the slave all the same and lifts the lock. One without cannot,
//! and nobody else can; where clients come by a link, that is pointed to a new pseudoterminal.

use std::sync::{Arc, Mutex, PoisonError};

use chardev_core::{OpenError, Ready};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::ioctl_tiocnxcl;

use super::link::Link;
use super::{Pty, make, watch, watch_slave};
use crate::port::{OwnedTask, Port};
use crate::presence::PresenceWatch;
use crate::reactor::FdWatch;
use crate::tasks::TaskKind;

/// A new pseudoterminal on its way.
pub(super) struct Renewal {
    made: Arc<Mutex<Option<Result<Fresh, OpenError>>>>,
    _task: OwnedTask,
}

/// A new pseudoterminal to which the link points.
struct Fresh {
    master: FdWatch,
    presence: PresenceWatch,
    slave: String,
}

impl Fresh {
    fn make(port: &Port, link: &Link) -> Result<Self, OpenError> {
        let (master, slave) = make()?;
        let fresh = Fresh {
            master: watch(master, port)?,
            presence: watch_slave(&slave, port)?,
            slave,
        };
        link.point_to(&fresh.slave)?;
        Ok(fresh)
    }
}

impl Pty {
    /// A client has left: the next one must not find its lock. Our own visit is that of somebody
    /// who cannot write, so that it is not taken for another departure.
    pub(super) fn lift_lock(&mut self) {
        let flags = OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        match ioctl_tiocgptpeer(self.master.fd(), flags) {
            Ok(slave) => {
                let _ = ioctl_tiocnxcl(&slave);
            }
            Err(Errno::BUSY) => self.renew(),
            Err(_) => {}
        }
    }

    fn renew(&mut self) {
        if self.renewal.is_some() {
            return;
        }
        let (label, slave) = (self.port.label(), &self.slave);
        let Some(link) = self.link.clone() else {
            tracing::warn!(
                "{label}: a client left {slave} locked for exclusive use (TIOCEXCL), and only root can \
                 open it now; change it to another pty, with path= so that this cannot happen again"
            );
            return;
        };
        tracing::info!(
            "{label}: a client left {slave} locked for exclusive use (TIOCEXCL); moving its link to a new pty"
        );
        let made = Arc::new(Mutex::new(None));
        let (hand_over, port) = (Arc::clone(&made), self.port.clone());
        let task = OwnedTask::spawn_listed(&self.port, TaskKind::Connect, async move {
            let inside = port.clone();
            let made = port.offload_open(move || Fresh::make(&inside, &link));
            let fresh = made.await.unwrap_or_else(|why| Err(why.into()));
            *hand_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
            port.kick(Ready::empty());
        });
        self.renewal = Some(Renewal { made, _task: task });
    }

    /// Goes on with the new pseudoterminal, if it is there.
    pub(super) fn take_renewed(&mut self) {
        let made = self.renewal.as_ref().map(|renewal| &renewal.made);
        let made = made.and_then(|made| made.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(made) = made else { return };
        self.renewal = None;
        match made {
            Ok(fresh) => {
                self.master = fresh.master;
                self.presence = fresh.presence;
                self.slave = fresh.slave;
            }
            Err(cause) => tracing::warn!("{}: cannot create a new pty: {cause}", self.port.label()),
        }
    }
}
