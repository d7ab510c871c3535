//! guest → [front: uart16550] → chardev → back → host: the chip on a chardev, without lock or
//! clock.

use std::io::IoSlice;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use chardev_core::{Event, FrontEnd, ModemLines, Ready, SerialParams};

use super::registers::{Counters, FIFO_SIZE, Registers, reg};
use super::state::{StateError, UartState};

/// How long the bytes of a burst may wait for more in the FIFO.
pub const BURST_DELAY: Duration = Duration::from_millis(1);
/// How often modem inputs are looked at while the guest wants to be told.
const MODEM_PERIOD: Duration = Duration::from_millis(10);

/// The interrupt line of a device.
///
/// Called from whichever thread touches the device, under the device's lock: it must not call back
/// into the device.
pub trait Interrupt: Send {
    /// The line is `high` from now on. Called only when it changes.
    fn set_level(&self, high: bool);
}

impl<F: Fn(bool) + Send> Interrupt for F {
    fn set_level(&self, high: bool) {
        self(high);
    }
}

/// A 16550A between a guest and a chardev, to be kept behind the VMM's own lock.
///
/// No method blocks. Whoever owns it calls [`Uart16550::handle_ready`] once at the start, whenever
/// the waker given to [`Uart16550::set_waker`] was woken, and when the time that the last call
/// returned has come; from any thread. `now` is the time since any fixed moment, and the time that
/// is returned is a moment on the same clock, not a duration from now.
#[derive(Debug)]
pub struct Uart16550<I: Interrupt> {
    registers: Registers,
    front: FrontEnd,
    interrupt: I,
    /// The level the interrupt line has.
    level: bool,
    pending: Arc<Pending>,
    /// The back end takes nothing; the waker tells when it does.
    tx_waits: bool,
    /// The back end had nothing; the waker tells when it does.
    rx_waits: bool,
    burst: Burst,
    sent: Sent,
    /// Whether the back end has modem inputs at all.
    has_modem_inputs: bool,
    next_modem_look: Option<Duration>,
    /// The time that the owner knows of.
    told: Option<Duration>,
}

/// Bytes written with no other register access between.
#[derive(Debug, Default)]
struct Burst {
    length: usize,
    former: usize,
    /// Until when the bytes in the FIFO may wait for more.
    delayed_until: Option<Duration>,
    /// Bytes were held since the owner last looked at the clock.
    recent: bool,
}

/// What the chardev's line was last set to.
#[derive(Debug, Default)]
struct Sent {
    params: Option<SerialParams>,
    modem: Option<ModemLines>,
    breaking: bool,
}

impl<I: Interrupt> Uart16550<I> {
    /// A serial port in its state after power-on, open on `front`.
    pub fn new(front: FrontEnd, interrupt: I) -> Self {
        Uart16550::with_registers(Registers::default(), front, interrupt)
    }

    /// A serial port that goes on where [`Uart16550::state`] was taken. The line of `front` is set
    /// up as the guest had left it.
    ///
    /// # Errors
    /// The state is not one of a 16550A; the text names the field.
    pub fn restore(state: &UartState, front: FrontEnd, interrupt: I) -> Result<Self, StateError> {
        let registers = Registers::from_state(state)?;
        let mut uart = Uart16550::with_registers(registers, front, interrupt);
        uart.set_up_line();
        Ok(uart)
    }

    fn with_registers(registers: Registers, front: FrontEnd, interrupt: I) -> Self {
        let pending = Arc::new(Pending::default());
        for (which, direction) in [(Ready::READ, false), (Ready::WRITE, true)] {
            let pending = Arc::clone(&pending);
            let waker = Waker::from(Arc::new(DirectionWaker { pending, direction }));
            front.set_waker(which, &waker);
        }
        front.set_open(true);
        let mut uart = Uart16550 {
            registers,
            front,
            interrupt,
            level: false,
            pending,
            tx_waits: false,
            rx_waits: false,
            burst: Burst::default(),
            sent: Sent::default(),
            has_modem_inputs: false,
            next_modem_look: None,
            told: None,
        };
        uart.look_at_modem();
        uart
    }

    /// Sets the waker for when [`Uart16550::handle_ready`] is to be called.
    pub fn set_waker(&self, waker: &Waker) {
        self.pending.set_waker(waker);
    }

    /// The guest reads the register at `offset`.
    pub fn read(&mut self, offset: u8, now: Duration) -> u8 {
        self.end_burst();
        let value = self.registers.read(offset, now);
        if offset & 7 == reg::DATA && !self.rx_waits {
            self.receive(now);
        }
        self.settle();
        value
    }

