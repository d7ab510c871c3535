//! The descriptors that the command line may name: by number, by the name that systemd gives a
//! socket, and in sets (`--add-fd`).

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use chardev::OpenError;
use chardev::back::{Access, FdSource};
use chardev::spec::ParameterError;
use chardev_monitor::FdSets;
use chardev_qapi::opts::{parse_number, parse_opts};

use crate::DaemonError;
use crate::edge::Inherited;
use crate::service;

/// What was inherited, and the sets it can be put into.
#[derive(Debug)]
pub(crate) struct StartupFds {
    inherited: Inherited,
    /// Numbers by name.
    named: HashMap<String, String>,
    sets: FdSets,
}

impl StartupFds {
    /// Descriptors by number out of `inherited`, by set out of `sets`.
    pub(crate) fn new(inherited: Inherited, sets: FdSets) -> Self {
        StartupFds {
            inherited,
            named: service::sockets(),
            sets,
        }
    }

    /// Whether a socket is called `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.named.contains_key(name)
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
        let number = self.named.get(name).map_or(name, String::as_str);
        self.inherited.take(number)
    }

    fn open_set(&self, set: i64, access: Access) -> io::Result<OwnedFd> {
        self.sets.open(set, access)
    }
}
