//! Character devices for VMM authors: connect a serial port or console to a pty, a socket, a
//! file …, and replace where it goes while the guest runs, losing nothing.
//!
//! ```text
//!   your device ──▶ FrontEnd ──▶ chardev "con0" ──▶ back end: pty socket file pipe ringbuf …
//!               ◀──          ◀──       ▲         ◀──
//!                          Chardevs::change
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use chardev::back::NoFds;
//! use chardev::spec::{OptionValue, Options};
//!
//! let chardevs = chardev::Chardevs::new()?;
//! let ring = Options::new("ringbuf").with("size", OptionValue::Int(4096));
//! chardevs.block_on(chardevs.add("con0", &ring, Arc::new(NoFds)))?;
//! let console = chardevs.front_end("con0", Arc::new(()))?;
//! assert_eq!(console.write(b"hello"), 5);
//!
//! // The console moves to another back end; what nobody has read yet moves with it.
//! let bigger = Options::new("ringbuf").with("size", OptionValue::Int(65536));
//! chardevs.block_on(chardevs.change("con0", &bigger, Arc::new(NoFds)))?;
//! assert_eq!(console.write(b" world"), 6);
//! assert_eq!(chardevs.ring_read("con0", 100)?, b"hello world");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Threads
//! Every method of [`FrontEnd`] returns at once and may be called from any thread. One I/O thread
//! serves all chardevs of a [`Chardevs`]; no async runtime shows in the synchronous API.
//!
//! # Features
//! One per kind of back end: `file`, `pipe`, `pty`, `serial`, `socket`, `stdio`, `udp`;
//! `null`, `ringbuf`, `mux` and `hub` are always there. Front ends: `uart16550`; not by default
//! `virtio-console`, which brings `vm-memory` and `virtio-queue`. `serde` makes device state
//! serializable.
//!
//! # What this crate does not do
//! - It parses neither QMP nor command lines: see `chardev-qapi` and `chardev-qmp`.
//! - Telnet, TLS and websockets are not in this version.

#![deny(unsafe_code)]
#![warn(clippy::disallowed_methods)]
#![cfg_attr(
    not(all(
        feature = "file",
        feature = "pipe",
        feature = "pty",
        feature = "serial",
        feature = "socket",
        feature = "stdio",
        feature = "udp"
    )),
    allow(
        dead_code,
        unused_imports,
        reason = "fewer back ends use less of what they share"
    )
)]

pub mod back;
mod chardevs;
mod disk;
mod disposal;
pub mod front;
mod notify;
mod offload;
mod port;
mod prepare;
#[cfg(any(feature = "pty", feature = "serial"))]
mod presence;
mod reactor;
mod scene;
#[cfg(feature = "socket")]
mod shortage;
mod slow_fd;
#[allow(unsafe_code, reason = "the one edge where a descriptor is vouched for")]
mod sys;
mod transaction;
mod viewers;
mod wait;
mod writer;

pub use chardev_core::{
    AddError, Answer, Answers, AttachError, Backend, BackendEvent, BackendId, CARRY_LIMIT,
    ChangeError, ChangeTimes, Chardev, ChardevRef, Closed, Drain, DropReason, Event, FrontEnd,
    FrontEndHooks, Group, History, HoldWatch, Input, Late, Line, LineControl, LogFull, LogSink,
    ModemChange, ModemLines, NothingToDrain, Notice, Observed, Observer, Parity, Peers, Policy,
    PolicyChange, Presence, Ready, RemoveError, RingBuffer, RingControl, Sent, SerialParams,
    Sharing, Slow, Stats, TerminalSize, ViewError, ViewFrom, spec, text,
};
pub use chardevs::{AttachedPeer, Chardevs, Details, Info, PeerPlace, ReopenError, RingError};
pub use port::Port;
pub use slow_fd::close_elsewhere;
pub use transaction::{Action, TransactionError};
pub use viewers::{MAX_VIEWERS, Watch, WatchError};
pub use wait::{BlockingFrontEnd, ReadyFd};
