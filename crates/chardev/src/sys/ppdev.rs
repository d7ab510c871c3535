//! The requests of `linux/ppdev.h`.
#![allow(
    clippy::disallowed_methods,
    reason = "each of these may wait, and stands behind what finds out whether it may"
)]

use std::ffi::c_int;
use std::os::fd::BorrowedFd;

use rustix::io::Result;
use rustix::ioctl::{Getter, NoArg, Opcode, Setter, ioctl, opcode};

use crate::offload::assert_may_wait;

const PPSETMODE: Opcode = opcode::write::<c_int>(b'p', 0x80);
const PPRSTATUS: Opcode = opcode::read::<u8>(b'p', 0x81);
const PPRCONTROL: Opcode = opcode::read::<u8>(b'p', 0x83);
const PPWCONTROL: Opcode = opcode::write::<u8>(b'p', 0x84);
const PPRDATA: Opcode = opcode::read::<u8>(b'p', 0x85);
const PPWDATA: Opcode = opcode::write::<u8>(b'p', 0x86);
const PPCLAIM: Opcode = opcode::none(b'p', 0x8b);
const PPDATADIR: Opcode = opcode::write::<c_int>(b'p', 0x90);

/// A request to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Has the port to oneself, until it is closed. Waits while another has it.
    Claim,
    SetMode(c_int),
    ReadStatus,
    ReadControl,
    WriteControl(u8),
    ReadData,
    WriteData(u8),
    /// 0 is out.
    SetDirection(c_int),
}

/// Carries out `call`; the answer to what writes is 0.
#[track_caller]
pub(crate) fn call(port: BorrowedFd<'_>, call: Call) -> Result<u8> {
    assert_may_wait();
    // SAFETY: each request reads or writes what its number says by its size: one byte, one C int,
    // or nothing.
    unsafe {
        match call {
            Call::Claim => ioctl(port, NoArg::<PPCLAIM>::new()).map(|()| 0),
            Call::SetMode(mode) => ioctl(port, Setter::<PPSETMODE, c_int>::new(mode)).map(|()| 0),
            Call::ReadStatus => ioctl(port, Getter::<PPRSTATUS, u8>::new()),
            Call::ReadControl => ioctl(port, Getter::<PPRCONTROL, u8>::new()),
            Call::WriteControl(byte) => {
                ioctl(port, Setter::<PPWCONTROL, u8>::new(byte)).map(|()| 0)
            }
            Call::ReadData => ioctl(port, Getter::<PPRDATA, u8>::new()),
            Call::WriteData(byte) => ioctl(port, Setter::<PPWDATA, u8>::new(byte)).map(|()| 0),
            Call::SetDirection(direction) => {
                ioctl(port, Setter::<PPDATADIR, c_int>::new(direction)).map(|()| 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a compiler for the kernel's header has them on x86 and Arm.
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_numbers_are_those_of_the_header() {
        assert_eq!(
            [PPSETMODE, PPRSTATUS, PPRCONTROL, PPWCONTROL],
            [0x4004_7080, 0x8001_7081, 0x8001_7083, 0x4001_7084]
        );
        assert_eq!(
            [PPRDATA, PPWDATA, PPCLAIM, PPDATADIR],
            [0x8001_7085, 0x4001_7086, 0x708b, 0x4004_7090]
        );
    }
}
