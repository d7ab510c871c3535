//! guest → [front: uart16550] → chardev → back → host: the chip alone.
//!
//! What each bit does is taken from the PC16550D datasheet; where QEMU and the datasheet differ,
//! the datasheet is followed, because that is what drivers are written for.

use std::collections::VecDeque;
use std::time::Duration;

use chardev_core::{ModemChange, ModemLines, Parity, SerialParams};

use super::state::{StateError, UartState};

/// Bytes in each FIFO.
pub const FIFO_SIZE: usize = 16;
/// Bits per second with a divisor of 1.
const BASE_SPEED: u32 = 115_200;
/// What a divisor of 0 counts as, in bits per second.
const ZERO_DIVISOR_SPEED: u32 = 3_500;

/// Register offsets.
pub(super) mod reg {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const IER: u8 = 1;
    pub(in super::super) const IIR_FCR: u8 = 2;
    pub(in super::super) const LCR: u8 = 3;
    pub(in super::super) const MCR: u8 = 4;
    pub(in super::super) const LSR: u8 = 5;
    pub(in super::super) const MSR: u8 = 6;
}

pub(super) mod ier {
    pub(in super::super) const RDI: u8 = 0x01;
    pub(in super::super) const THRI: u8 = 0x02;
    pub(in super::super) const RLSI: u8 = 0x04;
    pub(in super::super) const MSI: u8 = 0x08;
}

mod iir {
    pub(super) const LINE_STATUS: u8 = 0x06;
    pub(super) const TIMEOUT: u8 = 0x0c;
    pub(super) const DATA: u8 = 0x04;
    pub(super) const THRE: u8 = 0x02;
    pub(super) const MODEM: u8 = 0x00;
    pub(super) const NONE: u8 = 0x01;
    pub(super) const FIFOS_ON: u8 = 0xc0;
}

pub(super) mod fcr {
    pub(in super::super) const ENABLE: u8 = 0x01;
    pub(super) const CLEAR_RX: u8 = 0x02;
    pub(super) const CLEAR_TX: u8 = 0x04;
    /// Enable, DMA mode and trigger level; the rest clears itself.
    pub(in super::super) const KEPT: u8 = 0xc9;
}

pub(super) mod lcr {
    pub(super) const STOP: u8 = 0x04;
    pub(super) const PARITY: u8 = 0x08;
    pub(super) const EVEN: u8 = 0x10;
    pub(super) const STICK: u8 = 0x20;
    pub(super) const BREAK: u8 = 0x40;
    pub(in super::super) const DLAB: u8 = 0x80;
}

pub(super) mod mcr {
    pub(super) const DTR: u8 = 0x01;
    pub(super) const RTS: u8 = 0x02;
    pub(super) const OUT1: u8 = 0x04;
    pub(super) const OUT2: u8 = 0x08;
    pub(in super::super) const LOOP: u8 = 0x10;
    pub(super) const ALL: u8 = 0x1f;
}

pub(super) mod lsr {
    pub(super) const DR: u8 = 0x01;
    pub(super) const OE: u8 = 0x02;
    pub(in super::super) const BI: u8 = 0x10;
    pub(super) const THRE: u8 = 0x20;
    pub(super) const TEMT: u8 = 0x40;
    pub(super) const FIFO_ERROR: u8 = 0x80;
    /// What interrupts as line status.
    pub(super) const ERRORS: u8 = 0x1e;
}

mod msr {
    pub(super) const DELTAS: u8 = 0x0f;
    pub(super) const TERI: u8 = 0x04;
    pub(super) const CTS: u8 = 0x10;
    pub(super) const DSR: u8 = 0x20;
    pub(super) const RI: u8 = 0x40;
    pub(super) const DCD: u8 = 0x80;
}

/// A received character with the line status bits it came with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) byte: u8,
    pub(super) errors: u8,
}

/// Bytes that did not get through, and why. Everything else did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Counters {
    /// Written by the guest while `THRE` was low and the FIFO full.
    pub tx_overrun: u64,
    /// Waiting for the back end when the guest reset or switched the FIFO.
    pub tx_cleared: u64,
    /// Received and unread when the guest reset or switched the FIFO.
    pub rx_cleared: u64,
    /// Looped back while the receiver was full.
    pub rx_overrun: u64,
}

/// The registers of a 16550A. Time is a `Duration` since any fixed moment and never runs backwards.
#[derive(Debug)]
pub struct Registers {
    pub(super) divisor: u16,
    pub(super) ier: u8,
    pub(super) fcr: u8,
    pub(super) lcr: u8,
    pub(super) mcr: u8,
    pub(super) scr: u8,
    /// Inputs in the high half, what changed since the last look in the low half.
    pub(super) msr: u8,
    /// The lines outside, which loopback hides.
    pub(super) inputs: u8,
    pub(super) rx: VecDeque<Received>,
    pub(super) tx: VecDeque<u8>,
    pub(super) overrun: bool,
    pub(super) thre_pending: bool,
    pub(super) timed_out: bool,
    /// When a character last came or was read.
    pub(super) rx_touched: Duration,
    pub(super) counters: Counters,
}

