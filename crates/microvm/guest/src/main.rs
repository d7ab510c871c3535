//! A guest without an operating system that checks a serial port from the inside.
//!
//! COM1 is the console; COM2 takes a report of what was read. On the console it takes commands, a
//! line each; see [`command`]. `lines` prints numbered lines and checks numbered records until
//! the record that ends it; `lines=TICKS` on the kernel's command line does so at once, and says what
//! is a long wait for the transmitter, in ticks of the time stamp counter.
#![no_std]
#![no_main]

mod machine;
mod records;
mod uart;

use machine::{halt, power_off, reset, tsc};
use records::{Decimal, Records};
use uart::{COM1, COM2, Uart};

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
        print_and_check(&console, &report, long);
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
        b"lines" => print_and_check(console, report, u64::MAX),
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
            console.print(if good { b"interrupts work\n" } else { b"interrupts FAIL\n" });
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
fn print_and_check(console: &Uart, report: &Uart, long: u64) {
    let mut lines = Lines {
        number: Decimal::ZERO,
        text: [0; 24],
        length: 0,
        sent: 0,
    };
    let mut records = Records::new();
    let mut buffer = [0; 16];
    let mut waits_since = tsc();
    let (mut longest, mut count) = (0, 0);
    while !records.is_stopped() {
        let status = console.status();
        if status & uart::DATA_READY != 0 {
            let count = console.read_ready(&mut buffer);
            for &byte in &buffer[..count] {
                records.push(byte, &mut |sender| sender.report(report));
            }
        }
        if status & uart::TRANSMITTER_EMPTY != 0 {
            let wait = tsc().wrapping_sub(waits_since);
            longest = longest.max(wait);
            count += u64::from(wait > long);
            let mut batch = [0; 16];
            lines.fill(&mut batch);
            console.send_batch(&batch);
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
