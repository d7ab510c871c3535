//! The descriptors that the command line may name: by number, and in sets (`--add-fd`).

use std::io;
use std::os::fd::OwnedFd;

use chardev::OpenError;
use chardev::back::{Access, FdSource};
use chardev::spec::ParameterError;
use chardev_monitor::FdSets;
use chardev_qapi::opts::{parse_number, parse_opts};

use crate::DaemonError;
use crate::edge::Inherited;

/// What was inherited, and the sets it can be put into.
#[derive(Debug)]
pub(crate) struct StartupFds {
    inherited: Inherited,
    sets: FdSets,
}

impl StartupFds {
    /// Descriptors by number out of `inherited`, by set out of `sets`.
    pub(crate) fn new(inherited: Inherited, sets: FdSets) -> Self {
        StartupFds { inherited, sets }
    }

    /// Closes what the command line did not name: whoever gave it to a daemon in the background by
    /// accident would wait for its end.
    pub(crate) fn close_rest(&self) {
        self.inherited.close_rest();
    }

    /// Reads the argument of `--add-fd`, `fd=FD,set=SET[,opaque=TEXT]`, and does it.
    ///
    /// # Errors
    /// QEMU's texts.
    pub(crate) fn add_to_set(&self, line: &str) -> Result<(), DaemonError> {
        let opts = parse_opts(line, "fd");
        let known = |key: &str| ["fd", "set", "opaque"].contains(&key);
        if let Some((key, _)) = opts.pairs.iter().find(|(key, _)| !known(key)) {
            return Err(ParameterError::invalid(key).into());
        }
        let number = |key| {
            opts.get(key)
                .map(|text| parse_number(key, text))
                .transpose()
        };
        let (fd, set) = (number("fd")?, number("set")?);
        let fd = fd.filter(|fd| *fd >= 0);
        let fd = fd.ok_or("fd option is required and must be non-negative")?;
        if fd <= 2 {
            return Err("fd cannot be a standard I/O stream".into());
        }
        let fd = self.inherited.take(&fd.to_string());
        let fd = fd.map_err(|_| "fd is not valid or already in use")?;
        let set = set.filter(|set| *set >= 0);
        let set = set.ok_or("set option is required and must be non-negative")?;
        let opaque = opts.get("opaque").map(str::to_owned);
        self.sets.add(Some(set), opaque, fd)?;
        Ok(())
    }
}

impl FdSource for StartupFds {
    fn take(&self, name: &str) -> Result<OwnedFd, OpenError> {
        self.inherited.take(name)
    }

    fn open_set(&self, set: i64, access: Access) -> io::Result<OwnedFd> {
        self.sets.open(set, access)
    }
}
