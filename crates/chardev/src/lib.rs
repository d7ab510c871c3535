//! Character devices for VMM authors: connect a serial port or console to a pty, a socket, a
//! file …, and replace where it goes while the guest runs. A change loses no accepted output and no
//! input already sent. Output while nobody is connected is dropped and counted, unless the chardev
//! [holds](backends::Unix::hold) it or keeps a [history](backends::Unix::history).
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
//! use std::time::Duration;
//!
//! use chardev::backends::{Pty, Ringbuf, Unix};
//! use chardev::{BlockingFrontEnd, Chardevs};
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
//! assert!(console.wait_connected(Some(Duration::from_secs(10)))?); // its first client has come
//!
//! // A terminal for a person: `screen` or `picocom` opens what `pty` names, or the link.
//! # let link = dir.path().join("tty");
//! let info = chardevs.blocking_change("con0", Pty::new().link(&link))?;
//! println!("the console is at {}", info.pty.unwrap_or_default());
//!
//! // At the end of the program: the peers get what was accepted.
//! chardevs.block_on(chardevs.shut_down(Duration::from_secs(5)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To accept `-chardev` or QMP syntax, parse it with `chardev_qapi::parse_chardev` or
//! `parse_backend`; [`add`](Chardevs::add) and [`change`](Chardevs::change) take the resulting
//! [`Options`](spec::Options). A whole QMP server is in `chardev-monitor`.
//!
//! Dropping the last clone of [`Chardevs`] ends the I/O thread at once, and nobody waits for peers
//! that are slow to read: call [`Chardevs::shut_down`] first.
//!
//! # Back ends
#![doc = include_str!("backends.md")]
//!
//! # Errors
//! Each operation has its own error type, such as [`AddError`], which is shown in QEMU's words.
//! [`Error::source`](std::error::Error::source), followed to its end, gives the machine-readable
//! cause: an [`io::Error`](std::io::Error) of the host or a
//! [`ParameterError`](spec::ParameterError).
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
//! serves all chardevs of a [`Chardevs`]. The futures of this crate run on any executor; adding,
//! changing and removing also have a blocking form, such as [`Chardevs::blocking_add`], and
//! [`Chardevs::block_on`] runs any other. [`BlockingFrontEnd`] adds calls that wait for input, for
//! room or for a peer.
//!
//! # Features
//! On by default:
//! - `file`, `pipe`, `pty`, `serial`, `socket`, `stdio`, `udp`: the kind of back end of that name.
//!   `null`, `ringbuf`, `mux` and `hub` are always there.
//! - `uart16550`: the front end `front::uart16550`.
//!
//! Off by default:
//! - `telnet`: sockets speak telnet, TN3270 and RFC 2217; with it comes the kind `x-rfc2217`.
//! - `input`: the kinds `msmouse` and `wctablet`, a serial mouse and a tablet.
//! - `parallel`: the kind `parallel`, a parallel port of the host.
//! - `websocket`: sockets speak websocket.
//! - `tls`: sockets speak TLS, with the keys in the module `objects`.
//! - `dbus`: the kind `dbus`, peers that come over D-Bus; brings `zbus`.
//! - `vc`: the kind `vc`, a text console; what any console shows, as text and as a picture.
//! - `virtio-console`: the front end `front::virtio_console`; brings `vm-memory` and
//!   `virtio-queue`.
//! - `vm-superio`: `front::superio`, for the serial port of the crate `vm-superio`.
//! - `serde`: device state is serializable.
//!
//! # What this crate does not do
//! - It parses neither QMP nor command lines: see `chardev-qapi` and `chardev-qmp`.
//! - Of QEMU's kinds it lacks `braille` and those for SPICE.

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
        feature = "telnet",
        feature = "udp",
        feature = "vc",
        feature = "websocket"
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
#[cfg(feature = "dbus")]
mod dbus;
mod disk;
mod disposal;
mod epochs;
mod first;
pub mod front;
#[cfg(any(feature = "input", feature = "vc"))]
mod input_events;
mod io_threads;
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
#[cfg(feature = "socket")]
mod splice;
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
    Accepted, AddError, Answer, Answers, AttachError, Backend, BackendEvent, BackendId,
    CARRY_LIMIT, ChangeError, ChangeTimes, Channel, Chardev, ChardevRef, Closed, Counter, Drain,
    DropReason, Epoch, Epp, Event, Flow, FlowControl, FreezeWatch, FrontEnd, FrontEndHooks, Given,
    Group, History, HubError, Input, Landmark, LandmarkKind, Late, Layer, Line, LineControl,
    LogControl, LogFull, LogSink, Marked, Medium, ModemChange, ModemLines, NotAnEpoch,
    NothingToDrain, Notice, Observed, Observer, OpenError, ParallelLines, ParallelPort,
    ParallelRequest, Parity, Peers, Policy, PolicyChange, Presence, Purge, PurgeRequest, Ready,
    RemoveError, RingBuffer, RingControl, Sent, SerialParams, SerialRequest, Sharing, Slow,
    Splicing, Stats, TerminalSize, ViewEnd, ViewError, ViewFrom, ViewPlace, Viewed, Viewer,
    WeakChardev, spec, text,
};
#[cfg(feature = "vc")]
pub use chardev_screen as screen;
pub use chardevs::{
    AttachedPeer, ChangeDurations, Chardevs, Details, Info, PeerPlace, ReopenError, RingError,
};
#[cfg(feature = "vc")]
pub use chardevs::{PictureFormat, ScreenError, ShownScreen};
pub use epochs::fresh as fresh_epoch;
#[cfg(any(feature = "input", feature = "vc"))]
pub use input_events::{Axis, InputError, InputEvent, MouseButton};
pub use io_threads::{IO_THREADS_LIMIT, ServiceThread, Stay};
pub use port::Port;
pub use slow_fd::close_elsewhere;
#[cfg(feature = "socket")]
pub use splice::Pipe;
#[doc(hidden)]
pub use sys::{async_fd, async_fd_for};
pub use tasks::{Task, TaskKind};
pub use threads::new_thread;
pub use transaction::{Action, ActionError, TransactionError};
pub use viewers::{MAX_VIEWERS, Watch, WatchError, Watching};
pub use wait::{BlockingFrontEnd, ReadyFd};
