//! A guest without an operating system that checks a serial port from the inside.
//!
//! COM1 is the console; COM2 takes a report of what was read. On the console it takes commands, a
//! line each; see [`command`]. `lines` prints numbered lines and checks numbered records until the
//! record that ends it; `lines=TICKS` on the kernel's command line does so at once, and says what
//! is a long wait for the transmitter, in ticks of the time stamp counter. With `port=N` beside it
//! the lines go over port N of the virtio console instead; with `all=1` lines of their own go over
//! COM1 and ports 0 and 1 at the same time, and the report's lines begin with the channel's number;
//! there the last record on COM1 can also ask for a reset, before which all channels end their
//! lines.
#![no_std]
#![no_main]

mod machine;
mod report;
mod uart;
mod virtio;

use chardev_load::lines::{Form, Lines};
use chardev_load::records::{End, RecordCheck};
use chardev_load::report::{Fact, Waits};
use machine::{halt, power_off, reset, tsc, word_after};
use report::Report;
use uart::{COM1, COM2, Uart};

/// How much of a virtio port's output is sent at a time beside the serial port's.
const SHARE: usize = 64;

/// What lines go over.
pub trait Channel {
    /// Whether something can be read, and whether a batch can be sent.
    fn poll(&mut self) -> (bool, bool);
    /// Reads what was found by `poll`.
    fn read(&mut self, take: &mut dyn FnMut(&[u8]));
    /// Sends a batch, which `poll` said is possible: `fill` says how much of it there is.
    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize);

    /// Sends everything, waiting for it to be gone.
    fn print(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            while !self.poll().1 {}
            self.send(&mut |batch| {
                let count = bytes.len().min(batch.len());
                batch[..count].copy_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                count
            });
        }
        while !self.poll().1 {}
    }
}

#[unsafe(no_mangle)]
extern "C" fn guest_main(parameters: *const u8) -> ! {
    // SAFETY: the entry code passes on what it was entered with.
    let words = unsafe { machine::command_line(parameters) };
    let console = Uart::start(COM1);
    let report = Uart::start(COM2);
    if let Some(long) = word_after(words, b"lines=") {
        let port = word_after(words, b"port=");
        let all = word_after(words, b"all=") == Some(1);
        match (port, all) {
            (_, true) => print_and_check_all(&report, long),
            (Some(number), _) => match virtio::start([number as u16]) {
                Some([mut port]) => print_and_check(&mut port, &report, long),
                None => report.print(b"no virtio console\n"),
            },
            (None, _) => print_and_check(&mut Uart::at(COM1), &report, long),
        }
    } else {
        console.print(b"guest ready\n");
    }
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
            // A break may come by another way than this line, and before it.
            console.print(b"waiting\n");
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
        b"open port 1" => {
            let port = virtio::start([1]);
            console.print(if port.is_some() {
                b"port open\n"
            } else {
                b"no virtio console\n"
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

/// Prints `0`, `1`, `2` … at full speed and checks what comes; reports each sender on COM2, then
/// the faults and the longest wait for the transmitter.
fn print_and_check<C: Channel>(channel: &mut C, report: &Uart, long: u64) {
    let mut session = Session::new(channel, Report::new(report, b""), long);
    while session.step() {}
}

/// The same on three channels at once, none of which waits for another.
fn print_and_check_all(report: &Uart, long: u64) {
    let Some([mut console, mut generic]) = virtio::start([0, 1]) else {
        return report.print(b"no virtio console\n");
    };
    let mut uart = Uart::at(COM1);
    let mut first = Session::new(&mut uart, Report::new(report, b"0 "), long);
    let mut second = Session::new(&mut console, Report::new(report, b"1 "), long);
    let mut third = Session::new(&mut generic, Report::new(report, b"2 "), long);
    // A whole buffer of the virtio ports takes so long to fill that the serial port would rest.
    second.most = SHARE;
    third.most = SHARE;
    while first.step() | second.step() | third.step() {
        let wanted = first.records.end().filter(|end| *end != End::Stop);
        if let Some(end) = wanted {
            second.end();
            third.end();
            match end {
                End::Fault => machine::fault(),
                _ => reset(),
            }
        }
    }
}

/// Lines and records on one channel.
struct Session<'a, C> {
    channel: &'a mut C,
    report: Report<'a>,
    lines: Lines,
    /// How much is sent at a time, if not all that goes into the channel.
    most: usize,
    records: RecordCheck,
    /// How many ticks are a long wait for the transmitter, the longest, and how many were long.
    long: u64,
    waits_since: u64,
    waits: Waits,
    ended: bool,
}

impl<'a, C: Channel> Session<'a, C> {
    fn new(channel: &'a mut C, report: Report<'a>, long: u64) -> Self {
        Session {
            channel,
            report,
            lines: Lines::new(Form::Plain),
            most: usize::MAX,
            records: RecordCheck::new(),
            long,
            waits_since: tsc(),
            waits: Waits::default(),
            ended: false,
        }
    }

    /// Reads and sends what it can; `false` once it has ended.
    fn step(&mut self) -> bool {
        if self.ended {
            return false;
        }
        let (readable, writable) = self.channel.poll();
        let (records, report) = (&mut self.records, &self.report);
        if readable {
            self.channel
                .read(&mut |bytes| records.push(bytes, &mut |peer| report.tell(Fact::Peer(peer))));
        }
        if writable {
            let wait = tsc().wrapping_sub(self.waits_since);
            self.waits.longest = self.waits.longest.max(wait);
            self.waits.long += u64::from(wait > self.long);
            let (lines, most) = (&mut self.lines, self.most);
            self.channel.send(&mut |batch| {
                let count = batch.len().min(most);
                lines.fill(&mut batch[..count]);
                count
            });
            self.waits_since = tsc();
        }
        if self.records.end().is_some() {
            self.end();
        }
        true
    }

    fn end(&mut self) {
        if self.ended {
            return;
        }
        let lines = self.lines.clone();
        lines.end(&mut |piece| self.channel.print(piece));
        let report = &self.report;
        self.records
            .finish(&mut |peer| report.tell(Fact::Peer(peer)));
        report.tell(Fact::Waits(self.waits));
        report.tell(Fact::Faults(self.records.faults()));
        self.ended = true;
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    Uart::at(COM2).print(b"guest panic\n");
    power_off(1);
    halt()
}
