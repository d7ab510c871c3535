//! QAPI on the wire and on the command line: strict parsing of chardev options, in QEMU's words.
//!
//! ```text
//!   QMP bytes ──▶ parser ──▶ Json ──▶ visit::Reader ──▶ parse_backend ──┐
//!                              ▲                                        ▼
//!                              └────────── backend_to_json ◀──────── Options ──▶ a back end
//!                                                                       ▲
//!   -chardev socket,id=c0,path=/tmp/s,server=on ──▶ parse_chardev ──────┘
//! ```
//!
//! Every kind of back end describes its options in a [`KindSpec`](spec::KindSpec); both parsers and
//! the way back are driven by these tables, so an option is written down once.
//!
//! ```
//! use chardev_qapi::spec::{KindSpec, OptionSpec, OptionType};
//! use chardev_qapi::{Json, backend_to_json, parse_backend, parse_chardev};
//!
//! static PTY: KindSpec = KindSpec::new(
//!     "pty",
//!     "a pseudo terminal",
//!     &[OptionSpec::new("path", OptionType::Str, "symbolic link to the slave")],
//! );
//!
//! let line = parse_chardev("pty,id=con0,path=/run/con0", &[&PTY])?;
//! assert_eq!(line.id, "con0");
//! assert_eq!(line.options.str("path"), Some("/run/con0"));
//!
//! let json = backend_to_json(&line.options, &[&PTY]);
//! assert_eq!(json.to_string(), r#"{"type": "pty", "data": {"path": "/run/con0"}}"#);
//!
//! let wrong = Json::parse("{'type': 'pty', 'data': {'path': 7}}")?;
//! let error = parse_backend(&wrong, "backend", &[&PTY]).unwrap_err();
//! assert_eq!(error.name(), "backend.data.path");
//! assert_eq!(
//!     error.to_string(),
//!     "Invalid parameter type for 'backend.data.path', expected: string"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What this crate does not do:
//!
//! - It does no I/O, opens nothing and resolves no name.
//! - It does not judge what options mean together: that `wait` needs a server, or that a size is a
//!   power of two, is for the back end to say. A required address is checked, an empty path is not.
//! - It does not know which kinds exist; the caller brings their tables.
//! - It does not check that an id is free.
#![forbid(unsafe_code)]

mod accept;
pub mod backend;
pub mod cmdline;
mod error;
mod json;
mod key_names;
mod keys;
mod lazy;
mod lexer;
mod line;
mod literal;
pub mod opts;
pub mod parser;
pub mod schema;
mod short;
pub mod unicode;
pub mod visit;
mod write;

pub use chardev_core::{memory, spec, text};

pub use accept::check_arguments;
pub use backend::{backend_to_json, parse_backend};
pub use chardev_core::spec::ParameterError;
pub use cmdline::{BackendLine, ChardevLine, parse_backend_line, parse_chardev};
pub use error::{ErrorClass, ErrorKind, JsonError, QmpError};
pub use json::{Json, Object};
pub use key_names::{KEY_NAMES, name_of_scancode};
pub use lazy::{LazyText, TextSource};
pub use line::{chardev_line, explicit};
pub use short::{Device, UnknownDevice, parse_device};
pub use write::{Written, push_escaped};
