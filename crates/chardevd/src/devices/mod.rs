//! \[front\] → chardev → back → host: the devices of the daemon, in one table.
//!
//! To add a kind of device: a file with its [`DeviceKind`] (options, how it is read) and its
//! `Device` (how it is started), and a line in [`DEVICES`]. Command line, help, QMP, HMP and
//! `chardevctl device` follow from the table.

pub mod exec;
pub mod null_modem;
mod pump;
mod roll;
mod socket;
pub mod vfio;
pub mod virtio;
mod worker;
mod workshop;

use std::fmt::Debug;

use chardev::spec::{ParameterError, Problem};
use chardev::{Event, FrontEnd};
use chardev_qapi::opts::{Opts, parse_bool, parse_opts};
use tokio::task::JoinHandle;

use crate::DaemonError;

pub use roll::Roll;
pub(crate) use roll::bus_id;
pub use worker::Worker;
pub(crate) use worker::on_own_thread;
pub(crate) use workshop::Start;
pub use workshop::Workshop;

/// The options of devices that are paths of the host.
pub(crate) const PATHS: [&str; 2] = ["cwd", "socket"];

/// A kind of device: what it is called, its options, and how it is read.
#[derive(Debug)]
pub struct DeviceKind {
    /// The word after `--device`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The options, each with one line.
    pub options: &'static [(&'static str, &'static str)],
    /// Reads the options, whose names have been checked.
    pub(crate) read: fn(&Opts) -> Result<Box<dyn Device>, ParameterError>,
}

/// A device as it was asked for, before it is started.
pub(crate) trait Device: Debug + Send {
    /// The chardev that it is listed with.
    fn chardev(&self) -> &str;

    /// Whether its program is started again when it ends; `None` for a device without a program.
    fn restart(&self) -> Option<bool> {
        None
    }

    /// The command that its program is run by, if it has a program.
    fn command(&self) -> Option<&str> {
        None
    }

    /// What it is plugged into; it goes with that, and not by itself.
    fn bus(&self) -> Option<&str> {
        None
    }

    /// The ports that it wants on the bus it is plugged into: how many there must be at least.
    fn number_on_bus(&self) -> Option<u32> {
        None
    }

    /// Attaches it to its chardevs and starts it. Its task ends when [`Start::stop`] asks for it,
    /// and lets its chardevs go.
    ///
    /// # Errors
    /// A chardev is missing or in use, in QEMU's words.
    fn start(self: Box<Self>, start: &Start<'_>) -> Result<JoinHandle<()>, DaemonError>;
}

/// Every kind of device.
pub static DEVICES: &[&DeviceKind] = &[
    &exec::KIND,
    &null_modem::KIND,
    &virtio::CONSOLE,
    &vfio::KIND,
    &virtio::VIRTCONSOLE,
    &virtio::VIRTSERIALPORT,
];

/// A device with its kind and its name, if it has one.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: Option<String>,
    pub(crate) driver: &'static str,
    pub(crate) device: Box<dyn Device>,
}

/// Reads the argument of `--device`.
///
/// # Errors
/// QEMU's texts, for example `'nosuch' is not a valid device model name`.
pub(crate) fn read(text: &str) -> Result<Asked, ParameterError> {
    let opts = parse_opts(text, "driver");
    let driver = opts.get("driver");
    let driver = driver.ok_or_else(|| ParameterError::missing("driver"))?;
    let unknown = || {
        let words = format!("'{driver}' is not a valid device model name");
        ParameterError::not_accepted("driver", driver).shown_as(words)
    };
    let kind = DEVICES.iter().find(|kind| kind.name == driver);
    let kind = kind.ok_or_else(unknown)?;
    for (key, _) in &opts.pairs {
        let known = kind.options.iter().any(|(name, _)| name == key);
        if !known && !["driver", "id"].contains(&key.as_str()) {
            let words = format!("Property '{driver}.{key}' not found");
            return Err(ParameterError::new(key, Problem::Unexpected).shown_as(words));
        }
    }
    Ok(Asked {
        id: opts.get("id").map(str::to_owned),
        driver: kind.name,
        device: (kind.read)(&opts)?,
    })
}

/// Waits until the chardev has its first client.
pub(crate) async fn first_client(front: &FrontEnd) {
    while std::future::poll_fn(|cx| front.poll_event(cx)).await != Event::Opened {}
}

pub(crate) fn required(opts: &Opts, key: &str) -> Result<String, ParameterError> {
    opts.get(key)
        .map(str::to_owned)
        .ok_or_else(|| ParameterError::missing(key))
}

/// A switch, or `default` where it is not given.
pub(crate) fn switch(opts: &Opts, key: &str, default: bool) -> Result<bool, ParameterError> {
    opts.get(key)
        .map_or(Ok(default), |value| parse_bool(key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_refused_by_name() {
        let read_line = "exec,chardev=c0,command=echo a,,b=c,restart=on,id=x";
        let asked = read(read_line).unwrap();
        assert_eq!((asked.id.as_deref(), asked.driver), (Some("x"), "exec"));
        assert_eq!(asked.device.chardev(), "c0");
        assert_eq!(asked.device.restart(), Some(true));
        for (text, error) in [
            ("", "Parameter 'driver' is missing"),
            ("e1000", "'e1000' is not a valid device model name"),
            ("exec,chardev=c0", "Parameter 'command' is missing"),
            ("exec,command=sh", "Parameter 'chardev' is missing"),
            ("exec,chardev=c0,speed=9", "Property 'exec.speed' not found"),
            (
                "exec,chardev=c0,command=a,restart=2",
                "Parameter 'restart' expects 'on' or 'off'",
            ),
            ("null-modem,chardev=c0", "Parameter 'peer' is missing"),
            (
                "vhost-user-console,chardev=c",
                "Parameter 'socket' is missing",
            ),
            (
                "vhost-user-console,chardev=c,socket=s,x-when-full=maybe",
                "Parameter 'x-when-full' does not accept value 'maybe'",
            ),
            (
                "vhost-user-console,chardev=c,socket=s,x-when-full=wait,x-buffer=9",
                "'x-buffer' and 'x-when-full=wait' are mutually exclusive",
            ),
            (
                "vhost-user-console,chardev=c,socket=s,max-ports=32",
                "Parameter 'max-ports' expects a number up to 31",
            ),
            ("virtserialport,chardev=c", "Parameter 'bus' is missing"),
            (
                "virtserialport,bus=b,chardev=c,nr=x",
                "Parameter 'nr' expects a number",
            ),
            (
                "vfio-user-serial,chardev=c",
                "Parameter 'socket' is missing",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), error, "{text}");
        }
    }
}
