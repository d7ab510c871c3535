//! The descriptors a monitor was given, by name (`getfd`) and in sets (`add-fd`).

mod sets;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chardev::back::{Access, FdSource};
use chardev_qmp::check_fdname;

pub use sets::{FdSets, MAX_IN_SETS};

/// How many names one monitor can hold; a client that wants more has forgotten to close some.
pub(crate) const MAX_NAMES: usize = 256;

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
    pub(crate) fn name(&self, name: String, fd: OwnedFd) -> Result<(), String> {
        check_fdname(&name).map_err(|error| error.desc)?;
        let mut names = self.lock();
        if names.len() >= MAX_NAMES && !names.contains_key(&name) {
            return Err(format!(
                "Cannot name file descriptor '{name}': {MAX_NAMES} names are in use, close some"
            ));
        }
        names.insert(name, fd);
        Ok(())
    }

    /// Closes the descriptor called `name` (`closefd`).
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn close(&self, name: &str) -> Result<(), String> {
        let fd = self.lock().remove(name);
        fd.map(drop)
            .ok_or_else(|| format!("File descriptor named '{name}' not found"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, OwnedFd>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FdSource for NamedFds {
    fn take(&self, name: &str) -> Result<OwnedFd, String> {
        let fd = self.lock().remove(name);
        fd.ok_or_else(|| format!("File descriptor named '{name}' has not been found"))
    }

    fn open_set(&self, set: i64, access: Access) -> io::Result<OwnedFd> {
        self.sets.open(set, access)
    }

    fn give_back(&self, name: &str, fd: OwnedFd) {
        // A name that was given anew while the opening failed belongs to the newer descriptor.
        self.lock().entry(name.to_owned()).or_insert(fd);
    }
}
