//! guest → [front: vfio-user-serial] → chardev → back → host: serial ports of other programs'
//! guests.

use chardev::spec::ParameterError;
use chardev_qapi::opts::Opts;
use chardev_vfio_user::{Error, Server};
use tokio::task::JoinHandle;

use crate::DaemonError;
use crate::devices::socket::Bound;
use crate::devices::worker::on_own_thread;
use crate::devices::{Device, DeviceKind, Start, first_client, required};

/// The kind `vfio-user-serial`.
pub(super) static KIND: DeviceKind = DeviceKind {
    name: "vfio-user-serial",
    summary: "a PCI serial card with a 16550A for a VMM with a vfio-user slot",
    options: &[
        ("chardev", "the chardev behind the port"),
        (
            "socket",
            "the path of the Unix socket that the VMM connects to",
        ),
    ],
    read,
};

fn read(opts: &Opts) -> Result<Box<dyn Device>, ParameterError> {
    Ok(Box::new(Serial {
        chardev: required(opts, "chardev")?,
        socket: required(opts, "socket")?,
    }))
}

/// A serial card that VMMs connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// The chardev behind the port.
    pub chardev: String,
    /// The path of the Unix socket.
    pub socket: String,
}

impl Device for Serial {
    fn chardev(&self) -> &str {
        &self.chardev
    }

    /// Listens, and serves one VMM after the other until it is to end.
    fn start(self: Box<Self>, start: &Start<'_>) -> Result<JoinHandle<()>, DaemonError> {
        let Serial { chardev, socket } = *self;
        let bound = Bound::new(&socket, &start.place(&socket))?;
        let make = {
            let (chardevs, id) = (start.chardevs().clone(), chardev.clone());
            move || Server::new(&chardevs, &id)
        };
        let refused = |error| match error {
            Error::Attach(error) => start.attach_error("chardev", error),
            error => DaemonError::new(error.to_string()).because(error),
        };
        // A port takes all events, so who waits for a client must do so before there is a port.
        let (server, waiting) = if start.is_held(&chardev) {
            (None, Some(start.attach("chardev", &chardev)?))
        } else {
            (Some(make().map_err(refused)?), None)
        };
        let stop = start.stop.clone();
        Ok(start.worker().spawn(async move {
            if let Some(front) = waiting {
                tokio::select! {
                    () = first_client(&front) => {}
                    _ = stop.requested() => return,
                }
            }
            let server = server.map_or_else(make, Ok);
            let server = match server {
                Ok(server) => server,
                Err(error) => {
                    return tracing::error!("vfio-user-serial on '{socket}' has stopped: {error}");
                }
            };
            let stopper = server.stopper();
            let listener = bound.listener();
            let running = on_own_thread("vfio-user", move || server.run(listener?));
            let mut running = std::pin::pin!(running);
            let ended = tokio::select! {
                ended = &mut running => ended,
                _ = stop.requested() => {
                    stopper.stop();
                    running.await
                }
            };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!("vfio-user-serial on '{socket}' has stopped: {error}")
                }
                Err(error) => {
                    tracing::error!("vfio-user-serial on '{socket}' has stopped: {error}")
                }
            }
            bound.remove().await;
        }))
    }
}
