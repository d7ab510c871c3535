//! front → chardev → back → [host]: a serial line's parameters as a terminal's settings.
#![expect(
    clippy::disallowed_methods,
    reason = "each call stands behind one that finds out whether it may wait"
)]

use std::os::fd::AsFd;

use chardev_core::{FlowControl, Parity, SerialParams};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios,
    tcgetattr, tcsetattr,
};

use crate::offload::assert_may_wait;
use crate::slow_fd::SlowFd;
use crate::sys;

/// Sets `device` to `params`, and otherwise to pass every byte as it is.
pub(super) fn set_params(
    device: &SlowFd,
    params: SerialParams,
    flow: FlowControl,
) -> Result<(), Errno> {
    assert_may_wait();
    let mut settings = tcgetattr(device)?;
    make_raw(&mut settings);
    let modes = &mut settings.control_modes;
    *modes -= ControlModes::CSIZE
        | ControlModes::PARENB
        | ControlModes::PARODD
        | ControlModes::CSTOPB
        | ControlModes::CRTSCTS;
    *modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    *modes |= match params.data_bits {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    };
    *modes |= match params.parity {
        Parity::None => ControlModes::empty(),
        Parity::Even => ControlModes::PARENB,
        Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
    };
    if params.stop_bits == 2 {
        *modes |= ControlModes::CSTOPB;
    }
    match flow {
        FlowControl::None => {}
        FlowControl::XonXoff => settings.input_modes |= InputModes::IXON | InputModes::IXOFF,
        FlowControl::RtsCts => settings.control_modes |= ControlModes::CRTSCTS,
    }
    // A speed of 0 would hang the line up.
    settings.set_speed(params.speed.max(1))?;
    tcsetattr(device, OptionalActions::Now, &settings)
}

/// How a device was set.
pub(super) struct Former {
    settings: Termios,
    lines: Option<u32>,
}

impl Former {
    /// How `device` is set.
    pub(super) fn of(device: &SlowFd) -> Result<Self, Errno> {
        assert_may_wait();
        Ok(Former {
            settings: tcgetattr(device)?,
            lines: sys::modem_lines(device.as_fd()).ok(),
        })
    }

    /// Sets `device` so again.
    pub(super) fn restore(&self, device: &SlowFd) {
        assert_may_wait();
        // A device that is gone is set by nobody.
        let _ = tcsetattr(device, OptionalActions::Now, &self.settings);
        if let Some(lines) = self.lines {
            let _ = sys::set_modem_outputs(device.as_fd(), lines);
        }
    }
}

fn make_raw(settings: &mut Termios) {
    settings.input_modes -= InputModes::IGNBRK
        | InputModes::BRKINT
        | InputModes::PARMRK
        | InputModes::ISTRIP
        | InputModes::INLCR
        | InputModes::IGNCR
        | InputModes::ICRNL
        | InputModes::IXON
        | InputModes::IXOFF;
    settings.output_modes -= OutputModes::OPOST;
    settings.local_modes -= LocalModes::ECHO
        | LocalModes::ECHONL
        | LocalModes::ICANON
        | LocalModes::ISIG
        | LocalModes::IEXTEN;
    settings.special_codes[SpecialCodeIndex::VMIN] = 1;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
}
