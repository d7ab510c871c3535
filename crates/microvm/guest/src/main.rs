//! A guest without an operating system that checks a serial port from the inside.
//!
//! COM1 is the console; COM2 takes a report of what was read. On the console it takes commands, a
//! line each; see [`command`]. `lines` prints numbered lines and checks numbered records until
//! the record that ends it; `lines=TICKS` on the kernel's command line does so at once, and says what
//! is a long wait for the transmitter, in ticks of the time stamp counter. With `port=N` beside it the
//! lines go over port N of the virtio console instead.
#![no_std]
#![no_main]

mod machine;
mod records;
mod uart;
mod virtio;

use machine::{halt, power_off, reset, tsc};
use records::{Decimal, Records};
use uart::{COM1, COM2, Uart};

/// What lines go over.
pub trait Channel {
    /// How many bytes are sent at a time.
    const BATCH: usize;
    /// Whether something can be read, and whether a batch can be sent.
    fn poll(&mut self) -> (bool, bool);
    /// Reads what was found by `poll`.
    fn read(&mut self, each: &mut dyn FnMut(u8));
    /// Sends up to a batch, which `poll` said is possible.
    fn send(&mut self, bytes: &[u8]);

    /// Sends everything, waiting for it to be gone.
    fn print(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(Self::BATCH) {
            while !self.poll().1 {}
            self.send(part);
        }
        while !self.poll().1 {}
    }
}

/// The largest batch of all channels.
const LARGEST: usize = 512;

/// Where the bytes of a line are before they fit.
struct Lines {
    number: Decimal,
    text: [u8; 24],
    length: usize,
    sent: usize,
}

#[unsafe(no_mangle)]
extern "C" fn guest_main(parameters: *const u8) -> ! {
    // SAFETY: the entry code passes on what it was entered with.
    let words = unsafe { machine::command_line(parameters) };
    let console = Uart::start(COM1);
    let report = Uart::start(COM2);
    if let Some(long) = records::word_after(words, b"lines=") {
        match records::word_after(words, b"port=") {
            Some(number) => match virtio::Port::start(number as u16) {
                Some(mut port) => print_and_check(&mut port, &report, long),
                None => report.print(b"no virtio console\n"),
            },
            None => print_and_check(&mut Uart::at(COM1), &report, long),
        }
    }
    console.print(b"guest ready\n");
    let mut line = [0; 64];
    loop {
        let length = console.read_line(&mut line);
        command(&console, &report, &line[..length]);
    }
}

/// What can be asked for.
fn command(console: &Uart, report: &Uart, line: &[u8]) {
    match line {
        b"lines" => print_and_check(&mut Uart::at(COM1), report, u64::MAX),
        b"echo" => echo(console),
        b"break" => {
            console.send_break();
            console.print(b"break sent\n");
        }
        b"params 9600 7E2" => {
            console.set_params(12, 0x1e);
            console.print(b"params set\n");
        }
        b"params 115200 8N1" => {
            console.set_params(1, 0x03);
            console.print(b"params set\n");
        }
        b"modem off" => {
            console.set_modem(0);
            console.print(b"modem set\n");
        }
        b"modem on" => {
            console.set_modem(0x03);
            console.print(b"modem set\n");
        }
        b"await break" => {
            console.await_break();
            console.print(b"break seen\n");
        }
        b"await interrupts" => {
            let good = console.check_interrupts();
            console.print(if good {
                b"interrupts work\n"
            } else {
                b"interrupts FAIL\n"
            });
        }
        b"reset" => reset(),
        b"off" => power_off(0),
        _ => console.print(b"what?\n"),
    }
}

/// Sends back what comes, up to a dot.
fn echo(console: &Uart) {
    loop {
        let byte = console.read_byte();
        console.print(&[byte]);
        if byte == b'.' {
            return;
        }
    }
}

/// Prints `0`, `1`, `2` … at full speed and checks what comes; reports each sender on COM2, then the
/// faults and the longest wait for the transmitter.
fn print_and_check<C: Channel>(console: &mut C, report: &Uart, long: u64) {
    let mut lines = Lines {
        number: Decimal::ZERO,
        text: [0; 24],
        length: 0,
        sent: 0,
    };
    let mut records = Records::new();
    let mut waits_since = tsc();
    let (mut longest, mut count) = (0, 0);
    while !records.is_stopped() {
        let (readable, writable) = console.poll();
        if readable {
            console.read(&mut |byte| records.push(byte, &mut |sender| sender.report(report)));
        }
        if writable {
            let wait = tsc().wrapping_sub(waits_since);
            longest = longest.max(wait);
            count += u64::from(wait > long);
            let mut batch = [0; LARGEST];
            lines.fill(&mut batch[..C::BATCH]);
            console.send(&batch[..C::BATCH]);
            waits_since = tsc();
        }
    }
    console.print(lines.rest());
    console.print(b"end ");
    console.print(lines.number.digits());
    console.print(b"\n");
    records.finish(&mut |sender| sender.report(report));
    records::print_numbers(report, b"waits", &[longest, count]);
    records.report(report);
}

impl Lines {
    fn fill(&mut self, batch: &mut [u8]) {
        for slot in batch {
            if self.sent == self.length {
                let digits = self.number.digits();
                self.text[..digits.len()].copy_from_slice(digits);
                self.text[digits.len()] = b'\n';
                (self.length, self.sent) = (digits.len() + 1, 0);
                self.number.increment();
            }
            *slot = self.text[self.sent];
            self.sent += 1;
        }
    }

    /// The rest of the line that was begun.
    fn rest(&self) -> &[u8] {
        &self.text[self.sent..self.length]
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    Uart::at(COM2).print(b"guest panic\n");
    power_off(1);
    halt()
}
