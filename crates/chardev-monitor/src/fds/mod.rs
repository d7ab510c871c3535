//! The descriptors a monitor was given, by name (`getfd`) and in sets (`add-fd`).

mod sets;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chardev::back::{Access, FdSource, no_descriptor};
use chardev::{OpenError, close_elsewhere};
use chardev_qapi::ParameterError;
use chardev_qmp::check_fdname;

pub use sets::{FdSets, MAX_IN_SETS};

/// How many names one monitor can hold; a client that wants more has forgotten to close some.
pub(crate) const MAX_NAMES: usize = 256;

/// Why a descriptor was not kept, or not let go of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FdError {
    /// There is none of this name, or none at this place of a set.
    NotFound(String),
    /// Its name or its number cannot be one.
    Parameter(ParameterError),
    /// A client has too many names to have this one as well.
    TooManyNames(String),
    /// The sets hold [`MAX_IN_SETS`] already.
    SetsFull,
}

impl fmt::Display for FdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FdError::NotFound(name) => write!(f, "File descriptor named '{name}' not found"),
            FdError::Parameter(error) => error.fmt(f),
            FdError::TooManyNames(name) => write!(
                f,
                "Cannot name file descriptor '{name}': {MAX_NAMES} names are in use, close some"
            ),
            FdError::SetsFull => write!(
                f,
                "Cannot add file descriptor: the sets hold {MAX_IN_SETS}, remove some"
            ),
        }
    }
}

impl std::error::Error for FdError {}

/// One monitor's descriptors by name. They outlive the client that sent them, as in QEMU.
#[derive(Debug, Default)]
pub(crate) struct NamedFds {
    names: Mutex<HashMap<String, OwnedFd>>,
    sets: FdSets,
}

impl NamedFds {
    /// No names yet, and the sets that all monitors share.
    pub(crate) fn new(sets: FdSets) -> Self {
        NamedFds {
            sets,
            ..NamedFds::default()
        }
    }

    /// Gives `fd` a name (`getfd`); a descriptor that had it is closed.
    ///
    /// # Errors
    /// The name starts with a digit, or there are [`MAX_NAMES`] already.
    pub(crate) fn name(&self, name: String, fd: OwnedFd) -> Result<(), FdError> {
        if let Err(error) = check_fdname(&name) {
            close_elsewhere(fd);
            return Err(FdError::Parameter(error));
        }
        let mut names = self.lock();
        if names.len() >= MAX_NAMES && !names.contains_key(&name) {
            close_elsewhere(fd);
            return Err(FdError::TooManyNames(name));
        }
        if let Some(former) = names.insert(name, fd) {
            close_elsewhere(former);
        }
        Ok(())
    }

    /// Closes the descriptor called `name` (`closefd`).
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn close(&self, name: &str) -> Result<(), FdError> {
        let fd = self.lock().remove(name);
        fd.map(close_elsewhere)
            .ok_or_else(|| FdError::NotFound(name.to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, OwnedFd>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FdSource for NamedFds {
    fn take(&self, name: &str) -> Result<OwnedFd, OpenError> {
        let fd = self.lock().remove(name);
        fd.ok_or_else(|| no_descriptor(name))
    }

    fn open_set(&self, set: i64, access: Access) -> io::Result<OwnedFd> {
        self.sets.open(set, access)
    }

    fn give_back(&self, name: &str, fd: OwnedFd) {
        match self.lock().entry(name.to_owned()) {
            // It was given anew while the opening failed, and belongs to the newer descriptor.
            Entry::Occupied(_) => close_elsewhere(fd),
            Entry::Vacant(free) => {
                free.insert(fd);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test may wait")]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use rustix::net::sockopt::set_socket_linger;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);
    const LINGER: Duration = Duration::from_secs(60);

    /// A descriptor that takes a minute to close, as long as the second value is there.
    fn slow_to_close() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("localhost:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        set_socket_linger(&client, Some(LINGER)).unwrap();
        client.set_nonblocking(true).unwrap();
        while client.write(&[0; 65536]).is_ok() {}
        (client.into(), listener.accept().unwrap().0)
    }

    #[test]
    fn nobody_waits_for_a_descriptor_to_close() {
        let fds = NamedFds::default();
        let (given, _ends): (Vec<_>, Vec<_>) = (0..7).map(|_| slow_to_close()).unzip();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut given = given.into_iter();
            let mut fd = || given.next().unwrap();
            fds.name("a".to_owned(), fd()).unwrap();
            fds.name("a".to_owned(), fd()).unwrap();
            fds.give_back("a", fd());
            fds.close("a").unwrap();
            fds.name("1".to_owned(), fd()).unwrap_err();
            fds.sets.add(Some(3), None, fd()).unwrap();
            fds.sets.add(Some(3), None, fd()).unwrap();
            fds.sets.remove(3, None).unwrap();
            fds.sets.add(Some(-1), None, fd()).unwrap_err();
            tell.send(()).unwrap();
        });
        told.recv_timeout(DEADLINE).unwrap();
    }
}
