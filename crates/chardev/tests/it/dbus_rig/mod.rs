//! Clients of chardevs on D-Bus, on a bus and without one.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use chardev::Chardevs;
use chardev::spec::{OptionValue, Options};
use tokio::runtime::{Builder, Runtime};
use zbus::names::BusName;
use zbus::{Connection, Message, OwnedVariant};

pub(crate) const SERVICE: &str = "org.qemu";
const INTERFACE: &str = "org.qemu.Display1.Chardev";

/// `options` of the kind `dbus` that is on no bus.
pub(crate) fn on_no_bus(options: Options, name: &str) -> Options {
    on_bus(options, name, "none")
}

/// `options` of the kind `dbus` that is on `bus`.
pub(crate) fn on_bus(options: Options, name: &str, bus: &str) -> Options {
    let text = |text: &str| OptionValue::Str(text.to_owned());
    options.with("name", text(name)).with("x-bus", text(bus))
}

/// A client, on a bus or without one.
pub(crate) struct Client {
    runtime: Runtime,
    connection: Connection,
    service: Option<&'static str>,
}

impl Client {
    /// One on the bus at `address`.
    pub(crate) fn on(address: &str) -> Self {
        let runtime = runtime();
        let building = zbus::connection::Builder::address(address).build();
        Client {
            connection: runtime.block_on(building).unwrap(),
            runtime,
            service: Some(SERVICE),
        }
    }

    /// One that is connected to `chardevs` alone.
    pub(crate) fn beside(chardevs: &Chardevs) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        chardevs.add_dbus_peer(theirs.into()).unwrap();
        let runtime = runtime();
        let building = zbus::connection::Builder::unix_stream(ours).p2p().build();
        Client {
            connection: runtime.block_on(building).unwrap(),
            runtime,
            service: None,
        }
    }

    /// Its unique name; empty without a bus.
    pub(crate) fn name(&self) -> String {
        let name = self.connection.unique_name();
        name.map_or_else(String::new, ToString::to_string)
    }

    fn call<B>(
        &self,
        label: &str,
        (interface, method): (&str, &str),
        body: &B,
    ) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let to = self.service.map(|name| BusName::try_from(name).unwrap());
        let path = format!("/org/qemu/Display1/Chardev_{label}");
        let calling = self
            .connection
            .call_method(to, path, Some(interface), method, body);
        self.runtime.block_on(calling)
    }

    /// Registers one end of a new pair as the peer of `label`; the other end.
    pub(crate) fn register(&self, label: &str) -> zbus::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = zbus::Fd::from(theirs.as_fd());
        self.call(label, (INTERFACE, "Register"), &stream)?;
        Ok(ours)
    }

    /// Registers what is no connected socket.
    pub(crate) fn register_fd(&self, label: &str, fd: impl AsFd) -> zbus::Result<()> {
        let stream = zbus::Fd::from(fd.as_fd());
        self.call(label, (INTERFACE, "Register"), &stream).map(drop)
    }

    pub(crate) fn send_break(&self, label: &str) {
        self.call(label, (INTERFACE, "SendBreak"), &()).unwrap();
    }

    /// A property as text; `None` if there is no such object.
    pub(crate) fn property(&self, label: &str, name: &str) -> Option<String> {
        let properties = ("org.freedesktop.DBus.Properties", "Get");
        let answer = self.call(label, properties, &(INTERFACE, name)).ok()?;
        let value: OwnedVariant = answer.body().deserialize().unwrap();
        if let Ok(text) = String::try_from(value.clone()) {
            return Some(text);
        }
        if let Ok(switch) = bool::try_from(value.clone()) {
            return Some(switch.to_string());
        }
        Some(Vec::<String>::try_from(value).unwrap().join(" "))
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Registers one end of a new pair as the peer of `label`, without a bus; the other end.
pub(crate) fn register(chardevs: &Chardevs, label: &str) -> UnixStream {
    Client::beside(chardevs).register(label).unwrap()
}
