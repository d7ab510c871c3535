//! front → chardev → [back] → host: x-rfc2217, a serial line of a server on the network.
//!
//! It is a client like any other, whose peer is there once it speaks of its line. What the front
//! end has set up is set up again on every new connection.

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, OptionValue};

use super::config::Config;
use super::open;
use crate::back::Kind;
use crate::back::layers::rfc2217_client;

/// The kind `x-rfc2217`.
pub(in crate::back) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "x-rfc2217",
        "a serial port on a server that speaks RFC 2217",
        OPTIONS,
    ),
    open: |options, context| {
        Box::pin(async move {
            let client = options.clone().with("server", OptionValue::Bool(false));
            let nodelay = options.bool_or("nodelay", true);
            let config = Config::read(&client.with("nodelay", OptionValue::Bool(nodelay)))?;
            let handshake = config.handshake;
            let config = config.over(vec![rfc2217_client()], handshake);
            open(&config, context).await
        })
    },
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "addr",
        OptionType::Address,
        "address of the server: host=… with port=…, path=…, or fd=…",
    )
    .key("")
    .required_or("None or one of 'path', 'fd' or 'host' option required."),
    OptionSpec::new(
        "nodelay",
        OptionType::Bool,
        "TCP: send small writes at once, without Nagle's delay (default on)",
    ),
    OptionSpec::new(
        "reconnect",
        OptionType::Int,
        "reconnect after this many seconds",
    ),
    OptionSpec::new(
        "reconnect-ms",
        OptionType::Int,
        "reconnect after this many milliseconds",
    ),
    OptionSpec::new(
        "x-handshake-ms",
        OptionType::Int,
        "how long the server may take to describe its line, in ms (default 10000)",
    ),
];
