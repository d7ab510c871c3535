//! guest → front: uart16550 → chardev → back: a serial port that is saved as JSON and goes on
//! elsewhere.
//!
//! The snapshot has the chip, with what the guest wrote and nobody took and what came and was not
//! read. Where the console goes is not part of it: the new process opens back ends of its own.
//!
//!     cargo run -p chardev --features serde --example snapshot

use std::error::Error;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use chardev::Chardevs;
use chardev::back::OneFd;
use chardev::front::uart16550::{SharedUart, UartState};
use chardev::spec::{OptionValue, Options, SocketAddress};

fn main() -> Result<(), Box<dyn Error>> {
    let saved = save()?;
    println!("{saved}");
    restore(&saved)
}

/// A process whose console nobody reads: the peer is missing and the policy is to hold.
fn save() -> Result<String, Box<dyn Error>> {
    let chardevs = Chardevs::new()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("console").display().to_string();
    let options = Options::new("socket")
        .with(
            "addr",
            OptionValue::Address(SocketAddress::Unix {
                path,
                abstract_name: false,
                tight: true,
            }),
        )
        .with("server", OptionValue::Bool(true))
        .with("wait", OptionValue::Bool(false))
        .with("x-closed", OptionValue::Str("hold".to_owned()));
    chardevs.block_on(chardevs.add("con0", &options))?;
    let port = SharedUart::start(&chardevs, "con0", |_high| {})?;
    port.write(3, 0x03);
    port.write(2, 0x01);
    port.write_burst(0, b"last words");
    // Here the VMM stops its vCPUs.
    Ok(serde_json::to_string(&port.state())?)
}

/// The process that goes on, with another back end.
fn restore(saved: &str) -> Result<(), Box<dyn Error>> {
    let state: UartState = serde_json::from_str(saved)?;
    let chardevs = Chardevs::new()?;
    let (ours, mut peer) = UnixStream::pair()?;
    let address = SocketAddress::Fd("console".to_owned());
    let options = Options::new("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(false));
    let fds = Arc::new(OneFd::new(ours.into()));
    chardevs.block_on(chardevs.add_with("con0", &options, fds))?;
    let front = chardevs.front_end("con0", Arc::new(()))?;
    let port = SharedUart::restore(&chardevs, front, &state, |_high| {})?;
    peer.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut text = [0; 10];
    peer.read_exact(&mut text)?;
    if &text != b"last words" || port.read(5) & 0x60 != 0x60 {
        return Err(format!("{:?} instead", String::from_utf8_lossy(&text)).into());
    }
    println!("the restored port sent what the saved one had not");
    Ok(())
}
