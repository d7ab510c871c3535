//! front → chardev → \[back\] → host: kinds of back ends, for those who add one.
//!
//! To use the kinds that are there, see [`backends`](crate::backends). For a kind of your own:
//! implement [`Backend`], declare a static [`Kind`] and pass it to
//! [`Chardevs::with_kinds`](crate::Chardevs::with_kinds). Parsers, help lists and the schema follow
//! from it. A whole one is in `crates/chardev/examples/own_kind.rs`, which also runs:
//! `cargo run -p chardev --example own_kind`.

#[cfg(feature = "file")]
mod file;
mod hub;
#[cfg(feature = "socket")]
mod layers;
mod mux;
mod null;
#[cfg(feature = "parallel")]
mod parallel;
#[cfg(feature = "pipe")]
mod pipe;
#[cfg(feature = "input")]
mod pointer;
#[cfg(feature = "pty")]
mod pty;
#[cfg(any(feature = "socket", feature = "udp"))]
mod resolve;
mod ringbuf;
#[cfg(any(feature = "input", feature = "vc"))]
mod said;
#[cfg(feature = "serial")]
mod serial;
#[cfg(any(feature = "socket", feature = "udp"))]
mod short;
#[cfg(feature = "socket")]
mod socket;
#[cfg(feature = "stdio")]
pub mod stdio;
#[cfg(any(
    feature = "file",
    feature = "pipe",
    feature = "serial",
    feature = "stdio"
))]
mod stream;
mod swap;
mod testdev;
#[cfg(feature = "udp")]
mod udp;
#[cfg(feature = "vc")]
pub(crate) mod vc;

#[cfg(feature = "socket")]
#[doc(hidden)]
pub use layers::LayerKind;
#[cfg(feature = "tls")]
#[doc(hidden)]
pub use layers::tls;
#[cfg(feature = "websocket")]
#[doc(hidden)]
pub use layers::websocket;
#[cfg(feature = "telnet")]
#[doc(hidden)]
pub use layers::{rfc2217, rfc2217_client, telnet};
#[cfg(feature = "dbus")]
pub(crate) use socket::check_connected;
#[cfg(feature = "socket")]
#[doc(hidden)]
pub use socket::open_layered;
#[cfg(feature = "socket")]
pub(crate) use socket::taken;
pub(crate) use swap::exchange;

use std::any::Any;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use chardev_core::spec::{KindSpec, Options};
use chardev_core::{Backend, OpenError};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::port::Port;
use crate::scene::Scene;

/// A kind of back end: how it is described and how it is opened.
///
/// A kind of your own is a `static`, given to
/// [`Chardevs::with_kinds`](crate::Chardevs::with_kinds); the example `own_kind.rs` has a whole
/// one.
pub struct Kind {
    /// Its name and options.
    pub spec: KindSpec,
    /// Opens one. The old back end is still running: do not touch anything it uses until
    /// [`Sharing::activate`](chardev_core::Sharing::activate). The error is the cause in QEMU's
    /// words, without a prefix.
    pub open: for<'a> fn(&'a Options, &'a OpenContext) -> Opening<'a>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kind").field(&self.spec.name).finish()
    }
}

/// A back end being opened. May take long (DNS, connect, `wait`); dropping it gives up and
/// leaves nothing behind. It is polled by whoever changes the chardev, on any executor.
pub type Opening<'a> =
    Pin<Box<dyn Future<Output = Result<Box<dyn Backend>, OpenError>> + Send + 'a>>;

/// How a kind opens that only has to wait for disks and devices.
pub(crate) type OpenNow = fn(&Options, &OpenContext) -> Result<Box<dyn Backend>, OpenError>;

/// Opens with `open` on a thread where waiting for a disk or a device holds up nobody.
pub(crate) fn opening_elsewhere<'a>(
    options: &'a Options,
    context: &'a OpenContext,
    open: OpenNow,
) -> Opening<'a> {
    let named = options.str("path").or_else(|| options.str("device"));
    let name = named.unwrap_or(options.kind()).to_owned();
    let (options, inside) = (options.clone(), context.clone());
    Box::pin(async move {
        let opening = context.port.offload_open(move || open(&options, &inside));
        let opened = opening.await;
        opened.map_err(|why| {
            let text = format!("Could not open '{name}': {why}");
            OpenError::new(text).about(name)
        })?
    })
}

/// What a back end is opened with.
#[derive(Clone)]
pub struct OpenContext {
    /// The line to the chardev.
    pub port: Port,
    /// Where descriptors named in `fd` addresses come from.
    pub fds: Arc<dyn FdSource>,
    /// Whether the peer of the back end that is replaced is to be kept (`x-handover`).
    pub(crate) handover: bool,
    /// The chardevs around it.
    pub(crate) scene: Scene,
}

impl OpenContext {
    /// The objects that options may name.
    #[cfg(feature = "tls")]
    pub(crate) fn objects(&self) -> &crate::objects::Objects {
        self.scene.shared.objects()
    }

