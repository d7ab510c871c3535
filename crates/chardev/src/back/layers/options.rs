//! front → chardev → [back] → host: the options of a socket that are about its layers. A build
//! without a layer knows them too, and says what it is built without.

use chardev_core::spec::{OptionSpec, OptionType};

/// Of telnet and its relatives.
pub(super) const TELNET: &[OptionSpec] = &[
    OptionSpec::new(
        "telnet",
        OptionType::Bool,
        "speak telnet, passing on BREAK and the window size (default off)",
    ),
    OptionSpec::new(
        "tn3270",
        OptionType::Bool,
        "speak telnet as 3270 terminals do (default off)",
    ),
];

/// Of the side that has a serial line.
pub(super) const RFC2217: &[OptionSpec] = &[OptionSpec::new(
    "x-rfc2217",
    OptionType::Bool,
    "offer a serial port to peers that speak RFC 2217, and plain telnet to others (default off)",
)];

/// Of websocket.
pub(super) const WEBSOCKET: &[OptionSpec] = &[
    OptionSpec::new(
        "websocket",
        OptionType::Bool,
        "server: speak websocket, with the binary subprotocol (default off)",
    ),
    OptionSpec::new(
        "x-websocket-client",
        OptionType::Bool,
        "client: speak websocket to a server (default off)",
    ),
];
