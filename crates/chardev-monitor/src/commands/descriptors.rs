//! Descriptors, by name and in sets, and connections made from them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use chardev::back::FdSource;
use chardev_qapi::{Json, QmpError};
use chardev_qmp::Command;

use super::{Tried, done, generic};
use crate::caller::Caller;
use crate::monitor::Monitor;
use crate::own::Answer;

const NO_FD: &str = "No file descriptor supplied via SCM_RIGHTS";

impl Caller {
    pub(super) fn try_descriptors(&self, command: Command, sent: Option<OwnedFd>) -> Tried {
        let sets = &self.service.fdsets;
        Ok(match command {
            Command::GetFd { fdname } => empty(self.get_fd(fdname, sent)),
            Command::CloseFd { fdname } => done(self.fds.close(&fdname)),
            Command::AddFd { fdset_id, opaque } => match sent {
                Some(fd) => sets.add(fdset_id, opaque, fd).map_err(generic),
                None => Err(NO_FD.into()),
            },
            Command::RemoveFd { fdset_id, fd } => done(sets.remove(fdset_id, fd)),
            Command::QueryFdsets => Ok(sets.query()),
            Command::AddClient { protocol, fdname } => empty(self.add_client(&protocol, &fdname)),
            Command::XMonitorAdd { fdname } => empty(self.monitor_add(&fdname)),
            other => return Err(other),
        })
    }

    fn get_fd(&self, fdname: String, sent: Option<OwnedFd>) -> Result<(), QmpError> {
        let fd = sent.ok_or(NO_FD)?;
        self.fds.name(fdname, fd).map_err(generic)
    }

    fn add_client(&self, protocol: &str, fdname: &str) -> Result<(), QmpError> {
        let fd = self.fds.take(fdname)?;
        if rustix::net::sockopt::socket_type(&fd).is_err() {
            return Err("parameter @fdname must name a socket".into());
        }
        #[cfg(feature = "dbus")]
        if protocol == "@dbus-display" {
            return self.service.chardevs.add_dbus_peer(fd).map_err(generic);
        }
        if !self.service.chardevs.contains(protocol) {
            return Err(format!("protocol '{protocol}' is invalid").into());
        }
        let added = self.service.chardevs.add_client(protocol, fd);
        added.map_err(|_| "failed to add client".into())
    }

    fn monitor_add(&self, fdname: &str) -> Result<(), QmpError> {
        let fd = self.fds.take(fdname)?;
        let sponsor = Some(Arc::clone(&self.client));
        Monitor::serve(fd, sponsor, self.service.clone()).map_err(generic)
    }
}

fn empty(result: Result<(), QmpError>) -> Answer {
    result.map(|()| Json::empty())
}
