//! The daemon and its client: glue between the command line, QMP and the library.
//!
//! ```text
//!   command line ─▶ cli ─▶ daemon ─▶ devices (front ends: exec, null-modem) ─▶ chardevs
//!                             └────▶ chardev-monitor (QMP, HMP) ──────────────▶ chardevs
//! ```
#![deny(unsafe_code)]
#![warn(clippy::disallowed_methods)]

pub mod background;
pub mod cli;
mod config;
#[allow(
    clippy::disallowed_methods,
    reason = "a program of its own, which may wait"
)]
pub mod ctl;
pub mod daemon;
pub mod default;
mod default_monitor;
pub mod devices;
mod edge;
mod error;
mod fleet;
pub mod help;
pub mod kinds;
pub mod messages;
mod metrics;
mod options;
mod pidfile;
mod service;
pub mod signals;
mod startup_fds;
mod tokens;
mod web;

pub use default::default_socket;
pub use edge::Inherited;
pub use error::DaemonError;