    /// The guest writes `value` to the register at `offset`.
    pub fn write(&mut self, offset: u8, value: u8, now: Duration) {
        if offset & 7 == reg::DATA && !self.registers.dlab() {
            self.write_data(value, now);
        } else {
            self.end_burst();
            let room = self.registers.rx_room();
            self.registers.write(offset, value, now);
            self.set_up_line();
            if self.registers.rx_room() > room && !self.rx_waits {
                // The receiver was reset, or loopback ended.
                self.receive(now);
            }
        }
        self.settle();
    }

    /// The guest writes several bytes at once (`rep outsb`), as if one after the other.
    pub fn write_burst(&mut self, offset: u8, values: &[u8], now: Duration) {
        for &value in values {
            self.write(offset, value, now);
        }
    }

    /// Does whatever can be done now: moves bytes both ways, takes events, looks at the clock.
    /// Returns when to call again at the latest, on the clock of `now`; `None` if there is no such
    /// time.
    pub fn handle_ready(&mut self, now: Duration) -> Option<Duration> {
        let pending = self.pending.take();
        if pending & Pending::WRITE != 0 {
            self.tx_waits = false;
            // The back end may be another one, which the event tells only when the guest has read
            // the input before it.
            self.look_at_modem();
        }
        if pending & Pending::READ != 0 {
            self.rx_waits = false;
        }
        let was_delayed = std::mem::take(&mut self.burst.recent);
        self.burst.delayed_until = None;
        self.transmit();
        if !self.rx_waits {
            self.receive(now);
        }
        if self.next_modem_look.is_some_and(|next| next <= now) {
            self.look_at_modem();
            self.next_modem_look = None;
        }
        self.registers.advance(now);
        self.told = None;
        self.settle_quietly(now);
        // While bursts keep coming the clock keeps ticking, so that none of them has to wake us.
        let tick = was_delayed.then_some(now + BURST_DELAY);
        self.told = earlier(self.deadline(), tick);
        self.told
    }

    /// When [`Uart16550::handle_ready`] has to be called at the latest, on the clock of `now`.
    pub fn deadline(&self) -> Option<Duration> {
        let line = earlier(self.burst.delayed_until, self.next_modem_look);
        earlier(self.registers.deadline(), line)
    }

    /// A reset by the machine. The peer stays connected, and gets what was written before.
    pub fn reset(&mut self, now: Duration) {
        self.end_burst();
        self.registers.reset();
        self.burst = Burst::default();
        // The line keeps its parameters until the next guest chooses some.
        self.sent.params = None;
        self.set_up_line();
        if !self.rx_waits {
            self.receive(now);
        }
        self.settle();
    }

    /// Everything that makes up the chip, for a snapshot. What the guest wrote and no back end has
    /// taken is part of it and is sent by the port that is restored; do not go on with both.
    pub fn state(&self) -> UartState {
        self.registers.state()
    }

    /// What did not get through so far.
    pub fn counters(&self) -> Counters {
        self.registers.counters()
    }

    /// The port's handle to its chardev.
    pub fn front_end(&self) -> &FrontEnd {
        &self.front
    }

    fn write_data(&mut self, value: u8, now: Duration) {
        self.registers.write(reg::DATA, value, now);
        self.burst.length += 1;
        if self.tx_waits {
            return;
        }
        let alone = self.burst.length == 1 && self.burst.former < 2;
        if alone || !self.registers.fifo_on() || self.registers.tx_len() >= FIFO_SIZE {
            self.burst.delayed_until = None;
            self.transmit();
        } else if self.registers.tx_len() > 0 {
            self.burst.recent = true;
            self.burst.delayed_until.get_or_insert(now + BURST_DELAY);
        }
    }

    /// Something else than one more byte: what was held goes out, so that the guest sees `THRE` as
    /// it truly is.
    fn end_burst(&mut self) {
        if self.burst.length > 0 {
            self.burst.former = self.burst.length;
            self.burst.length = 0;
        }
        self.burst.delayed_until = None;
        if !self.tx_waits {
            self.transmit();
        }
    }

    fn transmit(&mut self) {
        while self.registers.tx_len() > 0 && !self.tx_waits {
            let (first, second) = self.registers.tx();
            let count = self
                .front
                .write_vectored(&[IoSlice::new(first), IoSlice::new(second)]);
            self.registers.tx_taken(count);
            self.tx_waits = count == 0;
        }
    }

    /// Takes input while the receiver has room, and events in their order with it.
    fn receive(&mut self, now: Duration) {
        loop {
            let room = self.registers.rx_room();
            if room == 0 {
                return;
            }
            let mut buffer = [0; FIFO_SIZE];
            match self.front.read(&mut buffer[..room]) {
                0 => match self.front.next_event() {
                    Some(event) => self.handle_event(event, now),
                    None => {
                        self.rx_waits = true;
                        return;
                    }
                },
                count => self.registers.rx_push(&buffer[..count], now),
            }
        }
    }

