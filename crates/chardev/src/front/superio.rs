//! guest → front → chardev → back → host: a chardev behind vm-superio's serial port.
//!
//! `vm_superio::Serial` takes an `io::Write` and has bytes put into it. Here are both: a [`Writer`]
//! as its output, and [`SuperioInput`], which moves input into it as there is room. Its writer
//! cannot say "not now", so output that a peer does not take waits in the [`Writer`], up to its
//! limit; [`Uart16550`](super::uart16550) makes the guest wait instead.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::Waker;

use chardev_core::{Event, FrontEnd, Input};
use vm_superio::Trigger;
use vm_superio::serial::{Error, Serial, SerialEvents};

use super::handle::{Reader, Writer, split};

/// Moves input into a `vm_superio::Serial`. Its descriptor is readable when
/// [`SuperioInput::pump`] has something to do.
#[derive(Debug)]
pub struct SuperioInput(Reader);

/// The events of the serial port; they tell [`SuperioInput`] that the guest has read everything.
#[derive(Clone)]
pub struct SuperioEvents(Waker);

impl fmt::Debug for SuperioEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuperioEvents")
    }
}

impl SerialEvents for SuperioEvents {
    fn buffer_read(&self) {}

    fn out_byte(&self) {}

    fn tx_lost_byte(&self) {}

    fn in_buffer_empty(&self) {
        self.0.wake_by_ref();
    }
}

/// The three parts of a serial port on a chardev: what goes into `Serial::with_events` (or
/// `Serial::from_state`) as events and writer, and what feeds it.
///
/// # Errors
/// The process is out of descriptors.
pub fn parts(front: FrontEnd, limit: usize) -> io::Result<(SuperioEvents, Writer, SuperioInput)> {
    let (reader, writer) = split(front, limit)?;
    let events = SuperioEvents(reader.resume_waker());
    Ok((events, writer, SuperioInput(reader)))
}

impl SuperioInput {
    /// Moves what fits into `serial` and returns how many bytes that was. In loopback nothing does.
    ///
    /// # Errors
    /// The port's interrupt cannot be raised.
    pub fn pump<T: Trigger, EV: SerialEvents, W: Write>(
        &mut self,
        serial: &mut Serial<T, EV, W>,
    ) -> Result<usize, Error<T::E>> {
        let mut total = 0;
        loop {
            let room = serial.fifo_capacity();
            if room == 0 || in_loopback(serial) {
                // The port tells when it is empty; until then its owner need not look.
                self.0.pause();
                return Ok(total);
            }
            let mut buffer = [0; 64];
            let room = room.min(buffer.len());
            match self.0.next_input(&mut buffer[..room]) {
                Some(Input::Data(count)) => {
                    total += serial.enqueue_raw_bytes(&buffer[..count])?;
                }
                // This chip knows no breaks; the line was set up by the chardev.
                Some(Input::Event(Event::Break | Event::Changed(_))) => {}
                Some(Input::Event(_)) => {}
                None => return Ok(total),
            }
        }
    }
}

fn in_loopback<T: Trigger, EV: SerialEvents, W: Write>(serial: &Serial<T, EV, W>) -> bool {
    serial.state().modem_control & 0x10 != 0
}

impl AsFd for SuperioInput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
