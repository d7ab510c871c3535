//! A QMP server for VMM authors: monitors, commands, events and descriptor sets over chardevs.
#![forbid(unsafe_code)]

mod attached;
mod caller;
mod commands;
mod devices;
mod events;
mod fds;
mod monitor;
mod monitors;
mod options;
mod patience;
mod qom;
mod run;
mod server;
mod service;
mod stats;
mod stop;
mod thread;
mod viewing;
mod watchman;

pub use caller::Caller;
pub use devices::Devices;
pub use events::{Events, Subscription};
pub use fds::{FdSets, MAX_IN_SETS};
pub use monitor::Mode;
pub use options::CommandLineOption;
pub use run::RunState;
pub use server::{Builder, Server};
pub use stop::{Reason, Stop};