    fn handle_event(&mut self, event: Event, now: Duration) {
        match event {
            Event::Break => self.registers.rx_break(now),
            // The chardev has applied the whole line already; what is left is what only the new
            // back end knows. Both directions are tried again because it wakes both.
            Event::Changed(answers) => {
                self.has_modem_inputs = answers.modem_inputs.is_some();
                self.registers.set_modem_inputs(answers.modem_inputs);
                self.tx_waits = false;
                self.transmit();
            }
            Event::Opened | Event::Closed => self.look_at_modem(),
            Event::Modem(change) => {
                self.has_modem_inputs = true;
                self.registers.modem_changed(change);
            }
            // A 16550 cannot be told what became of its parameters.
            Event::LineAnswered(_) => {}
            Event::MuxIn
            | Event::MuxOut
            | Event::Resized(_)
            | Event::SerialAsked(_)
            | Event::PurgeAsked(_)
            | Event::Purged => {}
        }
    }

    fn look_at_modem(&mut self) {
        let inputs = self.front.modem_inputs();
        self.has_modem_inputs = inputs.is_some();
        self.registers.set_modem_inputs(inputs);
    }

    /// Tells the chardev what the guest changed about the line.
    fn set_up_line(&mut self) {
        let params = self.registers.serial_params();
        // The parameters after power-on are nobody's wish.
        let wished = params.is_some() && (self.sent.params.is_some() || self.is_programmed());
        if wished && params != self.sent.params {
            self.sent.params = params;
            if let Some(params) = params {
                self.front.set_serial(params);
            }
        }
        let breaking = self.registers.sends_break();
        if breaking != self.sent.breaking {
            self.sent.breaking = breaking;
            self.front.set_break(breaking);
        }
        if let Some(outputs) = self.registers.modem_outputs() {
            if self.sent.modem.is_some_and(|sent| sent != outputs)
                || (self.sent.modem.is_none() && !outputs.is_empty())
            {
                self.sent.modem = Some(outputs);
                self.front.set_modem(outputs);
            }
        }
    }

    fn is_programmed(&self) -> bool {
        self.registers.serial_params() != Registers::default().serial_params()
    }

    /// Brings the interrupt line and the owner's clock up to date.
    fn settle(&mut self) {
        if self.registers.watches_modem() && self.has_modem_inputs {
            // Looked at soon, and from then on every period.
            self.next_modem_look.get_or_insert(Duration::ZERO);
        } else {
            self.next_modem_look = None;
        }
        self.settle_interrupt();
        // A tick that comes soon enough needs no call now.
        let slack = self
            .burst
            .delayed_until
            .map_or(Duration::ZERO, |_| BURST_DELAY + BURST_DELAY);
        let late = match (self.deadline(), self.told) {
            (Some(wanted), Some(told)) => wanted + slack < told,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if late {
            self.told = self.deadline();
            self.pending.wake();
        }
    }

    fn settle_quietly(&mut self, now: Duration) {
        if self.registers.watches_modem() && self.has_modem_inputs {
            self.next_modem_look.get_or_insert(now + MODEM_PERIOD);
        } else {
            self.next_modem_look = None;
        }
        self.settle_interrupt();
    }

    fn settle_interrupt(&mut self) {
        let level = self.registers.interrupt();
        if level != self.level {
            self.level = level;
            self.interrupt.set_level(level);
        }
    }
}

fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What became possible since the owner last looked. Woken from any thread, even from inside a call
/// of the chardev while the device's lock is held, so it only notes and passes on.
#[derive(Debug, Default)]
struct Pending {
    bits: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Pending {
    const READ: u8 = 1;
    const WRITE: u8 = 2;

    fn take(&self) -> u8 {
        self.bits.swap(0, Ordering::AcqRel)
    }

    fn set_waker(&self, waker: &Waker) {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
        drop(slot);
        if self.bits.load(Ordering::Acquire) != 0 {
            waker.wake_by_ref();
        }
    }

    fn wake(&self) {
        let slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        let waker = slot.clone();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[derive(Debug)]
struct DirectionWaker {
    pending: Arc<Pending>,
    /// Whether it is the one for writing.
    direction: bool,
}

impl Wake for DirectionWaker {
    fn wake(self: Arc<Self>) {
        let bit = if self.direction {
            Pending::WRITE
        } else {
            Pending::READ
        };
        self.pending.bits.fetch_or(bit, Ordering::AcqRel);
        self.pending.wake();
    }
}
