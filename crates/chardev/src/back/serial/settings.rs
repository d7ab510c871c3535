//! front → chardev → back → [host]: a serial line's parameters as a terminal's settings.
#![expect(
    clippy::disallowed_methods,
    reason = "each call stands behind one that finds out whether it may wait"
)]

use std::os::fd::AsFd;

use bitflags::bitflags;
use chardev_core::{FlowControl, Parity, SerialParams};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios,
    tcgetattr, tcsetattr,
};

use crate::offload::assert_may_wait;
use crate::slow_fd::SlowFd;
use crate::sys;

bitflags! {
    /// What a device may keep as it was, though it was told otherwise and refused nothing.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Kept: u8 {
        const SPEED = 1;
        const DATA_BITS = 2;
        const PARITY = 4;
        const STOP_BITS = 8;
        const FLOW = 16;
    }
}

/// Rates that differ by less than one part in this many are the same to both ends of a line.
const NEAR: u32 = 33;

/// Sets `device` to `params`, and otherwise to pass every byte as it is; what it did not take.
pub(super) fn set_params(
    device: &SlowFd,
    params: SerialParams,
    flow: FlowControl,
) -> Result<Kept, Errno> {
    assert_may_wait();
    let mut settings = tcgetattr(device)?;
    make_raw(&mut settings);
    let modes = &mut settings.control_modes;
    *modes -= ControlModes::CSIZE
        | ControlModes::PARENB
        | ControlModes::PARODD
        | ControlModes::CMSPAR
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
        Parity::Mark => ControlModes::PARENB | ControlModes::CMSPAR | ControlModes::PARODD,
        Parity::Space => ControlModes::PARENB | ControlModes::CMSPAR,
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
    tcsetattr(device, OptionalActions::Now, &settings)?;
    // It succeeds if anything at all could be set.
    Ok(kept(&settings, &tcgetattr(device)?))
}

/// Where `found` differs from what was `wanted`.
fn kept(wanted: &Termios, found: &Termios) -> Kept {
    let speeds = [wanted.output_speed(), found.output_speed()];
    let is_near = speeds[0].abs_diff(speeds[1]) <= speeds[0] / NEAR;
    let differ = wanted.control_modes ^ found.control_modes;
    let input = wanted.input_modes ^ found.input_modes;
    let mut parity = ControlModes::PARENB;
    if wanted.control_modes.contains(parity) {
        parity |= ControlModes::PARODD | ControlModes::CMSPAR;
    }
    let mut kept = Kept::empty();
    kept.set(Kept::SPEED, !is_near);
    kept.set(Kept::DATA_BITS, differ.intersects(ControlModes::CSIZE));
    kept.set(Kept::PARITY, differ.intersects(parity));
    kept.set(Kept::STOP_BITS, differ.intersects(ControlModes::CSTOPB));
    let flow = differ.intersects(ControlModes::CRTSCTS)
        || input.intersects(InputModes::IXON | InputModes::IXOFF);
    kept.set(Kept::FLOW, flow);
    kept
}

/// How a device was set.
pub(super) struct Former {
    settings: Termios,
    lines: Option<u32>,
    bus: Option<[u32; 8]>,
}

impl Former {
    /// How `device` is set.
    pub(super) fn of(device: &SlowFd) -> Result<Self, Errno> {
        assert_may_wait();
        Ok(Former {
            settings: tcgetattr(device)?,
            lines: sys::modem_lines(device.as_fd()).ok(),
            bus: sys::rs485(device.as_fd()).ok(),
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
        if let Some(bus) = self
            .bus
            .filter(|_| sys::rs485(device.as_fd()).ok() != self.bus)
        {
            let _ = sys::set_rs485(device.as_fd(), bus);
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

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, openpt};

    use super::*;

    #[test]
    fn what_a_device_keeps_is_seen_in_its_settings() {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let settings = |speed: u32, control, input| {
            let mut settings = tcgetattr(&terminal).unwrap();
            settings.control_modes = control;
            settings.input_modes = input;
            settings.set_speed(speed).unwrap();
            settings
        };
        let (eight, none) = (ControlModes::CS8, InputModes::empty());
        let even = eight | ControlModes::PARENB;
        let mark = even | ControlModes::CMSPAR | ControlModes::PARODD;
        let both = InputModes::IXON | InputModes::IXOFF;
        for (wanted, found, expected) in [
            ((9600, eight, none), (9600, eight, none), Kept::empty()),
            ((9600, eight, none), (9615, eight, none), Kept::empty()),
            ((9600, eight, none), (9900, eight, none), Kept::SPEED),
            ((9600, eight, none), (0, eight, none), Kept::SPEED),
            (
                (300, ControlModes::CS7, none),
                (300, eight, none),
                Kept::DATA_BITS,
            ),
            ((300, even, none), (300, eight, none), Kept::PARITY),
            ((300, mark, none), (300, even, none), Kept::PARITY),
            // Without parity its kind means nothing.
            (
                (300, eight, none),
                (300, eight | ControlModes::PARODD, none),
                Kept::empty(),
            ),
            (
                (300, eight | ControlModes::CSTOPB, none),
                (300, eight, none),
                Kept::STOP_BITS,
            ),
            (
                (300, eight | ControlModes::CRTSCTS, none),
                (300, eight, none),
                Kept::FLOW,
            ),
            ((300, eight, both), (300, eight, none), Kept::FLOW),
            (
                (300, mark, both),
                (9600, eight, none),
                Kept::SPEED | Kept::PARITY | Kept::FLOW,
            ),
        ] {
            let seen = kept(
                &settings(wanted.0, wanted.1, wanted.2),
                &settings(found.0, found.1, found.2),
            );
            assert_eq!(seen, expected, "{wanted:?} {found:?}");
        }
    }
}