impl Default for Registers {
    fn default() -> Self {
        let inputs = msr::CTS | msr::DSR | msr::DCD;
        Registers {
            divisor: 12,
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: mcr::OUT2,
            scr: 0,
            msr: inputs,
            inputs,
            rx: VecDeque::with_capacity(FIFO_SIZE),
            tx: VecDeque::with_capacity(FIFO_SIZE),
            overrun: false,
            thre_pending: false,
            timed_out: false,
            rx_touched: Duration::ZERO,
            counters: Counters::default(),
        }
    }
}

impl Registers {
    /// The registers as [`Registers::state`] described them.
    ///
    /// # Errors
    /// A field cannot be; the text names it.
    pub fn from_state(state: &UartState) -> Result<Self, StateError> {
        state.registers()
    }

    /// Everything that makes up this chip, as plain data.
    pub fn state(&self) -> UartState {
        UartState::of(self)
    }

    /// A reset by the machine. What waits for the back end was written before and is kept;
    /// unread input goes with the guest that was to read it.
    pub fn reset(&mut self) {
        self.counters.rx_cleared += self.rx.len() as u64;
        *self = Registers {
            tx: std::mem::take(&mut self.tx),
            msr: self.inputs,
            inputs: self.inputs,
            counters: self.counters,
            ..Registers::default()
        };
    }

    /// The guest reads the register at `offset` (its low three bits count).
    pub fn read(&mut self, offset: u8, now: Duration) -> u8 {
        let [low, high] = self.divisor.to_le_bytes();
        match offset & 7 {
            reg::DATA if self.dlab() => low,
            reg::DATA => self.read_data(now),
            reg::IER if self.dlab() => high,
            reg::IER => self.ier,
            reg::IIR_FCR => self.read_iir(),
            reg::LCR => self.lcr,
            reg::MCR => self.mcr,
            reg::LSR => self.read_lsr(),
            reg::MSR => {
                let value = self.msr;
                self.msr &= !msr::DELTAS;
                value
            }
            _ => self.scr,
        }
    }

    /// The guest writes `value` to the register at `offset` (its low three bits count).
    pub fn write(&mut self, offset: u8, value: u8, now: Duration) {
        let [low, high] = self.divisor.to_le_bytes();
        match offset & 7 {
            reg::DATA if self.dlab() => self.divisor = u16::from_le_bytes([value, high]),
            reg::DATA => self.write_data(value, now),
            reg::IER if self.dlab() => self.divisor = u16::from_le_bytes([low, value]),
            reg::IER => self.write_ier(value),
            reg::IIR_FCR => self.write_fcr(value),
            reg::LCR => self.lcr = value,
            reg::MCR => {
                self.mcr = value & mcr::ALL;
                self.update_msr();
            }
            // Both status registers are for reading; their write is for testing chips in a factory.
            reg::LSR | reg::MSR => {}
            _ => self.scr = value,
        }
    }

    /// Whether the interrupt line is high.
    pub fn interrupt(&self) -> bool {
        self.source() != iir::NONE
    }

    /// Output that waits to be taken, oldest first, in two slices.
    pub fn tx(&self) -> (&[u8], &[u8]) {
        self.tx.as_slices()
    }

    /// How many bytes of output wait.
    pub fn tx_len(&self) -> usize {
        self.tx.len()
    }

    /// The oldest `count` bytes of output are gone. With the last one the transmitter is empty.
    pub fn tx_taken(&mut self, count: usize) {
        self.tx.drain(..count.min(self.tx.len()));
        if count > 0 && self.tx.is_empty() {
            self.thre_pending = true;
        }
    }

    /// How many characters the receiver takes without an overrun. 0 in loopback, which cuts the
    /// input off.
    pub fn rx_room(&self) -> usize {
        if self.mcr & mcr::LOOP != 0 {
            return 0;
        }
        self.rx_depth().saturating_sub(self.rx.len())
    }

    /// How many received characters wait for the guest.
    pub fn rx_len(&self) -> usize {
        self.rx.len()
    }

    /// Characters arrive; those beyond [`Registers::rx_room`] are an overrun.
    pub fn rx_push(&mut self, bytes: &[u8], now: Duration) {
        for &byte in bytes {
            self.receive(Received { byte, errors: 0 }, now);
        }
    }

    /// A break arrives: a character of zeros that is marked as a break.
    pub fn rx_break(&mut self, now: Duration) {
        let errors = lsr::BI;
        self.receive(Received { byte: 0, errors }, now);
    }

