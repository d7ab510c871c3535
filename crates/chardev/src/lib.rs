//! Character devices for VMM authors: connect a serial port or console to a pty, a socket, a
//! file …, and replace where it goes while the guest runs, losing nothing.
//!
//! Three types are enough to begin with: [`Chardevs`] owns all chardevs of a program and the thread
//! that serves them; a value of [`backends`] says where a chardev goes; a [`FrontEnd`] is your
//! device's end.
//!
//! ```text
//!   your device ──▶ FrontEnd ──▶ chardev "con0" ──▶ back end: pty socket file pipe ringbuf …
//!               ◀──          ◀──       ▲         ◀──
//!                          Chardevs::change
//! ```
//!
//! ```
//! use chardev::Chardevs;
//! use chardev::backends::{Ringbuf, Unix};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("con0.sock");
//! let chardevs = Chardevs::new()?;
//! chardevs.blocking_add("con0", Ringbuf::new(4096))?;
//! let console = chardevs.attach("con0")?;
//! assert_eq!(console.write(b"hello"), 5);
//!
//! // The console moves to a socket; what nobody has read yet goes to whoever comes there first.
//! chardevs.blocking_change("con0", Unix::listen(&path).hold())?;
//! assert_eq!(console.write(b" world"), 0); // nobody is there yet, so the device waits
//! # let mut peer = std::os::unix::net::UnixStream::connect(&path)?;
//! # let mut hello = [0; 5];
//! # std::io::Read::read_exact(&mut peer, &mut hello)?;
//! # assert_eq!(&hello, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What people write, as `-chardev pty,id=con0` or over QMP, is read by `parse_chardev` and
//! `parse_backend` of `chardev-qapi` into [`Options`](spec::Options), which every call takes as
//! well. A whole QMP server is in `chardev-monitor`.
//!
//! # Back ends
#![doc = include_str!("backends.md")]
//!
//! # Errors
//! Each operation has its own, such as [`AddError`], and is shown in QEMU's words. Behind them is
//! what a program can look at, as [`source`](std::error::Error::source): the host's
//! [`io::Error`](std::io::Error), or the [`ParameterError`](spec::ParameterError) of an option.
//!
//! ```
//! use std::error::Error;
//!
//! use chardev::spec::{OptionValue, Options, ParameterError, Problem};
//! use chardev::{AddError, Chardevs};
//!
//! let mistyped = Options::new("pty").with("pth", OptionValue::Str("/run/con0".to_owned()));
//! let refused = Chardevs::new()?.blocking_add("con0", mistyped).unwrap_err();
//! assert_eq!(
//!     refused.to_string(),
//!     "Failed to add chardev 'con0': Parameter 'pth' is unexpected"
//! );
//! let AddError::Open { cause, .. } = refused else {
//!     panic!("the id is free");
//! };
//! let wrong = cause.source().and_then(|source| source.downcast_ref::<ParameterError>());
//! let wrong = wrong.map(|wrong| (wrong.name(), wrong.problem()));
//! assert_eq!(wrong, Some(("pth", &Problem::Unexpected)));
//! # Ok::<(), Box<dyn Error>>(())
//! ```
//!
//! # Threads
//! Every method of [`FrontEnd`] returns at once and may be called from any thread. One I/O thread
//! serves all chardevs of a [`Chardevs`]. The futures of this crate run on any executor, and what
//! may take its time has a call that waits, such as [`Chardevs::blocking_add`];
//! [`BlockingFrontEnd`] reads and writes like a stream.
//!
//! # Features
//! One per kind of back end: `file`, `pipe`, `pty`, `serial`, `socket`, `stdio`, `udp`;
//! `null`, `ringbuf`, `mux` and `hub` are always there. `tls`, not by default, lets sockets speak
//! TLS with the keys in its module `objects`. Front ends: `uart16550`; not by default
//! `virtio-console`, which brings `vm-memory` and `virtio-queue`. `serde` makes device state
//! serializable.
//!
//! # What this crate does not do
//! - It parses neither QMP nor command lines: see `chardev-qapi` and `chardev-qmp`.
//! - Of QEMU's kinds some are not in this version: `vc`, `parallel`, `dbus` and a few more.

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
pub mod backends;
mod background;
mod chardevs;
mod disk;
mod disposal;
pub mod front;
mod notify;
#[cfg(feature = "tls")]
pub mod objects;
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
mod tasks;
mod threads;
mod transaction;
mod viewers;
mod wait;
mod writer;

pub use background::Background;
pub use chardev_core::{
    AddError, Answer, Answers, AttachError, Backend, BackendEvent, BackendId, CARRY_LIMIT,
    ChangeError, ChangeTimes, Chardev, ChardevRef, Closed, Drain, DropReason, Event, Flow,
    FlowControl, FreezeWatch, FrontEnd, FrontEndHooks, Group, History, HubError, Input, Late,
    Layer, Line, LineControl, LogFull, LogSink, ModemChange, ModemLines, NothingToDrain, Notice,
    Observed, Observer, OpenError, Parity, Peers, Policy, PolicyChange, Presence, Ready,
    RemoveError, RingBuffer, RingControl, Sent, SerialParams, SerialRequest, Sharing, Slow, Stats,
    TerminalSize, ViewError, ViewFrom, spec, text,
};
pub use chardevs::{AttachedPeer, Chardevs, Details, Info, PeerPlace, ReopenError, RingError};
pub use port::Port;
pub use slow_fd::close_elsewhere;
pub use tasks::{Task, TaskKind};
pub use threads::new_thread;
pub use transaction::{Action, ActionError, TransactionError};
pub use viewers::{MAX_VIEWERS, Watch, WatchError};
pub use wait::{BlockingFrontEnd, ReadyFd};
