//! front → chardev → [back] → host: serial lines over telnet, as in RFC 2217.

mod client;
mod codes;
mod port;
mod server;
#[cfg(test)]
mod tests;

use chardev_core::spec::Options;

use self::client::Client;
use self::server::Server;
use super::{LayerKind, LayerSpec, options};

/// The side that has the serial line.
pub(super) const SPEC: LayerSpec = LayerSpec {
    options: options::RFC2217,
    wanted: |options, _| Ok(wanted(options)),
};

/// Whether `options` ask for it: then it is spoken instead of plain telnet.
pub(super) fn is_wanted(options: &Options) -> bool {
    options.bool_or("x-rfc2217", false)
}

/// The layer that `options` ask for, if they do.
pub fn wanted(options: &Options) -> Option<LayerKind> {
    let server = || LayerKind::new("x-rfc2217", || Box::new(Server::new()));
    is_wanted(options).then(|| server().shown_as("telnet"))
}

/// The side that wants a serial line.
pub fn client() -> LayerKind {
    LayerKind::new("x-rfc2217 client", || Box::new(Client::new())).shown_as("x-rfc2217")
}
