//! A QMP server for VMM authors: a socket over which the chardevs of a program are listed, added
//! and changed while a guest runs, with the commands of QEMU and with commands of the program's
//! own.
//!
//! ```text
//!   any number of clients          your program
//!   chardevctl, libvirt,   socket ┌────────────────────────────────────────────────┐
//!   qmp-shell, socat     ◀───────▶│ Server ─▶ QEMU's commands ────▶ Chardevs       │
//!        ▲                        │   │  └──▶ your own (OwnCommand) ──▶ your VMM   │
//!        └──────── events ────────│ Events ◀── chardevs, devices, you              │
//!                                 └────────────────────────────────────────────────┘
//! ```
//!
//! ```
//! use chardev_monitor::{Clients, Json, Object, Server};
//! # use chardev_qmp::client::Client;
//! # use std::os::unix::net::UnixStream;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("qmp.sock");
//!
//! let chardevs = chardev::Chardevs::new()?;
//! let server = Server::builder(&chardevs)
//!     .command("query-answer", |_arguments, _caller| Ok(Json::from(42u32)))
//!     .serve_unix(&path, Clients::Any)?;
//! // … until a client says `quit`: chardevs.block_on(server.stop().requested());
//!
//! let mut client = Client::connect(UnixStream::connect(&path)?)?;
//! assert_eq!(client.execute("query-answer", Object::new())?, Json::Int(42));
//! assert_eq!(client.query_chardev()?[0].label, "qmp0");
//! # drop(server);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! One needs three types: [`Server`], which serves; its [`Builder`], which takes what is the
//! program's own; and [`OwnCommand`], a command with types or one that waits.
//! `examples/own_command.rs` is a whole program with all of them.
//!
//! # Threads
//! The server starts one thread, `monitors`, on which commands are carried out, so that nothing
//! that one computes holds up a console. All methods may be called from any thread. Dropping the
//! last [`Server`] ends its monitors; to let clients hear of it, ask [`Server::stop`] for the end
//! first, and wait for [`Server::finished`].
//!
//! # What this crate does not do
//! - It ends nothing: `quit` is a wish that the program sees at [`Server::stop`].
//! - It stops nothing: `stop` and `cont` change [`Server::run_state`], which devices have to
//!   honour.
//! - It makes no devices: `device_add`, `device_del` and `x-query-devices` do what the program's
//!   [`Devices`] do.
//! - Commands of the program's own are QMP's alone: the monitor for people does not have them.
//! - Unless told to ([`Access`]) it asks nobody who they are: who may open the socket may use every
//!   command. What it then goes by is the user at the other end of a Unix socket, a [`Token`] that
//!   the client presents, or the name in its certificate: an [`Identity`]. For somebody whom the
//!   program has let in by itself there is [`Server::caller_as`].
//! - The wire is in `chardev-qmp`, which knows no socket; the back ends are in `chardev`.
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod access;
mod attached;
mod builder;
mod caller;
mod client;
mod commands;
mod devices;
mod event_forwarder;
mod events;
mod fds;
mod kinds;
mod monitor;
mod monitors;
mod options;
mod own;
mod patience;
mod qom;
mod run;
mod serve;
mod server;
mod service;
mod stats;
mod stop;
mod strangers;
mod tokens;
mod tunnels;
mod viewing;

pub use chardev_qapi::{ErrorKind, Json, Object, QmpError, schema};
pub use chardev_qmp::{Command, Event, Version};

pub use access::{Access, Grant, Identity, Role, TlsName, Vouched};
pub use attached::Joined;
pub use builder::Builder;
pub use caller::Caller;
#[cfg(feature = "tls")]
pub use commands::objects::object_id;
#[cfg(feature = "vc")]
pub use commands::screens::screen_to_json;
pub use devices::{Devices, Doing};
pub use events::{Events, Subscription};
pub use fds::{FdError, FdSets, MAX_IN_SETS};
pub use monitor::Mode;
pub use monitors::{Reserved, Terms};
pub use options::CommandLineOption;
pub use own::{Answer, OwnCommand};
pub use run::RunState;
pub use serve::{Clients, ServeError};
pub use server::Server;
pub use stop::{Reason, Stop};
pub use tokens::{Digest, Origin, Token, Tokens};
#[cfg(feature = "tokens")]
pub use tokens::{Refused, Secret};
