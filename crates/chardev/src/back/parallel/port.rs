//! front → chardev → back → [host]: the registers of a parallel port, by requests to its driver.

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chardev_core::{Epp, ParallelLines, ParallelPort, ParallelRequest};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::disk;
use crate::offload::assert_may_wait;
use crate::slow_fd::SlowFd;
use crate::sys::ppdev::{self, Call};

/// Which node of which file system.
pub(super) type Node = (u64, u64);

/// `IEEE1284_MODE_COMPAT`, the mode of a printer's port, which a port has at first.
const COMPATIBLE: i32 = 1 << 8;
/// `IEEE1284_MODE_EPP`, for data.
const EPP: i32 = 1 << 6;
/// `IEEE1284_ADDR`, in addition for an address.
const ADDRESS: i32 = 1 << 13;
/// What a PC's control register has beside its lines, and Linux leaves out.
const CONTROL_FIXED: u8 = 0xc0;

/// The edge to the kernel.
pub(super) trait Driver: Debug + Send + Sync {
    fn call(&self, call: Call) -> Result<u8, Errno>;
    fn read(&self, buf: &mut [u8]) -> Result<usize, Errno>;
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno>;
}

#[derive(Debug)]
struct Kernel(SlowFd);

impl Driver for Kernel {
    fn call(&self, call: Call) -> Result<u8, Errno> {
        ppdev::call(self.0.as_fd(), call)
    }

    fn read(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        assert_may_wait();
        rustix::io::read(&self.0, buf)
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        assert_may_wait();
        rustix::io::write(&self.0, bytes)
    }
}

/// A port that is claimed; it is released when this is dropped.
#[derive(Debug)]
pub(super) struct Port {
    driver: Box<dyn Driver>,
    node: Option<Node>,
    /// Only one request at a time: some take several calls.
    mode: Mutex<i32>,
}

/// What a port's lines were.
#[derive(Debug)]
pub(super) struct Former(ParallelLines);

/// The node of an open device.
pub(super) fn node(fd: &OwnedFd) -> Option<Node> {
    let stat = disk::fstat(fd).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

impl Port {
    /// Has the port to oneself. Waits while another program has it.
    pub(super) fn claim(fd: OwnedFd, node: Option<Node>) -> Result<Self, Errno> {
        let fd = SlowFd::new(fd, FileType::CharacterDevice);
        Port::claim_by(Box::new(Kernel(fd)), node)
    }

    pub(super) fn claim_by(driver: Box<dyn Driver>, node: Option<Node>) -> Result<Self, Errno> {
        driver.call(Call::Claim)?;
        Ok(Port {
            driver,
            node,
            mode: Mutex::new(COMPATIBLE),
        })
    }

    pub(super) fn node(&self) -> Option<Node> {
        self.node
    }

    /// What the lines are now that `lines` are about to be. Nobody can ask for the direction.
    pub(super) fn former(&self, lines: ParallelLines) -> Former {
        let read = |request| self.request(request).ok();
        let data = lines.data.and_then(|_| read(ParallelRequest::ReadData));
        let control = lines
            .control
            .and_then(|_| read(ParallelRequest::ReadControl));
        Former(ParallelLines {
            input: None,
            data,
            control,
        })
    }

    /// Drives the lines so again.
    pub(super) fn restore(&self, Former(lines): Former) {
        for request in lines.requests() {
            // Whoever had the port finds it as well as it can be.
            let _ = self.request(request);
        }
    }

    fn mode(&self) -> MutexGuard<'_, i32> {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the mode for EPP cycles.
    fn begin(&self, what: Epp) -> Result<MutexGuard<'_, i32>, Errno> {
        let wanted = match what {
            Epp::Address => EPP | ADDRESS,
            Epp::Data => EPP,
        };
        let mut mode = self.mode();
        if *mode != wanted {
            self.driver.call(Call::SetMode(wanted))?;
            *mode = wanted;
        }
        Ok(mode)
    }
}

impl ParallelPort for Port {
    fn request(&self, request: ParallelRequest) -> io::Result<u8> {
        let _alone = self.mode();
        Ok(match request {
            ParallelRequest::ReadData => self.driver.call(Call::ReadData)?,
            ParallelRequest::WriteData(byte) => self.driver.call(Call::WriteData(byte))?,
            ParallelRequest::ReadStatus => self.driver.call(Call::ReadStatus)?,
            ParallelRequest::ReadControl => self.driver.call(Call::ReadControl)? | CONTROL_FIXED,
            ParallelRequest::WriteControl(byte) => self.driver.call(Call::WriteControl(byte))?,
            ParallelRequest::SetInput(input) => {
                self.driver.call(Call::SetDirection(input.into()))?
            }
        })
    }

    fn epp_read(&self, what: Epp, buf: &mut [u8]) -> io::Result<()> {
        let _alone = self.begin(what)?;
        match self.driver.read(buf)? {
            count if count == buf.len() => Ok(()),
            _ => Err(Errno::IO.into()),
        }
    }

    fn epp_write(&self, what: Epp, bytes: &[u8]) -> io::Result<()> {
        let _alone = self.begin(what)?;
        match self.driver.write(bytes)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(Errno::IO.into()),
        }
    }
}
