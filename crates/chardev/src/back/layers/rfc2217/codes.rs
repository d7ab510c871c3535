//! front → chardev → [back] → host: what RFC 2217 says in numbers.

use chardev_core::{FlowControl, ModemLines, Parity, SerialParams};

/// Behind the option, from the client; the server's are greater by [`ANSWER`].
pub(super) const SIGNATURE: u8 = 0;
pub(super) const SET_BAUDRATE: u8 = 1;
pub(super) const SET_DATASIZE: u8 = 2;
pub(super) const SET_PARITY: u8 = 3;
pub(super) const SET_STOPSIZE: u8 = 4;
pub(super) const SET_CONTROL: u8 = 5;
pub(super) const NOTIFY_LINESTATE: u8 = 6;
pub(super) const NOTIFY_MODEMSTATE: u8 = 7;
pub(super) const SUSPEND: u8 = 8;
pub(super) const RESUME: u8 = 9;
pub(super) const SET_LINESTATE_MASK: u8 = 10;
pub(super) const SET_MODEMSTATE_MASK: u8 = 11;
pub(super) const PURGE_DATA: u8 = 12;
pub(super) const ANSWER: u8 = 100;

/// Of [`SET_CONTROL`]: a question, and its answers or commands.
pub(super) const ASK_FLOW: u8 = 0;
pub(super) const ASK_BREAK: u8 = 4;
pub(super) const BREAK_ON: u8 = 5;
pub(super) const BREAK_OFF: u8 = 6;
pub(super) const ASK_DTR: u8 = 7;
pub(super) const DTR_ON: u8 = 8;
pub(super) const DTR_OFF: u8 = 9;
pub(super) const ASK_RTS: u8 = 10;
pub(super) const RTS_ON: u8 = 11;
pub(super) const RTS_OFF: u8 = 12;
pub(super) const ASK_INBOUND_FLOW: u8 = 13;

/// Of the line's state: a break was received, and nothing waits to be sent.
pub(super) const LINE_BREAK: u8 = 0x10;
pub(super) const LINE_IDLE: u8 = 0x60;

/// What we call ourselves.
pub(super) const NAME: &[u8] = concat!("chardev ", env!("CARGO_PKG_VERSION")).as_bytes();

/// What [`SET_CONTROL`] makes of flow control, for both directions.
pub(super) fn of_flow(flow: FlowControl) -> u8 {
    match flow {
        FlowControl::None => 1,
        FlowControl::XonXoff => 2,
        FlowControl::RtsCts => 3,
    }
}

pub(super) fn flow_of(code: u8) -> Option<FlowControl> {
    Some(match code {
        1 => FlowControl::None,
        2 => FlowControl::XonXoff,
        3 => FlowControl::RtsCts,
        _ => return None,
    })
}

/// The same for what the client sends alone.
pub(super) fn of_inbound_flow(flow: FlowControl) -> u8 {
    of_flow(flow) + ASK_INBOUND_FLOW
}

pub(super) fn of_parity(parity: Parity) -> u8 {
    match parity {
        Parity::None => 1,
        Parity::Odd => 2,
        Parity::Even => 3,
        Parity::Mark => 4,
        Parity::Space => 5,
    }
}

pub(super) fn parity_of(code: u8) -> Option<Parity> {
    Some(match code {
        1 => Parity::None,
        2 => Parity::Odd,
        3 => Parity::Even,
        4 => Parity::Mark,
        5 => Parity::Space,
        _ => return None,
    })
}

/// What is said to set up one part of a line, or of how it is.
pub(super) fn said(part: u8, params: &SerialParams, flow: FlowControl) -> Vec<u8> {
    match part {
        SET_BAUDRATE => params.speed.to_be_bytes().to_vec(),
        SET_DATASIZE => vec![params.data_bits],
        SET_PARITY => vec![of_parity(params.parity)],
        SET_STOPSIZE => vec![params.stop_bits],
        _ => vec![of_flow(flow)],
    }
}

/// Each modem line's bit of a state, whose change is told four bits below.
const MODEM: [(ModemLines, u8); 4] = [
    (ModemLines::CAR, 0x80),
    (ModemLines::RI, 0x40),
    (ModemLines::DSR, 0x20),
    (ModemLines::CTS, 0x10),
];

/// The state of `lines`, of which those in `changed` have changed. Of a ring only its end is told.
pub(super) fn of_modem(lines: ModemLines, changed: ModemLines) -> u8 {
    let bits = MODEM.iter().map(|(line, bit)| {
        let is_on = lines.contains(*line);
        let told = changed.contains(*line) && !(is_on && *line == ModemLines::RI);
        u8::from(is_on) * bit + u8::from(told) * (bit >> 4)
    });
    bits.sum()
}

pub(super) fn modem_of(state: u8) -> ModemLines {
    let on = MODEM.iter().filter(|(_, bit)| state & bit != 0);
    on.map(|(line, _)| *line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_modem_lines_are_those_of_the_rfc() {
        let all = ModemLines::CAR | ModemLines::RI | ModemLines::DSR | ModemLines::CTS;
        assert_eq!(of_modem(all, ModemLines::empty()), 0xf0);
        assert_eq!(of_modem(ModemLines::empty(), all), 0x0f);
        assert_eq!(of_modem(ModemLines::RI, ModemLines::RI), 0x40);
        assert_eq!(of_modem(ModemLines::CTS, ModemLines::CTS), 0x11);
        for state in (0..=0xf).map(|state| state << 4) {
            assert_eq!(of_modem(modem_of(state), ModemLines::empty()), state);
        }
    }
}
