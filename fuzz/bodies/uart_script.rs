//! What must hold for a serial port whatever a guest does to its registers, a host to its chardev.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chardev::front::uart16550::{FIFO_SIZE, Uart16550};
use chardev::{BackendId, ChardevRef, Closed, FrontEnd, ModemLines, Ready};
use chardev_core::{Change, NewBackend, Old};

use crate::host::Host;

/// What the guest has done, by its own account.
#[derive(Default)]
struct Guest {
    lcr: u8,
    mcr: u8,
    written: Vec<u8>,
    looped: u64,
    read: u64,
}

/// Two bytes are one step: what to do, and with which value.
pub(crate) fn run(data: &[u8]) {
    let host = Host::default();
    let chardev = ChardevRef::new(
        "con0",
        BackendId(1),
        Box::new(host.clone()),
        Closed::Discard,
        None,
    );
    let front = FrontEnd::attach(&chardev, Arc::new(())).expect("nobody else is attached");
    let line = Arc::new(AtomicBool::new(false));
    let level = Arc::clone(&line);
    let mut uart = Uart16550::new(front, move |high| level.store(high, Ordering::Relaxed));
    let mut guest = Guest {
        mcr: 0x08,
        ..Guest::default()
    };
    let (mut now, mut id, mut sent, mut breaks) = (Duration::ZERO, 1, 0_u64, false);
    for step in data.chunks_exact(2) {
        let (what, value) = (step[0], step[1]);
        match what {
            0..=95 => guest.write(&mut uart, what & 7, value, now),
            96..=191 => guest.read(&mut uart, what & 7, now, &line),
            192..=199 => host.with(|world| world.room = usize::from(value)),
            200..=215 => {
                host.with(|world| world.to_read.extend(std::iter::repeat_n(value, 5)));
                sent += 5;
            }
            216..=223 => chardev.with(|chardev| chardev.handle_ready(BackendId(id), Ready::all())),
            224..=231 => {
                now += Duration::from_micros(u64::from(value) * 20);
                let next = uart.handle_ready(now);
                assert!(
                    next.is_none_or(|next| next > now),
                    "a clock that stands still"
                );
            }
            232..=235 => {
                host.with(|world| world.inputs = ModemLines::from_bits(u32::from(value) & 0x1e0));
            }
            236..=239 => {
                breaks = true;
                chardev.with(|chardev| chardev.send_break());
            }
            240..=247 => {
                id += 1;
                change(&chardev, &host, id);
            }
            248..=251 => {
                uart.reset(now);
                (guest.lcr, guest.mcr) = (0, 0x08);
            }
            _ => {
                uart.handle_ready(now);
                uart.handle_ready(now);
            }
        }
        check(&uart, &host, &guest, sent, breaks);
    }
}

impl Guest {
    fn write(
        &mut self,
        uart: &mut Uart16550<impl Fn(bool) + Send>,
        offset: u8,
        value: u8,
        now: Duration,
    ) {
        match offset {
            0 if self.lcr & 0x80 == 0 && self.mcr & 0x10 != 0 => self.looped += 1,
            0 if self.lcr & 0x80 == 0 => self.written.push(value),
            3 => self.lcr = value,
            4 => self.mcr = value,
            _ => {}
        }
        uart.write(offset, value, now);
    }

    fn read(
        &mut self,
        uart: &mut Uart16550<impl Fn(bool) + Send>,
        offset: u8,
        now: Duration,
        line: &AtomicBool,
    ) {
        let waiting = uart.state().rx.len();
        let high = line.load(Ordering::Relaxed);
        let value = uart.read(offset, now);
        match offset {
            0 if self.lcr & 0x80 == 0 => self.read += u64::from(waiting > 0),
            // Sending what waited may have raised the line meanwhile, never lowered it.
            2 => assert!(!high || value & 1 == 0, "an interrupt without a source"),
            3 => assert_eq!(value, self.lcr),
            5 => assert!(
                value & 1 != 0 || waiting == 0,
                "input that the status hides"
            ),
            _ => {}
        }
    }
}

fn change(chardev: &ChardevRef, host: &Host, id: u64) {
    let mut new = NewBackend::new(BackendId(id), Box::new(host.clone()));
    let change = Change::begin(chardev).expect("nothing else changes it");
    let offer = change.offer(&mut new).expect("the port refuses nothing");
    drop(change.commit(offer, new, Old::Retire));
}

/// Every byte is somewhere.
fn check(
    uart: &Uart16550<impl Fn(bool) + Send>,
    host: &Host,
    guest: &Guest,
    sent: u64,
    breaks: bool,
) {
    let (state, counters) = (uart.state(), uart.counters());
    assert!(state.tx.len() <= FIFO_SIZE && state.rx.len() <= FIFO_SIZE);
    let lost = counters.tx_overrun + counters.tx_cleared;
    host.with(|world| {
        let arrived = world.received.len() + state.tx.len();
        assert_eq!(guest.written.len() as u64, arrived as u64 + lost);
        if lost == 0 {
            let (sent, waiting) = guest.written.split_at(world.received.len());
            assert!(sent == world.received && waiting == state.tx);
        }
        if !breaks {
            let elsewhere = counters.rx_cleared + counters.rx_overrun + guest.read;
            let waiting = (state.rx.len() + world.to_read.len()) as u64;
            assert_eq!(sent + guest.looped, elsewhere + waiting);
        }
    });
}
