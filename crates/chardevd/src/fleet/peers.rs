//! Peers of consoles that come by way of the fleet: the back end `x-nats`.

use std::sync::LazyLock;

use chardev::back::OpenContext;
use chardev::{Backend, OpenError};
use chardev_fleet::{Exchange, Peering};

use super::desk::peer;
use crate::kinds::Called;

/// Where back ends and the fleet meet. A kind is opened by a function, which has nothing of a
/// daemon's, and a process has one daemon.
pub(super) static EXCHANGE: LazyLock<Exchange> = LazyLock::new(|| Exchange::new(peer));

/// A back end whose peer is the console that is to be called, or whoever comes.
///
/// # Errors
/// The daemon is in no fleet, or nobody is there.
pub(crate) async fn open(
    called: Option<Called>,
    context: &OpenContext,
) -> Result<Box<dyn Backend>, OpenError> {
    let peering = called.map_or(Peering::Served, |it| Peering::Called {
        host: it.host,
        console: it.console,
        again: it.again,
    });
    EXCHANGE.open(peering, context).await
}
