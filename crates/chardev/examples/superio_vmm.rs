//! guest → vm-superio → front: superio → chardev → back: a VMM that keeps vm-superio's serial port.
//!
//! What changes in the VMM is where the port's writer comes from and what feeds its input; the port
//! itself, its place on the bus and its snapshot stay. The peer is a socket that was opened by
//! somebody else.
//!
//!     cargo run -p chardev --features vm-superio --example superio_vmm

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use chardev::Chardevs;
use chardev::back::OneFd;
use chardev::front::handle::DEFAULT_LIMIT;
use chardev::front::superio::parts;
use chardev::spec::{OptionValue, Options, SocketAddress};
use rustix::event::{PollFd, PollFlags, poll};
use vm_superio::{Serial, Trigger};

/// The VMM's own interrupt.
struct Irq;

impl Trigger for Irq {
    type E = std::io::Error;

    fn trigger(&self) -> Result<(), Self::E> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (ours, mut peer) = UnixStream::pair()?;
    let chardevs = Chardevs::new()?;
    let address = SocketAddress::Fd("console".to_owned());
    let options = Options::new("socket").with("addr", OptionValue::Address(address));
    let options = options.with("server", OptionValue::Bool(false));
    let fds = Arc::new(OneFd::new(ours.into()));
    chardevs.block_on(chardevs.add_with("con0", &options, fds))?;

    // Before: Serial::with_events(irq, events, stdout), and a thread that reads stdin.
    let front = chardevs.front_end("con0", Arc::new(()))?;
    let (events, writer, mut input) = parts(front, DEFAULT_LIMIT)?;
    let mut serial = Serial::with_events(Irq, events, writer);

    let question =
        b"a question that is longer than the 64 bytes vm-superio's receiver holds at a time";
    peer.write_all(question)?;
    let mut echoed = 0;
    while echoed < question.len() {
        // The event loop: one descriptor, level triggered.
        poll(&mut [PollFd::new(&input, PollFlags::IN)], None)?;
        input
            .pump(&mut serial)
            .map_err(|error| format!("{error:?}"))?;
        // The vCPU: an echo.
        while serial.read(5) & 1 != 0 {
            let byte = serial.read(0);
            serial
                .write(0, byte)
                .map_err(|error| format!("{error:?}"))?;
            echoed += 1;
        }
    }
    let mut answer = vec![0; question.len()];
    peer.read_exact(&mut answer)?;
    if answer != question {
        return Err("the echo is another text".into());
    }
    println!(
        "{} bytes there and back, {} dropped",
        answer.len(),
        serial.writer().dropped()
    );
    Ok(())
}