    /// When the guest is to be told of characters below the trigger level; `None` if it is not.
    pub fn deadline(&self) -> Option<Duration> {
        let waits = self.fifo_on()
            && self.ier & ier::RDI != 0
            && !self.timed_out
            && !self.rx.is_empty()
            && self.rx.len() < self.trigger();
        waits.then(|| self.rx_touched + self.character_time() * 4)
    }

    /// Time has come to `now`.
    pub fn advance(&mut self, now: Duration) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.timed_out = true;
        }
    }

    /// The modem inputs stand as in `lines`; `None` for a back end without any, which counts as a
    /// terminal that is always ready.
    pub fn set_modem_inputs(&mut self, lines: Option<ModemLines>) {
        let always = ModemLines::CTS | ModemLines::DSR | ModemLines::CAR;
        let lines = lines.unwrap_or(always);
        self.inputs = [
            (ModemLines::CTS, msr::CTS),
            (ModemLines::DSR, msr::DSR),
            (ModemLines::RI, msr::RI),
            (ModemLines::CAR, msr::DCD),
        ]
        .iter()
        .filter(|(line, _)| lines.contains(*line))
        .fold(0, |bits, (_, bit)| bits | bit);
        self.update_msr();
    }

    /// Modem inputs have changed, even if they changed back, which a guest can tell from the delta
    /// bits.
    pub fn modem_changed(&mut self, change: ModemChange) {
        let moved = [
            (ModemLines::CTS, msr::CTS),
            (ModemLines::DSR, msr::DSR),
            (ModemLines::CAR, msr::DCD),
        ];
        if self.mcr & mcr::LOOP == 0 {
            for (line, bit) in moved {
                if change.changed.contains(line) {
                    self.msr |= bit >> 4;
                }
            }
            // Ringing that began and ended has ended.
            if change.changed.contains(ModemLines::RI) && !change.inputs.contains(ModemLines::RI) {
                self.msr |= msr::TERI;
            }
        }
        self.set_modem_inputs(Some(change.inputs));
    }

    /// What the guest made of the modem outputs; `None` in loopback, where they stay as they were.
    pub fn modem_outputs(&self) -> Option<ModemLines> {
        if self.mcr & mcr::LOOP != 0 {
            return None;
        }
        let mut lines = ModemLines::empty();
        lines.set(ModemLines::DTR, self.mcr & mcr::DTR != 0);
        lines.set(ModemLines::RTS, self.mcr & mcr::RTS != 0);
        Some(lines)
    }

    /// Whether the guest sends a break. In loopback the line outside rests.
    pub fn sends_break(&self) -> bool {
        self.lcr & lcr::BREAK != 0 && self.mcr & mcr::LOOP == 0
    }

    /// Whether the guest wants to be told of modem inputs that change.
    pub fn watches_modem(&self) -> bool {
        self.ier & ier::MSI != 0
    }

    /// The parameters of the line, once the guest has left the divisor latch.
    pub fn serial_params(&self) -> Option<SerialParams> {
        if self.dlab() {
            return None;
        }
        let is_even = self.lcr & lcr::EVEN != 0;
        let parity = match (self.lcr & lcr::PARITY != 0, self.lcr & lcr::STICK != 0) {
            (false, _) => Parity::None,
            (true, false) if is_even => Parity::Even,
            (true, false) => Parity::Odd,
            (true, true) if is_even => Parity::Space,
            (true, true) => Parity::Mark,
        };
        Some(SerialParams {
            speed: self.speed(),
            parity,
            data_bits: 5 + (self.lcr & 3),
            stop_bits: if self.lcr & lcr::STOP != 0 { 2 } else { 1 },
        })
    }

    /// Whether the FIFOs are on.
    pub fn fifo_on(&self) -> bool {
        self.fcr & fcr::ENABLE != 0
    }

    /// What did not get through so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn dlab(&self) -> bool {
        self.lcr & lcr::DLAB != 0
    }

    fn speed(&self) -> u32 {
        match u32::from(self.divisor) {
            0 => ZERO_DIVISOR_SPEED,
            divisor => BASE_SPEED / divisor,
        }
    }

    fn character_time(&self) -> Duration {
        let bits = 1
            + 5
            + u64::from(self.lcr & 3)
            + u64::from(self.lcr & lcr::PARITY != 0)
            + if self.lcr & lcr::STOP != 0 { 2 } else { 1 };
        Duration::from_nanos(bits * 1_000_000_000 / u64::from(self.speed()))
    }

    fn trigger(&self) -> usize {
        [1, 4, 8, 14][usize::from(self.fcr >> 6)]
    }

    fn rx_depth(&self) -> usize {
        if self.fifo_on() { FIFO_SIZE } else { 1 }
    }

    fn line_status(&self) -> u8 {
        let mut value = self.rx.front().map_or(0, |first| lsr::DR | first.errors);
        if self.overrun {
            value |= lsr::OE;
        }
        if self.tx.is_empty() {
            value |= lsr::THRE | lsr::TEMT;
        }
        if self.fifo_on() && self.rx.iter().any(|received| received.errors != 0) {
            value |= lsr::FIFO_ERROR;
        }
        value
    }

    /// The most urgent reason for an interrupt.
    fn source(&self) -> u8 {
        let enabled = |bit| self.ier & bit != 0;
        let level = self.rx.len();
        let data = level > 0 && (!self.fifo_on() || level >= self.trigger());
        if enabled(ier::RLSI) && self.line_status() & lsr::ERRORS != 0 {
            iir::LINE_STATUS
        } else if enabled(ier::RDI) && data {
            iir::DATA
        } else if enabled(ier::RDI) && self.timed_out {
            iir::TIMEOUT
        } else if enabled(ier::THRI) && self.thre_pending {
            iir::THRE
        } else if enabled(ier::MSI) && self.msr & msr::DELTAS != 0 {
            iir::MODEM
        } else {
            iir::NONE
        }
    }

    fn read_data(&mut self, now: Duration) -> u8 {
        self.timed_out = false;
        self.rx_touched = now;
        self.rx.pop_front().map_or(0, |received| received.byte)
    }

    fn read_iir(&mut self) -> u8 {
        let source = self.source();
        if source == iir::THRE {
            self.thre_pending = false;
        }
        let fifos = if self.fifo_on() { iir::FIFOS_ON } else { 0 };
        source | fifos
    }

    fn read_lsr(&mut self) -> u8 {
        let value = self.line_status();
        self.overrun = false;
        if let Some(first) = self.rx.front_mut() {
            first.errors = 0;
        }
        value
    }

    fn write_data(&mut self, byte: u8, now: Duration) {
        self.thre_pending = false;
        if self.mcr & mcr::LOOP != 0 {
            self.receive(Received { byte, errors: 0 }, now);
            self.thre_pending = self.tx.is_empty();
        } else if self.tx.len() < FIFO_SIZE {
            // Without FIFO there is still as much room, so that a driver which knows how long a
            // character takes, and does not look, loses nothing while the back end is busy.
            self.tx.push_back(byte);
        } else {
            self.counters.tx_overrun += 1;
        }
    }

    fn write_ier(&mut self, value: u8) {
        let changed = (self.ier ^ value) & ier::THRI != 0;
        self.ier = value & 0x0f;
        if changed {
            self.thre_pending = self.ier & ier::THRI != 0 && self.tx.is_empty();
        }
    }

    fn write_fcr(&mut self, value: u8) {
        if (self.fcr ^ value) & fcr::ENABLE != 0 {
            self.clear_rx();
            self.clear_tx();
        }
        if value & fcr::ENABLE == 0 {
            // The other bits are not programmed without this one.
            self.fcr = 0;
            return;
        }
        self.fcr = value & fcr::KEPT;
        if value & fcr::CLEAR_RX != 0 {
            self.clear_rx();
        }
        if value & fcr::CLEAR_TX != 0 {
            self.clear_tx();
        }
    }

    fn clear_rx(&mut self) {
        self.counters.rx_cleared += self.rx.len() as u64;
        self.rx.clear();
        self.timed_out = false;
    }

    fn clear_tx(&mut self) {
        self.counters.tx_cleared += self.tx.len() as u64;
        if !self.tx.is_empty() {
            self.thre_pending = true;
        }
        self.tx.clear();
    }

    fn receive(&mut self, received: Received, now: Duration) {
        self.rx_touched = now;
        if self.rx.len() < self.rx_depth() {
            self.rx.push_back(received);
            return;
        }
        self.overrun = true;
        self.counters.rx_overrun += 1;
        if !self.fifo_on() {
            // The one buffer takes the newer character; a FIFO keeps the older ones.
            self.rx.clear();
            self.rx.push_back(received);
        }
    }

    fn update_msr(&mut self) {
        let lines = if self.mcr & mcr::LOOP != 0 {
            [
                (mcr::RTS, msr::CTS),
                (mcr::DTR, msr::DSR),
                (mcr::OUT1, msr::RI),
                (mcr::OUT2, msr::DCD),
            ]
            .iter()
            .filter(|(output, _)| self.mcr & output != 0)
            .fold(0, |bits, (_, input)| bits | input)
        } else {
            self.inputs
        };
        let old = self.msr & !msr::DELTAS;
        let mut deltas = (old ^ lines) >> 4;
        if lines & msr::RI != 0 {
            // Only the end of ringing counts.
            deltas &= !msr::TERI;
        }
        self.msr = lines | (self.msr & msr::DELTAS) | deltas;
    }
}
