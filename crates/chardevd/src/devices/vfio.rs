//! guest → [front: vfio-user-serial] → chardev → back → host: serial ports of other programs' guests.

use std::path::Path;
use std::sync::Arc;

use chardev::{AttachError, Chardevs};
use chardev_monitor::Stop;
use chardev_vfio_user::{Error, Server};
use tokio::task::JoinHandle;

use crate::devices::socket::Bound;
use crate::devices::worker::on_own_thread;
use crate::devices::{Worker, first_client};

/// A serial card that VMMs connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// The chardev behind the port.
    pub chardev: String,
    /// The path of the Unix socket.
    pub socket: String,
}

impl Serial {
    /// Listens at `place`, and serves one VMM after the other until the daemon ends; first waits
    /// for a client if `held`.
    pub(crate) fn start(
        self,
        place: &Path,
        chardevs: &Chardevs,
        worker: &Worker,
        held: bool,
        stop: Stop,
    ) -> Result<JoinHandle<()>, String> {
        let Serial { chardev, socket } = self;
        let bound = Bound::new(&socket, place)?;
        let start = {
            let (chardevs, id) = (chardevs.clone(), chardev.clone());
            move || Server::new(&chardevs, &id)
        };
        let text = |error: AttachError| match error {
            AttachError::NotFound(id) => {
                format!("Property 'vfio-user-serial.chardev' can't find value '{id}'")
            }
            error => error.to_string(),
        };
        let refused = |error| match error {
            Error::Attach(error) => text(error),
            error => error.to_string(),
        };
        // A port takes all events, so who waits for a client must do so before there is a port.
        let (server, waiting) = if held {
            let front = chardevs.front_end(&chardev, Arc::new(()));
            (None, Some(front.map_err(text)?))
        } else {
            (Some(start().map_err(refused)?), None)
        };
        Ok(worker.spawn(async move {
            if let Some(front) = waiting {
                tokio::select! {
                    () = first_client(&front) => {}
                    _ = stop.requested() => return,
                }
            }
            let server = server.map_or_else(start, Ok);
            let server = match server {
                Ok(server) => server,
                Err(error) => {
                    return tracing::error!("vfio-user-serial on '{socket}' stops: {error}");
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
                Ok(Err(error)) => tracing::error!("vfio-user-serial on '{socket}' stops: {error}"),
                Err(error) => tracing::error!("vfio-user-serial on '{socket}' stops: {error}"),
            }
        }))
    }
}
