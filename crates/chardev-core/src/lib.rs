//! The machine behind a live console: what a device writes goes to a back end that can be
//! replaced while the device keeps running, and no accepted byte is lost, doubled or reordered.
//!
//! ```text
//!   front end ──write──▶ chardev ──write──▶ back end ──▶ host
//!   (a device) ◀──read── line, policy, ◀──read── (pty, socket, file …)
//!                        counters, log
//!                           ▲
//!                         change
//! ```
//!
//! A [`FrontEnd`] is a device's handle; a [`ChardevRef`] joins it to one [`Backend`]; a
//! [`Change`] replaces the back end as a transaction; a [`Drainer`] lets the old one deliver what
//! it had accepted.
//!
//! # What this crate does not do
//! - No I/O: back ends are given to it. The crate `chardev` has real ones.
//! - No clock: time is an argument of [`Drainer::poll`].
//! - No threads: it is called from any thread, and never waits.
//! - No parsing: [`spec`] only holds the tables that parsers work from.

#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod backend;
mod books;
mod change;
mod chardev;
mod commit;
mod drain;
mod epoch;
mod error;
mod event;
mod few;
mod freeze;
mod frontend;
mod graph;
mod held;
mod hub;
mod input;
mod landmarks;
mod layer;
mod line;
mod link;
mod log;
pub mod memory;
mod mux;
mod notice;
mod output;
mod parallel;
mod parked;
mod policy;
mod reading;
mod registry;
mod ringbuf;
mod seldom;
pub mod spec;
mod splice;
mod stats;
mod sync;
mod tails;
mod tap;
pub mod text;
mod times;

pub use backend::{
    Accepted, Backend, BackendEvent, BackendId, Group, LineControl, Peers, Presence, Ready,
    RingControl, Sent, Sharing,
};
pub use change::{Change, NewBackend, Offer, Old};
pub use chardev::{Chardev, ChardevRef, Given, LogControl, LogSink, WeakChardev};
pub use commit::{Refused, Step, commit};
pub use drain::{DRAIN_LIMIT, Drain, DrainStep, Drainer, Late, NothingToDrain};
pub use epoch::{Epoch, NotAnEpoch};
pub use error::{AddError, AttachError, ChangeError, HubError, OpenError, RemoveError};
pub use event::Event;
pub use few::Few;
pub use freeze::FreezeWatch;
pub use frontend::{FrontEnd, FrontEndHooks, Input};
pub use graph::attach_further;
pub use held::{is_locked_here, locks_taken_here};
pub use hub::Hub;
pub use input::CARRY_LIMIT;
pub use landmarks::{Landmark, LandmarkKind, Marked};
pub use layer::{Flow, Layer, Stack};
pub use line::{
    Answer, Answers, FlowControl, Line, ModemChange, ModemLines, Parity, Purge, PurgeRequest,
    SerialParams, SerialRequest, TerminalSize,
};
pub use link::{Link, LinkHooks, Users, WantLink};
pub use mux::{Mux, MuxHost};
pub use notice::{Notice, Observed, Observer};
pub use parallel::{Epp, ParallelLines, ParallelPort, ParallelRequest};
pub use policy::{Closed, LogFull, Policy, PolicyChange};
pub use registry::{Registry, Removal, Reservation};
pub use ringbuf::RingBuffer;
pub use seldom::{Empty, Seldom};
pub use splice::{Channel, Medium, Splicing};
pub use stats::{Counter, DropReason, Stats};
pub use tap::{
    Glance, History, SCROLLBACK_LIMIT, Slow, VIEWED_SCROLLBACK, ViewEnd, ViewError, ViewFrom,
    ViewPlace, Viewed, Viewer,
};
pub use times::ChangeTimes;
