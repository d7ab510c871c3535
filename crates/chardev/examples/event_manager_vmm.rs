//! guest → front: uart16550 → chardev → back: a VMM with rust-vmm's event-manager and no async
//! runtime in sight.
//!
//! The serial port sits behind the VMM's own lock. A vCPU reads and writes its registers; the event
//! loop calls `handle_ready` when the port's descriptor says so, or when the time it returned has
//! come. Halfway the console is changed from a ring buffer to a file; the "guest" does not notice.
//!
//!     cargo run -p chardev --example event_manager_vmm

use std::error::Error;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chardev::front::uart16550::Uart16550;
use chardev::spec::{OptionValue, Options};
use chardev::{Chardevs, ReadyFd};
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};

const LINES: u32 = 2_000;

/// What raises the guest's interrupt: in a real VMM an irqfd or `KVM_IRQ_LINE`.
type Irq = Box<dyn Fn(bool) + Send>;
type SharedPort = Arc<Mutex<Uart16550<Irq>>>;

/// The port's seat in the event loop.
struct SerialDevice {
    port: SharedPort,
    ready: ReadyFd,
    began: Instant,
    /// When the port wants to be looked at next.
    deadline: Option<Duration>,
}

impl SerialDevice {
    fn serve(&mut self) {
        // First the descriptor, then the work: what happens between is reported again.
        self.ready.clear();
        let mut port = self.port.lock().expect("no vCPU panicked");
        self.deadline = port.handle_ready(self.began.elapsed());
    }
}

impl MutEventSubscriber for SerialDevice {
    fn process(&mut self, _: Events, _: &mut EventOps) {
        self.serve();
    }

    fn init(&mut self, ops: &mut EventOps) {
        let fd: RawFd = self.ready.as_fd().as_raw_fd();
        if let Err(error) = ops.add(Events::new_raw(fd, EventSet::IN)) {
            eprintln!("the serial port is not in the event loop: {error:?}");
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let chardevs = Chardevs::new()?;
    let ring = Options::new("ringbuf").with("size", OptionValue::Int(1 << 20));
    chardevs.block_on(chardevs.add("con0", &ring))?;
    let front = chardevs.front_end("con0", Arc::new(()))?;

    let irq: Irq = Box::new(|_high| { /* irqfd, or KVM_IRQ_LINE */ });
    let port = Uart16550::new(front, irq);
    let ready = ReadyFd::alone()?;
    port.set_waker(&ready.waker());
    let port: SharedPort = Arc::new(Mutex::new(port));
    let began = Instant::now();
    let mut manager = EventManager::new().map_err(|error| format!("{error:?}"))?;
    let device = Arc::new(Mutex::new(SerialDevice {
        port: Arc::clone(&port),
        ready,
        began,
        deadline: None,
    }));
    manager.add_subscriber(Arc::clone(&device));

    let done = Arc::new(AtomicBool::new(false));
    let vcpu = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            run_guest(&port, began);
            done.store(true, Ordering::Release);
        }
    });

    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().display().to_string();
    let mut changed = false;
    while !(changed && done.load(Ordering::Acquire)) {
        let deadline = device.lock().map_err(|_| "poisoned")?.deadline;
        let wait = deadline.map_or(10, |deadline| {
            let left = deadline.saturating_sub(began.elapsed());
            i32::try_from(left.as_millis()).unwrap_or(10).min(10) + 1
        });
        let events = manager
            .run_with_timeout(wait)
            .map_err(|error| format!("{error:?}"))?;
        if events == 0 {
            device.lock().map_err(|_| "poisoned")?.serve();
        }
        let written = chardevs
            .stats("con0")
            .map_or(0, |stats| stats.output_accepted);
        if !changed && written > 4_000 {
            let options = Options::new("file").with("out", OptionValue::Str(path.clone()));
            chardevs.block_on(chardevs.change("con0", &options))?;
            changed = true;
        }
    }
    vcpu.join().map_err(|_| "the guest panicked")?;

    // The last bytes of the last burst, and the file's own queue.
    device.lock().map_err(|_| "poisoned")?.serve();
    chardevs.block_on(chardevs.shut_down(Duration::from_secs(5)));
    let text = std::fs::read_to_string(file.path())?;
    let expected: String = (0..LINES)
        .map(|number| format!("line {number}\n"))
        .collect();
    if text != expected {
        return Err(format!("{} of {} bytes arrived", text.len(), expected.len()).into());
    }
    println!("{LINES} lines, one change, every byte arrived");
    Ok(())
}

/// What a driver does: sets the port up, and writes up to 16 bytes whenever the transmitter is
/// empty.
fn run_guest(port: &SharedPort, began: Instant) {
    let write = |offset, value| {
        let mut port = port.lock().expect("the event loop did not panic");
        port.write(offset, value, began.elapsed());
    };
    let read = |offset| {
        let mut port = port.lock().expect("the event loop did not panic");
        port.read(offset, began.elapsed())
    };
    write(3, 0x80);
    write(0, 1);
    write(1, 0);
    write(3, 0x03);
    write(2, 0xc1);
    for number in 0..LINES {
        for batch in format!("line {number}\n").as_bytes().chunks(16) {
            while read(5) & 0x20 == 0 {
                std::thread::yield_now();
            }
            batch.iter().for_each(|byte| write(0, *byte));
        }
    }
}
