//! A QMP session without I/O.
#![forbid(unsafe_code)]

pub mod client;
mod command;
mod envelope;
mod output;
pub mod ringbuf;
mod session;

pub use command::{Command, check_fdname, command_names};
pub use session::{
    EVENT_HIGH_WATER, MAX_QUEUED, MAX_QUEUED_SIZE, OUTPUT_HIGH_WATER, Request, Session,
    SessionConfig, Token, Version,
};
