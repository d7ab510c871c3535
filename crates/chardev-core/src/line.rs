//! The line: everything a front end has set up, kept in the chardev so that a change can redo it.
//!
//! A back end never holds the only copy of a set-up. When the back end is replaced, the whole
//! [`Line`] is applied to the new one, which replies with [`Answers`].

use bitflags::bitflags;

use crate::parallel::ParallelLines;

bitflags! {
    /// Modem lines with the values of the kernel's `TIOCM_*` (and QEMU's `CHR_TIOCM_*`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ModemLines: u32 {
        /// Data terminal ready, set by the front end.
        const DTR = 0x002;
        /// Request to send, set by the front end.
        const RTS = 0x004;
        /// Clear to send, read by the front end.
        const CTS = 0x020;
        /// Carrier detect, read by the front end.
        const CAR = 0x040;
        /// Ring indicator, read by the front end.
        const RI = 0x080;
        /// Data set ready, read by the front end.
        const DSR = 0x100;
    }
}

/// Modem inputs that changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModemChange {
    /// All inputs, as they stand now.
    pub inputs: ModemLines,
    /// Those that changed, even if they changed back.
    pub changed: ModemLines,
}

impl ModemChange {
    /// This change and a `later` one as one.
    pub fn and(self, later: ModemChange) -> Self {
        ModemChange {
            inputs: later.inputs,
            changed: self.changed | later.changed,
        }
    }
}

/// Parity of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even parity.
    Even,
    /// Odd parity.
    Odd,
    /// A parity bit that is always 1.
    Mark,
    /// A parity bit that is always 0.
    Space,
}

/// Serial parameters (QEMU's `QEMUSerialSetParams`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "CHR_IOCTL_SERIAL_SET_PARAMS")]
pub struct SerialParams {
    /// Bits per second.
    pub speed: u32,
    /// Parity.
    pub parity: Parity,
    /// Data bits, 5 to 8.
    pub data_bits: u8,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
}

impl SerialParams {
    /// 115200 8N1: what a line is until somebody sets it up, as in QEMU.
    pub const USUAL: SerialParams = SerialParams {
        speed: 115_200,
        parity: Parity::None,
        data_bits: 8,
        stop_bits: 1,
    };
}

/// Who holds back the other end of a serial line, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowControl {
    /// Nobody.
    #[default]
    None,
    /// Either end, by the characters XOFF and XON.
    XonXoff,
    /// Either end, by the lines RTS and CTS.
    RtsCts,
}

/// What a peer wants a serial line to be, by a protocol such as RFC 2217; or what has come of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialRequest {
    /// Tells one request from all others.
    pub number: u64,
    /// The parameters.
    pub params: SerialParams,
    /// The flow control.
    pub flow: FlowControl,
}

bitflags! {
    /// What is thrown away when a line is purged.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Purge: u8 {
        /// What the line has received and nobody has read.
        const INPUT = 1;
        /// What it was given and has not sent.
        const OUTPUT = 2;
    }
}

/// A peer wants another line purged, by a protocol such as RFC 2217.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeRequest {
    /// Greater than those of all requests before it.
    pub number: u64,
    /// What of the other line.
    pub which: Purge,
}

impl PurgeRequest {
    /// This request and a `later` one as one.
    pub fn and(self, later: PurgeRequest) -> Self {
        PurgeRequest {
            number: self.number.max(later.number),
            which: self.which | later.which,
        }
    }
}

