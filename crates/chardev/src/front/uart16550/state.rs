//! guest → [front: uart16550] → chardev → back → host: the chip as plain data, for snapshots.

use std::collections::VecDeque;
use std::fmt;

use super::registers::{Counters, FIFO_SIZE, Received, Registers, fcr, ier, lsr};

/// Everything that makes up a 16550A. With the feature `serde` it can be written and read.
///
/// The back end is not part of it: after a restore the front end is attached to whatever chardev
/// the new process has, and sets its line up again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct UartState {
    /// The divisor latch.
    pub divisor: u16,
    /// Interrupt enable.
    pub ier: u8,
    /// FIFO control, without the bits that clear themselves.
    pub fcr: u8,
    /// Line control.
    pub lcr: u8,
    /// Modem control.
    pub mcr: u8,
    /// Modem status, the deltas included.
    pub msr: u8,
    /// The modem inputs behind it, which loopback hides.
    pub modem_inputs: u8,
    /// Scratch.
    pub scr: u8,
    /// Received characters the guest has not read, oldest first.
    pub rx: Vec<u8>,
    /// For each of them its line status bits (0x10 for a break).
    pub rx_errors: Vec<u8>,
    /// Output no back end has taken, oldest first.
    pub tx: Vec<u8>,
    /// An overrun the guest has not seen.
    pub overrun: bool,
    /// A transmitter-empty interrupt the guest has not seen.
    pub thre_pending: bool,
    /// A character timeout the guest has not seen.
    pub timed_out: bool,
    /// What did not get through so far.
    pub counters: Counters,
}

/// Why a state is not one of a 16550A.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateError {
    field: &'static str,
    value: usize,
    limit: usize,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StateError {
            field,
            value,
            limit,
        } = self;
        write!(
            f,
            "16550A state: '{field}' is {value}, which is more than {limit}; \
             restore from a snapshot that this version wrote"
        )
    }
}

impl std::error::Error for StateError {}

impl UartState {
    pub(super) fn of(registers: &Registers) -> Self {
        UartState {
            divisor: registers.divisor,
            ier: registers.ier,
            fcr: registers.fcr,
            lcr: registers.lcr,
            mcr: registers.mcr,
            msr: registers.msr,
            modem_inputs: registers.inputs,
            scr: registers.scr,
            rx: registers.rx.iter().map(|received| received.byte).collect(),
            rx_errors: registers
                .rx
                .iter()
                .map(|received| received.errors)
                .collect(),
            tx: registers.tx.iter().copied().collect(),
            overrun: registers.overrun,
            thre_pending: registers.thre_pending,
            timed_out: registers.timed_out,
            counters: registers.counters,
        }
    }

    pub(super) fn registers(&self) -> Result<Registers, StateError> {
        let depth = if self.fcr & fcr::ENABLE != 0 {
            FIFO_SIZE
        } else {
            1
        };
        for (field, value, limit) in [
            ("ier", usize::from(self.ier), 0x0f),
            ("mcr", usize::from(self.mcr), 0x1f),
            ("rx", self.rx.len(), depth),
            ("rx_errors", self.rx_errors.len(), self.rx.len()),
            ("tx", self.tx.len(), FIFO_SIZE),
        ] {
            if value > limit {
                return Err(StateError {
                    field,
                    value,
                    limit,
                });
            }
        }
        let errors = self.rx_errors.iter().copied().chain(std::iter::repeat(0));
        let rx = self.rx.iter().zip(errors);
        let rx = rx.map(|(&byte, errors)| Received {
            byte,
            errors: errors & lsr::BI,
        });
        let mut registers = Registers {
            divisor: self.divisor,
            ier: self.ier,
            fcr: self.fcr & fcr::KEPT,
            lcr: self.lcr,
            mcr: self.mcr,
            msr: self.msr,
            inputs: self.modem_inputs & 0xf0,
            scr: self.scr,
            overrun: self.overrun,
            thre_pending: self.thre_pending,
            timed_out: self.timed_out && !self.rx.is_empty(),
            counters: self.counters,
            ..Registers::default()
        };
        // The queues keep their room, so that nothing is allocated while the guest runs.
        registers.rx.extend(rx);
        registers.tx.extend(&VecDeque::from(self.tx.clone()));
        if registers.tx.is_empty() && registers.ier & ier::THRI != 0 {
            // A guest that waits for this interrupt may have lost it with the old process; one too
            // many is harmless, one too few is a guest that prints nothing ever again.
            registers.thre_pending = true;
        }
        Ok(registers)
    }
}
