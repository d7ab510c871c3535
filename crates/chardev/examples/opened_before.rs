//! guest → front → chardev → back: a console on descriptors that were opened before the VMM locked
//! itself in.
//!
//! With seccomp or Landlock a VMM opens nothing after its start. So everything is created first:
//! the chardevs (whose I/O thread starts with them), and the descriptors that later back ends are
//! to be made of. A change to one of those is then nothing but reads, writes and epoll.
//!
//!     cargo run -p chardev --example opened_before

use std::collections::HashMap;
use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use chardev::back::{FdSource, no_descriptor};
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{Chardevs, OpenError};

/// The descriptors that the VMM has, by name; each is handed out once.
#[derive(Default)]
struct Prepared(Mutex<HashMap<String, OwnedFd>>);

impl Prepared {
    fn keep(&self, name: &str, fd: impl Into<OwnedFd>) {
        if let Ok(mut fds) = self.0.lock() {
            fds.insert(name.to_owned(), fd.into());
        }
    }
}

impl FdSource for Prepared {
    fn take(&self, name: &str) -> Result<OwnedFd, OpenError> {
        let mut fds = self.0.lock().map_err(|_| "poisoned")?;
        fds.remove(name).ok_or_else(|| no_descriptor(name))
    }

    fn give_back(&self, name: &str, fd: OwnedFd) {
        self.keep(name, fd);
    }
}

/// A connected socket by the name it was kept under. A listening one is the same with `server` on.
fn socket(name: &str) -> Options {
    let address = SocketAddress::Fd(name.to_owned());
    Options::new("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(false))
}

fn main() -> Result<(), Box<dyn Error>> {
    let chardevs = Chardevs::new()?;
    let fds = Arc::new(Prepared::default());
    let mut peers = Vec::new();
    for name in ["first", "second"] {
        let (ours, theirs) = UnixStream::pair()?;
        fds.keep(name, ours);
        peers.push(theirs);
    }
    chardevs.block_on(chardevs.add_with("con0", &socket("first"), fds.clone()))?;
    let console = chardevs.front_end("con0", Arc::new(()))?;

    // Here the VMM locks itself in: seccomp filters for its threads, Landlock for its files.

    console.write(b"to the first");
    chardevs.block_on(chardevs.change_with("con0", &socket("second"), fds.clone()))?;
    console.write(b"to the second");
    // A name that is not there is refused, and the console stays where it is.
    let refused = chardevs.block_on(chardevs.change_with("con0", &socket("third"), fds));
    if refused.is_ok() {
        return Err("there is no third".into());
    }
    for (peer, expected) in peers.iter_mut().zip(["to the first", "to the second"]) {
        let mut text = vec![0; expected.len()];
        peer.read_exact(&mut text)?;
        if text != expected.as_bytes() {
            return Err(format!("{:?} instead", String::from_utf8_lossy(&text)).into());
        }
    }
    peers[1].write_all(b"still here")?;
    println!("two consoles on descriptors that were there before");
    Ok(())
}
