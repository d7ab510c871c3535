//! A web page and an HTTP API for the consoles of a program, over a
//! [`Server`](chardev_monitor::Server).
//!
//! ```text
//!  browser ◀─HTTP/1.1, WebSocket─▶ thread "web" ── who asks ──▶ Caller::run ─▶ Chardevs
//!                                       └─ output: a cursor in the console's scrollback each
//! ```
//!
//! [`Web::start`] serves it on a thread of its own. Who may come in gets a session: by a
//! [one-time link](Web::link), which stands for the client of a monitor who asked for it. What a
//! session asks for is a command like any other, and is permitted and told to the log where those
//! are.
//!
//! # What this crate does not do
//! - It ends nothing and makes no consoles; what the program has beside chardevs it learns from the
//!   program's own commands (`x-query-consoles`), where there are such.
//! - It waits for no reader: a page is sent so much beyond what it says it has shown, and then
//!   finds the rest in the scrollback, or a gap.
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod api;
mod blocking;
mod error;
mod kept;
mod login;
mod page;
mod renewal;
mod serve;
mod settings;
mod site;
mod stream;
mod tls;
mod web;

/// What comes from outside and is read here, for tests.
#[doc(hidden)]
pub mod said {
    pub use crate::stream::said::{INPUT, Said, input, text};
    pub use crate::stream::window::{WINDOW, Window};

    /// Whether it is a place in the output.
    pub fn place(text: &str) -> bool {
        crate::stream::place::read(text).is_ok()
    }
}

pub use settings::{Listen, Permit, Proxy, Settings};
pub use tls::Tls;
pub use web::{Prepared, Web};
