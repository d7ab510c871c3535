//! The consoles of many hosts in one place: what each prints goes to a NATS JetStream stream,
//! exactly once by offset, and is read there by whoever may, also while its host is down.
//!
//! ```text
//!  host                                              servers          reader
//!  console ─ scrollback ─▶ Source ─▶ Publisher ─message▶ stream ─message▶ Reader ─▶ bytes, in
//!         └─ log + index ─┘  thread "fleet"   ◀─answer─                            order, once
//!
//!  chardev.CLUSTER.HOST.CONSOLE.out       Chardev-Epoch, Chardev-Offset, Nats-Msg-Id
//!  chardev.CLUSTER.HOST.CONSOLE.events    what happens, not kept ([`events`])
//!  $KV.STREAM_HOSTS.HOST                  who is up, forgotten soon ([`presence`])
//! ```
//!
//! The other way leads [`Desk`]: a host's monitor serves those who come by [`Gate`] from elsewhere,
//! each over a stream of bytes of their own ([`session`]), or with single commands. A console whose
//! back end is of an [`Exchange`] has a peer in the same way.
//!
//! [`Fleet::start`] is what a program with consoles calls, [`Archive::open`] what a reader does,
//! and [`Look::open`] one for people, who are told at once what is wrong. What they rest on knows
//! neither I/O nor a clock: [`subject`], [`message`], [`publisher`] and [`reader`], which a
//! simulator plays against each other with all that networks, servers and hosts may do, and
//! [`presence`].
//!
//! - **Exactly once.** A message says in which life of the console ([`Epoch`](chardev::Epoch)) its
//!   bytes are, and from which offset on. A publisher sends again what was not answered, the server
//!   knows most of it again by its id, and the reader the rest by its offset.
//! - **No console waits.** The output is read by a cursor in the scrollback, as a viewer does, on a
//!   thread of low priority. While servers are away or slow it falls behind: into the indexed log
//!   of the console, if there is one; else what the scrollback did not keep is a gap, which is told
//!   in the stream with its numbers.
//! - **Bounded.** 512 KiB of a console may be on their way, and 16 MiB of all together; 2 MiB are
//!   kept for the messages that come next.
//!
//! # What this crate does not do
//! - It does not publish what an earlier run of the program left in a log: what was printed within
//!   the last moments before a program was killed may be missing in the stream.
//! - It runs no servers and makes no accounts; who may publish and read what is for the servers to
//!   say.
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod alarm;
mod archive;
mod blind;
mod desk;
pub mod events;
mod fleet;
mod follow;
mod gate;
mod hear;
mod herald;
mod hosts;
mod inbox;
mod ledger;
mod link;
mod look;
mod make;
pub mod message;
mod plug;
mod pool;
pub mod presence;
pub mod publisher;
pub mod reader;
mod relay;
pub mod session;
mod settings;
mod socket;
mod source;
pub mod subject;
mod tell;
mod thread;
mod turns;

pub use archive::{Archive, Until};
pub use blind::Blind;
pub use desk::{Answered, Desk, Serve, Served, Wanted};
pub use fleet::{Fleet, Fronts, Program, Progress, Status, Which};
pub use gate::{Driver, Gate, Opened};
pub use hear::Happening;
pub use look::{Console, Look, Start};
pub use plug::{Exchange, NAME as X_NATS, Peering};
pub use relay::Ended;
pub use settings::{Settings, StreamSettings};
