//! The daemon and its client: glue between the command line, QMP and the library.
//!
//! ```text
//!   command line ─▶ cli ─▶ daemon ─▶ devices (front ends: exec, null-modem) ─▶ chardevs
//!                             └────▶ monitor (front end: QMP) ─▶ commands ──▶ chardevs
//! ```
#![deny(unsafe_code)]

pub mod attached;
pub mod background;
pub mod cli;
pub mod commands;
pub mod ctl;
pub mod daemon;
pub mod default;
pub mod devices;
mod edge;
pub mod events;
pub mod fds;
pub mod help;
pub mod legacy;
pub mod messages;
pub mod monitor;
pub mod monitors;
pub mod options;
mod patience;
mod pidfile;
pub mod qom;
pub mod run;
pub mod signals;
mod stats;
pub mod stop;
mod viewing;
mod watchman;

pub use default::default_socket;
pub use edge::Inherited;
