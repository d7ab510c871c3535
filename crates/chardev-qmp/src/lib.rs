//! A QMP session without I/O: framing, negotiation, dispatch, events; and a small client.
//!
//! ```text
//!            handle_bytes ┌──────────────────── Session ───────────────────┐ poll_request
//!   client ──────────────▶│ parser ▶ queue (8) ▶ envelope ▶ command table  │──────────────▶ owner
//!          ◀──────────────│ output (bounded) ◀── answers, events           │◀──────────────
//!     output,             └────────────────────────────────────────────────┘ respond,
//!     consume_output        answers by itself: qmp_capabilities,             send_event
//!                           query-commands, -version, -qmp-schema, all
//!                           errors in what was asked
//! ```
//!
//! The owner moves the bytes and carries out the [`Command`]s, one at a time and in order, except
//! for those asked for out of band, which do not wait for it. Nothing in a session grows without
//! bound: a client that sends too much is not read from, and one that does not read is sent nothing
//! more, and loses events.
//!
//! ```
//! use chardev_qapi::Json;
//! use chardev_qmp::{Command, Session, SessionConfig, Version};
//!
//! let version = Version { major: 10, minor: 0, micro: 0, package: String::new() };
//! let config = SessionConfig { version, pretty: false, oob_offered: false, kinds: Vec::new() };
//! let mut session = Session::new(config);
//!
//! session.handle_connect();
//! session.consume_output(session.output().len());
//!
//! session.handle_bytes(b"{'execute': 'qmp_capabilities'} {'execute': 'quit', 'id': 7}");
//! let request = session.poll_request().expect("quit is for the owner");
//! assert_eq!(request.command, Command::Quit);
//! session.respond(request.token, Ok(Json::empty()));
//!
//! let expected = "{\"return\": {}}\r\n{\"return\": {}, \"id\": 7}\r\n";
//! assert_eq!(session.output(), expected.as_bytes());
//! ```
//!
//! The monitor for people (HMP) is in [`hmp`]; to its owner it looks the same, see
//! [`Conversation`].
//!
//! What this crate does not do:
//!
//! - It does no I/O. The descriptor that comes with `getfd` is the owner's to receive.
//! - It carries out no command, and does not know which chardevs exist.
//! - It serves one client at a time, as QEMU's monitors do; more clients are more sessions.
#![forbid(unsafe_code)]

mod answers;
pub mod client;
mod command;
mod conversation;
mod envelope;
mod event;
pub mod hmp;
mod output;
mod own;
pub mod ringbuf;
mod session;
mod table;

pub use command::{ChardevAction, Command, Join, YankInstance, check_fdname};
pub use conversation::Conversation;
pub use event::{EVENTS, Event, EventSpec, MAX_STREAMS, Throttle};
pub use own::{Own, OwnCommand, OwnEvent};
pub use session::{
    EVENT_HIGH_WATER, Lock, MAX_QUEUED, MAX_QUEUED_SIZE, OUTPUT_HIGH_WATER, Request, Session,
    SessionConfig, Token, Version,
};
pub use table::{command_names, query_qmp_schema};
