//! guest → [front: uart16550] → chardev → back → host: the port with a lock, a clock and a task.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use chardev_core::{AttachError, FrontEnd, Stats};
use tokio::time::{Instant, Sleep};

use super::device::{Interrupt, Uart16550};
use super::registers::Counters;
use super::state::{StateError, UartState};
use crate::{Background, Chardevs};

type Boxed = Uart16550<Box<dyn Interrupt>>;

impl Interrupt for Box<dyn Interrupt> {
    fn set_level(&self, high: bool) {
        (**self).set_level(high);
    }
}

/// A serial port that several threads may use: vCPUs read and write its registers, the I/O thread
/// of the chardevs does the rest. Clones are the same port; with the last one it is gone.
///
/// No method blocks beyond the port's own lock, which is held for a system call at most.
#[derive(Clone, Debug)]
pub struct SharedUart {
    shared: Arc<Clocked>,
    _task: Arc<EndWithPort>,
}

#[derive(Debug)]
struct Clocked {
    uart: Mutex<Boxed>,
    began: Instant,
}

#[derive(Debug)]
struct EndWithPort(Background<()>);

impl Drop for EndWithPort {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl std::fmt::Debug for Box<dyn Interrupt> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupt")
    }
}

impl SharedUart {
    /// A serial port in its state after power-on, on chardev `id`.
    ///
    /// # Errors
    /// As [`Chardevs::front_end`].
    pub fn start(
        chardevs: &Chardevs,
        id: &str,
        interrupt: impl Interrupt + 'static,
    ) -> Result<Self, AttachError> {
        let front = chardevs.front_end(id, Arc::new(()))?;
        let label = front.label();
        let uart = Uart16550::new(front, Box::new(interrupt) as Box<dyn Interrupt>);
        Ok(SharedUart::run(chardevs, &label, uart))
    }

    /// A serial port that goes on where [`SharedUart::state`] was taken, on `front`, which is a
    /// front end of one of `chardevs`.
    ///
    /// # Errors
    /// The state is not one of a 16550A; the text names the field.
    pub fn restore(
        chardevs: &Chardevs,
        front: FrontEnd,
        state: &UartState,
        interrupt: impl Interrupt + 'static,
    ) -> Result<Self, StateError> {
        let label = front.label();
        let interrupt = Box::new(interrupt) as Box<dyn Interrupt>;
        let uart = Uart16550::restore(state, front, interrupt)?;
        Ok(SharedUart::run(chardevs, &label, uart))
    }

    fn run(chardevs: &Chardevs, label: &str, uart: Boxed) -> Self {
        let shared = Arc::new(Clocked {
            uart: Mutex::new(uart),
            began: Instant::now(),
        });
        let task = serve(Arc::downgrade(&shared));
        SharedUart {
            shared,
            _task: Arc::new(EndWithPort(chardevs.spawn_beside(&[label], task))),
        }
    }

    /// The guest reads the register at `offset`.
    pub fn read(&self, offset: u8) -> u8 {
        self.shared.uart().read(offset, self.shared.now())
    }

    /// The guest writes `value` to the register at `offset`.
    pub fn write(&self, offset: u8, value: u8) {
        self.shared.uart().write(offset, value, self.shared.now());
    }

    /// The guest reads several bytes at once (`rep insb`), as if one after the other.
    pub fn read_burst(&self, offset: u8, values: &mut [u8]) {
        let now = self.shared.now();
        let mut uart = self.shared.uart();
        for value in values {
            *value = uart.read(offset, now);
        }
    }

    /// The guest writes several bytes at once (`rep outsb`), as if one after the other.
    pub fn write_burst(&self, offset: u8, values: &[u8]) {
        let now = self.shared.now();
        self.shared.uart().write_burst(offset, values, now);
    }

    /// A reset by the machine. The peer stays connected, and gets what was written before.
    pub fn reset(&self) {
        self.shared.uart().reset(self.shared.now());
    }

    /// Everything that makes up the chip, for a snapshot. Stop the vCPUs first.
    pub fn state(&self) -> UartState {
        self.shared.uart().state()
    }

    /// What did not get through so far.
    pub fn counters(&self) -> Counters {
        self.shared.uart().counters()
    }

    /// The counters of the chardev.
    pub fn stats(&self) -> Stats {
        self.shared.uart().front_end().stats()
    }
}

impl Clocked {
    fn uart(&self) -> MutexGuard<'_, Boxed> {
        self.uart.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Looks after the port until it is gone.
async fn serve(shared: Weak<Clocked>) {
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        let Some(shared) = shared.upgrade() else {
            return Poll::Ready(());
        };
        poll_port(cx, &shared, &mut timer);
        Poll::Pending
    })
    .await;
}

fn poll_port(cx: &mut Context<'_>, shared: &Clocked, timer: &mut Option<Pin<Box<Sleep>>>) {
    // Until the timer is set for a time that has not come yet.
    loop {
        let deadline = {
            let mut uart = shared.uart();
            uart.set_waker(cx.waker());
            uart.handle_ready(shared.now())
        };
        let Some(deadline) = deadline else {
            *timer = None;
            return;
        };
        let at = shared.began + deadline;
        match timer {
            Some(timer) => timer.as_mut().reset(at),
            None => *timer = Some(Box::pin(tokio::time::sleep_until(at))),
        }
        let pending = timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(cx).is_pending());
        if pending {
            return;
        }
    }
}
