//! guest → [front: virtio-console over vhost-user] → chardev → back → host: consoles with hotswap
//! for any VMM that has a vhost-user slot, without code of its own.
//!
//! The VMM connects to a Unix socket and hands over guest memory, rings and event descriptors. From
//! then on guest and device work without the VMM: a kick wakes this process, which moves the bytes
//! between guest memory and the chardev's descriptor.
//!
//! ```no_run
//! # use std::sync::{Arc, Mutex};
//! use chardev::front::virtio_console::{PortConfig, VirtioConsole};
//!
//! # fn example(chardevs: chardev::Chardevs) -> Result<(), Box<dyn std::error::Error>> {
//! let mut console = VirtioConsole::new(1)?;
//! console.add_port(None, chardevs.front_end("con0", Arc::new(()))?, PortConfig::console())?;
//! let server = chardev_vhost_user::Server::new(Arc::new(Mutex::new(console)))?;
//! let listener = std::os::unix::net::UnixListener::bind("/run/vm0/console.sock")?;
//! server.run(listener)?; // until another thread calls `server.stop()`
//! # Ok(())
//! # }
//! ```
//!
//! # Restarts
//! One VMM is served at a time; the next may connect when the former has gone, with the chardevs
//! and their peers as they were. A VMM that reconnects to a *new* device process (QEMU:
//! `reconnect-ms=…`) goes on where the rings stand: chains are answered in order and in full, or
//! stay in the ring, so the used ring says it all. A process that ends by [`Server::stop`] finishes
//! what it had begun before it lets go of the VMM. One that is killed may have sent what it had not
//! answered, one batch of at most 1 MiB, which the next one sends again; and it may have read up to
//! 64 KiB of input that the guest never gets.
//!
//! # Trust
//! The guest is not trusted, see [`chardev::front::virtio_console`]. Nor is the VMM: memory that is
//! shorter than it says is refused, and one that takes memory away, or hands over descriptors that
//! are no event counters or full ones, ends or slows its own device and nothing else. From the
//! first connection on this crate handles SIGBUS and passes on what does not come from guest
//! memory.

#![deny(unsafe_code)]

mod backend;
mod guard;
mod memory;
mod server;
mod vring;

pub use server::{Error, Server};
