//! guest → [front: uart16550] → chardev → back → host: a 16550A serial port that survives changes.
//!
//! Three layers, to be used from whichever fits:
//!
//! - [`Registers`] is the chip alone: no lock, no clock, no chardev. Time is an argument.
//! - [`Uart16550`] joins the chip to a [`FrontEnd`](crate::FrontEnd) and an [`Interrupt`]; for a
//!   VMM with an event loop of its own.
//! - [`SharedUart`] adds a lock, a clock and a task on the I/O thread; for everybody else.
//!
//! # What is promised
//! - **No byte the guest may write is lost.** When the back end takes nothing, `THRE` stays low and
//!   the guest waits, as on hardware; the chardev's waker goes on. Bytes that the guest writes
//!   although `THRE` is low and the FIFO is full, or throws away itself by a FIFO reset, are
//!   counted in [`Counters`].
//! - **No register access blocks**, whatever the back end's state.
//! - **A change of the back end needs nothing from the guest.** The line (parameters, break, modem
//!   outputs) is applied by the chardev; the modem inputs are taken from the answers; both
//!   directions are tried again. There is nothing to forget, so nothing stays stuck.
//!
//! # Output in batches
//! A guest writes one byte an exit. A byte on its own goes to the back end at once. In a burst
//! (several writes with no other register access between) the bytes gather in the FIFO until it is
//! full, the guest looks at any register, or [`BURST_DELAY`] has passed: one system call for up to
//! 16 bytes, while `THRE` truthfully says that they are not gone yet.

mod device;
mod registers;
mod shared;
mod state;

pub use device::{BURST_DELAY, Interrupt, Uart16550};
pub use registers::{Counters, FIFO_SIZE, Registers};
pub use shared::SharedUart;
pub use state::{StateError, UartState};