    /// The buses that back ends are on.
    #[cfg(feature = "dbus")]
    pub(crate) fn buses(&self) -> &crate::dbus::Buses {
        self.scene.shared.buses()
    }

    /// A share in something of a back end that is about to be replaced or removed; the first one
    /// that has it gives it. See [`chardev_core::Sharing::lend`].
    pub(crate) fn borrow<W: Any, T: Any>(&self, wanted: &W) -> Option<T> {
        let lent = self
            .scene
            .leaving
            .iter()
            .find_map(|chardev| chardev.with(|chardev| chardev.lend(wanted)))?;
        Some(*lent.downcast().ok()?)
    }
}

/// Descriptors that were handed in by name (`getfd`) or, at startup, by number.
pub trait FdSource: Send + Sync {
    /// Takes the descriptor called `name`.
    ///
    /// # Errors
    /// The cause in QEMU's words.
    fn take(&self, name: &str) -> Result<OwnedFd, OpenError>;

    /// A copy of a descriptor from the set `set` that allows `access`, for the path
    /// `/dev/fdset/SET`.
    ///
    /// # Errors
    /// As from opening a file: there is no such set, or nothing in it allows that.
    fn open_set(&self, _set: i64, _access: Access) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::NotFound.into())
    }

    /// Gives a descriptor back that a failed opening did not use.
    fn give_back(&self, _name: &str, _fd: OwnedFd) {}
}

/// What a descriptor is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading alone.
    Read,
    /// Writing alone.
    Write,
    /// Both.
    Both,
}

/// How the path of a set of descriptors begins.
pub(crate) const FDSET: &str = "/dev/fdset/";

/// The descriptor that a path names by a set (`/dev/fdset/SET`); `None` for any other path.
///
/// The number is spelled as for QEMU, which leaves it to C's `strtol`.
pub(crate) fn open_set(
    path: &str,
    access: Access,
    append: bool,
    fds: &dyn FdSource,
) -> Option<Result<OwnedFd, Errno>> {
    let number = path.strip_prefix(FDSET)?.trim_ascii_start();
    let set = match number.parse::<i32>() {
        Ok(set) if set >= 0 => set,
        _ => return Some(Err(Errno::INVAL)),
    };
    let found = fds
        .open_set(set.into(), access)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Errno::NOENT,
            _ => Errno::from_io_error(&error).unwrap_or(Errno::ACCESS),
        });
    Some(found.and_then(|fd| {
        let mut flags = fcntl_getfl(&fd)? | OFlags::NONBLOCK;
        flags.set(OFlags::APPEND, append);
        fcntl_setfl(&fd, flags)?;
        Ok(fd)
    }))
}

/// What a source says that has no descriptor called `name`, in QEMU's words.
pub fn no_descriptor(name: &str) -> OpenError {
    let text = format!("File descriptor named '{name}' has not been found");
    OpenError::new(text).about(name)
}

/// A source with no descriptors.
#[derive(Debug)]
pub struct NoFds;

impl FdSource for NoFds {
    fn take(&self, name: &str) -> Result<OwnedFd, OpenError> {
        Err(no_descriptor(name))
    }
}

/// A source with one descriptor, whatever it is called.
#[derive(Debug)]
pub struct OneFd(std::sync::Mutex<Option<OwnedFd>>);

impl OneFd {
    /// A source that gives `fd` to the first who asks.
    pub fn new(fd: OwnedFd) -> Self {
        OneFd(std::sync::Mutex::new(Some(fd)))
    }
}

impl FdSource for OneFd {
    fn take(&self, name: &str) -> Result<OwnedFd, OpenError> {
        let mut fd = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        fd.take().ok_or_else(|| no_descriptor(name))
    }
}

/// Every kind this build has, in the order of the help list.
pub static KINDS: &[&Kind] = &[
    &null::KIND,
    &ringbuf::KIND,
    &ringbuf::MEMORY,
    &mux::KIND,
    &hub::KIND,
    #[cfg(feature = "dbus")]
    &socket::DBUS,
    #[cfg(feature = "file")]
    &file::KIND,
    #[cfg(feature = "input")]
    &pointer::MOUSE,
    #[cfg(feature = "parallel")]
    &parallel::KIND,
    #[cfg(feature = "pipe")]
    &pipe::KIND,
    #[cfg(feature = "pty")]
    &pty::KIND,
    #[cfg(feature = "serial")]
    &serial::KIND,
    #[cfg(feature = "socket")]
    &socket::KIND,
    #[cfg(feature = "telnet")]
    &socket::REMOTE,
    #[cfg(feature = "stdio")]
    &stdio::KIND,
    &testdev::KIND,
    #[cfg(feature = "udp")]
    &udp::KIND,
    #[cfg(feature = "input")]
    &pointer::TABLET,
    #[cfg(feature = "vc")]
    &vc::KIND,
];

/// The tables of [`KINDS`] alone, for parsers.
pub fn specs() -> Vec<&'static KindSpec> {
    KINDS.iter().map(|kind| &kind.spec).collect()
}
