//! front → chardev → [back] → host: the options of a socket that are about its layers. A build
//! without a layer knows them too, and says what it is built without.

use chardev_core::spec::{OptionSpec, OptionType};

/// Of telnet and its relatives.
pub(super) const TELNET: &[OptionSpec] = &[
    OptionSpec::new(
        "telnet",
        OptionType::Bool,
        "speak telnet; BREAK and the window's size are passed on (default off)",
    ),
    OptionSpec::new(
        "tn3270",
        OptionType::Bool,
        "speak the telnet of 3270 terminals (default off)",
    ),
];

/// Of the side that has a serial line.
pub(super) const RFC2217: &[OptionSpec] = &[OptionSpec::new(
    "x-rfc2217",
    OptionType::Bool,
    "be a serial port to peers that speak RFC 2217, and telnet to others (default off)",
)];

/// Of websocket.
pub(super) const WEBSOCKET: &[OptionSpec] = &[
    OptionSpec::new(
        "websocket",
        OptionType::Bool,
        "server: speak websocket, subprotocol binary (default off)",
    ),
    OptionSpec::new(
        "x-websocket-client",
        OptionType::Bool,
        "client: speak websocket to a server (default off)",
    ),
];
