//! front → chardev → [back] → host: dbus, a socket whose peers come over D-Bus.
//!
//! A client of the bus registers one end of a connected socket, which is the peer from then on;
//! the bus carries none of the bytes.

use std::sync::Arc;

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, ParameterError};

use super::backend::SocketBackend;
use super::config::Config;
use super::source::Source;
use crate::back::Kind;
use crate::dbus::{Registration, Slot, WantSlot};

/// The kind `dbus` (QAPI `ChardevDBus`).
pub(in crate::back) static KIND: Kind = Kind {
    spec: KindSpec {
        properties: &[("connected", "bool"), ("addr", "SocketAddress")],
        ..KindSpec::new(
            "dbus",
            "a socket whose peers come over D-Bus, by org.qemu.Display1.Chardev",
            OPTIONS,
        )
        .derived_from("chardev-socket")
    },
    open: |options, context| {
        Box::pin(async move {
            let name = options
                .str("name")
                .ok_or_else(|| ParameterError::missing("name"))?;
            let buses = context.buses();
            let bus = match options.str("x-bus").unwrap_or("session") {
                "none" => None,
                address => Some(buses.connect(address).await?),
            };
            let port = &context.port;
            let wanted = WantSlot(port.label().to_owned());
            let predecessor = context.borrow::<_, Arc<Slot>>(&wanted);
            let registration = Registration::new(port, buses, (name, bus), predecessor);
            let config = Config {
                kind: "dbus",
                ..Config::given()
            };
            let source = Source::registered(port, registration);
            Ok(Box::new(SocketBackend::new(port, &config, source, true)) as _)
        })
    },
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "name",
        OptionType::Str,
        "what clients know it by, for example org.qemu.console.serial.0",
    )
    .required_or("chardev: dbus: no name given"),
    OptionSpec::new(
        "x-bus",
        OptionType::Str,
        "session (the default), system, the address of a bus, or none: only for peers that add_client brings (protocol @dbus-display), who see all",
    ),
];
