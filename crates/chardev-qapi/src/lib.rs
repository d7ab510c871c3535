//! QAPI on the wire and on the command line, in QEMU's words.
#![forbid(unsafe_code)]

pub mod backend;
pub mod cmdline;
mod error;
mod json;
mod lexer;
mod literal;
pub mod opts;
pub mod parser;
pub mod unicode;
pub mod visit;
mod write;

pub use backend::{backend_to_json, parse_backend};
#[path = "../../chardev-core/src/spec.rs"]
pub mod spec;
pub use cmdline::{BackendLine, ChardevLine, parse_backend_line, parse_chardev};
pub use error::{ErrorClass, QmpError};
pub use json::{Json, Object};