/// The size of a peer's terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// What the front end has asked of the line so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The front end is open (QEMU's `fe_is_open`).
    pub open: bool,
    /// The front end wants the peer's terminal to echo.
    pub echo: bool,
    /// Serial parameters, once set.
    pub serial: Option<SerialParams>,
    /// Flow control, once set.
    pub flow: Option<FlowControl>,
    /// The front end sets up another line as the peer wants it, and answers each
    /// [`Event::SerialAsked`](crate::Event::SerialAsked) and
    /// [`Event::PurgeAsked`](crate::Event::PurgeAsked).
    pub serial_watched: bool,
    /// What came of the request that was answered last.
    pub serial_answer: Option<SerialRequest>,
    /// All [`PurgeRequest`]s up to this number have been carried out.
    pub purged: u64,
    /// A break condition is being sent.
    pub break_on: bool,
    /// The modem outputs (DTR, RTS), once set.
    pub modem: Option<ModemLines>,
    /// The modem inputs of another line, which a peer is shown that looks at modem lines by its
    /// protocol; else it sees [`Line::modem`] at the other end of a cable.
    pub modem_relayed: Option<ModemLines>,
    /// The front end wants to be told of modem inputs that change.
    pub modem_watched: bool,
    /// What was set up of a parallel port.
    pub parallel: ParallelLines,
    /// The front end answers what it reads, so a peer that only ends its sending is still there
    /// ([`FrontEndHooks::half_close`](crate::FrontEndHooks::half_close)).
    pub half_close: bool,
    /// The front end takes its peers one by one, to serve several at a time
    /// ([`FrontEndHooks::accepts`](crate::FrontEndHooks::accepts)).
    pub accepts: bool,
}

/// A back end's answer to one part of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// The front end never asked for this.
    #[default]
    NotAsked,
    /// The back end did it.
    Done,
    /// The back end has no such thing (QEMU's `-ENOTSUP`).
    Unsupported,
    /// The back end tried and failed, or its device does not take this.
    Failed,
    /// The peer has been asked and answers later, in an
    /// [`Event::LineAnswered`](crate::Event::LineAnswered).
    Pending,
}

impl Answer {
    /// The answer of two that were asked the same: what one of them can do, both can.
    pub(crate) fn or(self, other: Answer) -> Self {
        let rank = |answer| match answer {
            Answer::NotAsked => 0,
            Answer::Unsupported => 1,
            Answer::Failed => 2,
            Answer::Pending => 3,
            Answer::Done => 4,
        };
        match rank(other) > rank(self) {
            true => other,
            false => self,
        }
    }
}

/// What a back end answered when a [`Line`] was applied to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Whether the back end is open: see [`FrontEnd::is_open`](crate::FrontEnd::is_open).
    pub open: bool,
    /// The answer to [`Line::echo`].
    pub echo: Answer,
    /// The answer to [`Line::serial`].
    pub serial: Answer,
    /// The answer to [`Line::break_on`].
    pub break_on: Answer,
    /// The answer to [`Line::modem`].
    pub modem: Answer,
    /// The modem inputs as they stand, where the back end has any.
    pub modem_inputs: Option<ModemLines>,
    /// Whether file descriptors can be passed to the peer.
    pub passes_fds: bool,
    /// In [`Event::Changed`](crate::Event::Changed): the peer is the one the replaced back end had
    /// (`x-handover`).
    pub same_peer: bool,
}

impl Answers {
    /// The answers of two back ends that the same line was applied to.
    pub(crate) fn or(self, other: Answers) -> Self {
        Answers {
            echo: self.echo.or(other.echo),
            serial: self.serial.or(other.serial),
            break_on: self.break_on.or(other.break_on),
            modem: self.modem.or(other.modem),
            modem_inputs: self.modem_inputs.or(other.modem_inputs),
            ..self
        }
    }

    /// What a back end without any line set-up answers to `line`.
    pub fn unsupported(line: &Line, open: bool) -> Self {
        let asked = |wanted: bool| {
            if wanted {
                Answer::Unsupported
            } else {
                Answer::NotAsked
            }
        };
        Answers {
            open,
            echo: asked(line.echo),
            serial: asked(line.serial.is_some()),
            break_on: asked(line.break_on),
            modem: asked(line.modem.is_some()),
            modem_inputs: None,
            passes_fds: false,
            same_peer: false,
        }
    }
}
