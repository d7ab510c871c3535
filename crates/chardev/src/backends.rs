//! Back ends as values: what [`Chardevs::add`](crate::Chardevs::add) and
//! [`Chardevs::change`](crate::Chardevs::change) take.
//!
//! ```
//! use chardev::backends::{File, Unix};
//! use chardev::Chardevs;
//!
//! let dir = tempfile::tempdir()?;
//! let chardevs = Chardevs::new()?;
//! let listening = Unix::listen(dir.path().join("con0.sock")).hold();
//! chardevs.blocking_add("con0", listening)?;
//! let file = File::append(dir.path().join("con0.log"));
//! chardevs.blocking_change("con0", file)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each is a table of [`Options`] with the right names and types. To accept `-chardev` syntax,
//! parse it with `chardev_qapi::parse_chardev`, which gives the same. Values that are out of range
//! are errors of the call that they are given to.

#[cfg(feature = "input")]
mod pointers;
mod ports;

use std::path::Path;
use std::time::Duration;

use chardev_core::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev_core::text;

/// A back end with the options that all have.
macro_rules! backend {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[must_use]
        pub struct $name(Options);

        impl $name {
            /// Output waits while nobody is there to take it (`x-closed=hold`). A full ring buffer
            /// then waits for a reader instead of overwriting; `null` takes all output anyway.
            pub fn hold(self) -> Self {
                self.set("x-closed", OptionValue::Str("hold".to_owned()))
            }

            /// Output that nobody is there to take is dropped and counted (`x-closed=discard`), as
            /// by default.
            pub fn discard(self) -> Self {
                self.set("x-closed", OptionValue::Str("discard".to_owned()))
            }

            /// The newest `bytes` of output are kept for the next peer and for viewers
            /// (`x-closed=history`). Up to 1 GiB; memory is taken as output comes.
            pub fn history(self, bytes: u32) -> Self {
                let kept = self.set("x-closed", OptionValue::Str("history".to_owned()));
                kept.set("x-history", OptionValue::Int(bytes.into()))
            }

            /// All output is also appended to the file at `path` (`logfile`, `logappend=on`).
            pub fn log(self, path: impl AsRef<Path>) -> Self {
                let logged = self.set("logfile", path_value(path));
                logged.set("logappend", OptionValue::Bool(true))
            }

            /// How long the peer of a replaced back end may stall before the rest of what it was
            /// given is counted as lost (`x-drain-ms`); 30 s by default. In a change it counts for
            /// the back end that this one replaces, too. With [`Duration::ZERO`] nobody waits for
            /// the old peer.
            pub fn drain(self, limit: Duration) -> Self {
                let ms = limit.as_millis().min(u32::MAX.into()) as i64;
                self.set("x-drain-ms", OptionValue::Int(ms))
            }

            /// In a change: the connected peer stays, if the transport is the same (`x-handover`).
            pub fn keep_peer(self) -> Self {
                self.set("x-handover", OptionValue::Bool(true))
            }

            fn set(mut self, name: &'static str, value: OptionValue) -> Self {
                self.0.set(name, value);
                self
            }
        }

        impl From<$name> for Options {
            fn from(backend: $name) -> Self {
                backend.0
            }
        }

        impl From<&$name> for Options {
            fn from(backend: &$name) -> Self {
                backend.0.clone()
            }
        }
    };
}

backend! {
    /// Takes all output and drops it; never has input.
    Null
}

backend! {
    /// Keeps the newest output in memory, for [`Chardevs::ring_read`](crate::Chardevs::ring_read).
    Ringbuf
}

backend! {
    /// Output into a file. It has no input unless [`File::input`] says so.
    File
}

backend! {
    /// A pair of FIFOs, `PATH.in` and `PATH.out`, or one file for both directions.
    Pipe
}

#[cfg(feature = "parallel")]
backend! {
    /// A parallel port of the host, whose registers are at
    /// [`FrontEnd::parallel`](crate::FrontEnd::parallel).
    Parallel
}

backend! {
    /// A new pseudoterminal.
    Pty
}

backend! {
    /// A serial port or other terminal device of the host.
    Serial
}

backend! {
    /// Standard input and output of the process.
    Stdio
}

backend! {
    /// A Unix stream socket.
    Unix
}

backend! {
    /// A TCP socket.
    Tcp
}

backend! {
    /// A vsock socket, between a virtual machine and its host.
    Vsock
}

#[cfg(feature = "vc")]
backend! {
    /// A text console, whose screen [`Chardevs::screen`](crate::Chardevs::screen) has.
    Vc
}

#[cfg(feature = "telnet")]
backend! {
    /// A serial port of a server that speaks RFC 2217, as if it were here.
    Rfc2217
}

backend! {
    /// Datagrams to and from one remote address.
    Udp
}

backend! {
    /// Reads output for commands by which a test of firmware ends the program; see
    /// [`Chardevs::exit_requested`](crate::Chardevs::exit_requested).
    Testdev
}

#[cfg(feature = "dbus")]
backend! {
    /// A socket whose peers come over D-Bus, by QEMU's `org.qemu.Display1.Chardev`.
    Dbus
}

#[cfg(feature = "input")]
backend! {
    /// A serial mouse, moved by [`Chardevs::send_input_frame`](crate::Chardevs::send_input_frame).
    Msmouse
}

#[cfg(feature = "input")]
backend! {
    /// A serial Wacom tablet, whose pen is moved by
    /// [`Chardevs::send_input_frame`](crate::Chardevs::send_input_frame).
    Wctablet
}

backend! {
    /// A multiplexer: several front ends on one other chardev, one of them with the focus.
    Mux
}

backend! {
    /// A hub: several other chardevs behind one front end.
    Hub
}

impl Default for Null {
    fn default() -> Self {
        Null::new()
    }
}

impl Null {
    /// The back end `null`.
    pub fn new() -> Self {
        Null(Options::new("null"))
    }
}

impl Ringbuf {
    /// A ring of `bytes`, a power of two up to 1 GiB; memory is taken as output comes.
    pub fn new(bytes: u32) -> Self {
        Ringbuf(Options::new("ringbuf")).set("size", OptionValue::Int(bytes.into()))
    }
}

impl File {
    /// The file at `path`, emptied once the change to it has happened.
    pub fn create(path: impl AsRef<Path>) -> Self {
        File(Options::new("file")).set("out", path_value(path))
    }

    /// The file at `path`, behind what it holds.
    pub fn append(path: impl AsRef<Path>) -> Self {
        File::create(path).set("append", OptionValue::Bool(true))
    }

    /// Input comes from the file at `path`.
    pub fn input(self, path: impl AsRef<Path>) -> Self {
        self.set("in", path_value(path))
    }
}

impl Pipe {
    /// The FIFOs `PATH.in` and `PATH.out`, or `path` itself where they are not.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Pipe(Options::new("pipe")).set("device", path_value(path))
    }
}

#[cfg(feature = "vc")]
impl Vc {
    /// A console of 80 columns and 24 rows.
    #[allow(clippy::new_without_default, reason = "as with the others")]
    pub fn new() -> Self {
        Vc(Options::new("vc"))
    }

    /// A console of this size (`cols`, `rows`).
    pub fn sized(size: crate::screen::Size) -> Self {
        let cols = Vc::new().set("cols", OptionValue::Int(size.cols().into()));
        cols.set("rows", OptionValue::Int(size.rows().into()))
    }
}

impl Pty {
    /// A new pty; [`Info::pty`](crate::Info::pty) says which.
    pub fn new() -> Self {
        Pty(Options::new("pty"))
    }

    /// With a symbolic link at `path` that names it.
    pub fn link(self, path: impl AsRef<Path>) -> Self {
        self.set("path", path_value(path))
    }
}

impl Default for Pty {
    fn default() -> Self {
        Pty::new()
    }
}

impl Stdio {
    /// Standard input and output; keys such as Ctrl-C send signals.
    pub fn new() -> Self {
        Stdio(Options::new("stdio"))
    }

    /// Keys such as Ctrl-C are input like any other.
    pub fn raw(self) -> Self {
        self.set("signal", OptionValue::Bool(false))
    }
}

impl Default for Stdio {
    fn default() -> Self {
        Stdio::new()
    }
}

impl Unix {
    /// Listens at `path`, and takes one client after the other.
    pub fn listen(path: impl AsRef<Path>) -> Self {
        Unix(unix(path)).set("server", OptionValue::Bool(true))
    }

    /// Connects to whoever listens at `path`.
    pub fn connect(path: impl AsRef<Path>) -> Self {
        Unix(unix(path)).set("server", OptionValue::Bool(false))
    }
}

/// What is the same over every transport of a socket.
macro_rules! socket {
    ($($name:ident),*) => {$(
        impl $name {
            /// Waits for the first client before it is there: adding it, or a change to it, takes
            /// that long. An error on one that connects.
            pub fn wait(self) -> Self {
                self.set("wait", OptionValue::Bool(true))
            }

            /// Connects in the background, and again `pause` after the connection was lost or
            /// refused, so that adding it succeeds before there is a connection.
            /// [`Duration::ZERO`] means no reconnecting. An error on one that listens.
            pub fn reconnect(self, pause: Duration) -> Self {
                self.set("reconnect-ms", millis(pause))
            }

            /// Speaks telnet to its peers; breaks and the window's size are passed on.
            #[cfg(feature = "telnet")]
            pub fn telnet(self) -> Self {
                self.set("telnet", OptionValue::Bool(true))
            }

            /// Is a serial port to clients that speak RFC 2217, and telnet to others. The other
            /// side of such a port is [`Rfc2217`].
            #[cfg(feature = "telnet")]
            pub fn rfc2217(self) -> Self {
                self.set("x-rfc2217", OptionValue::Bool(true))
            }

            /// Speaks websocket to its peers, of the subprotocol `binary`.
            #[cfg(feature = "websocket")]
            pub fn websocket(self) -> Self {
                let name = match self.0.bool_or("server", true) {
                    true => "websocket",
                    false => "x-websocket-client",
                };
                self.set(name, OptionValue::Bool(true))
            }

            /// Speaks TLS, with the credentials `creds` among the
            /// [`Chardevs::objects`](crate::Chardevs::objects) (`tls-creds`). They are looked up
            /// for each peer.
            #[cfg(feature = "tls")]
            pub fn tls(self, creds: &str) -> Self {
                self.set("tls-creds", OptionValue::Str(creds.to_owned()))
            }

            /// Takes only clients whose certificates the object `authz` allows (`tls-authz`). An
            /// error on one that connects.
            #[cfg(feature = "tls")]
            pub fn tls_authz(self, authz: &str) -> Self {
                self.set("tls-authz", OptionValue::Str(authz.to_owned()))
            }
        }
    )*};
}

socket!(Unix, Tcp, Vsock);

impl Tcp {
    /// Listens on `port` of the address of `host`, all addresses if it is empty.
    pub fn listen(host: &str, port: u16) -> Self {
        Tcp(tcp(host, port)).set("server", OptionValue::Bool(true))
    }

    /// Connects to `port` of `host`.
    pub fn connect(host: &str, port: u16) -> Self {
        Tcp(tcp(host, port)).set("server", OptionValue::Bool(false))
    }

    /// Small writes are sent at once (`nodelay`).
    pub fn nodelay(self) -> Self {
        self.set("nodelay", OptionValue::Bool(true))
    }

    /// Multipath TCP (`mptcp`), and TCP to a peer that does not speak it. An error where the kernel
    /// does not.
    pub fn mptcp(self) -> Self {
        match self.0.address("addr").cloned() {
            Some(SocketAddress::Inet(inet)) => {
                let inet = InetAddress {
                    mptcp: true,
                    ..inet
                };
                self.set("addr", OptionValue::Address(SocketAddress::Inet(inet)))
            }
            _ => self,
        }
    }
}

impl Vsock {
    /// Listens on `port` of this machine, whatever its number is.
    pub fn listen(port: u32) -> Self {
        Vsock(vsock(u32::MAX, port)).set("server", OptionValue::Bool(true))
    }

    /// Connects to `port` of the machine `cid`: 2 is the host, 1 this machine itself.
    pub fn connect(cid: u32, port: u32) -> Self {
        Vsock(vsock(cid, port)).set("server", OptionValue::Bool(false))
    }
}

#[cfg(feature = "telnet")]
impl Rfc2217 {
    /// The port that is served at `port` of `host`.
    pub fn connect(host: &str, port: u16) -> Self {
        Rfc2217(Options::new("x-rfc2217")).set("addr", inet(host, port))
    }

    /// Connects in the background, and again `pause` after the connection was lost or refused;
    /// the line is then set up again.
    pub fn reconnect(self, pause: Duration) -> Self {
        self.set("reconnect-ms", millis(pause))
    }
}

impl Udp {
    /// Sends to `port` of `host`, and hears only from there; a multicast group is heard if it is
    /// also received at a port ([`Udp::at`]).
    pub fn to(host: &str, port: u16) -> Self {
        Udp(Options::new("udp")).set("remote", inet(host, port))
    }

    /// Receives at `port` of the address of `host`, which may be a multicast group.
    pub fn at(self, host: &str, port: u16) -> Self {
        self.set("local", inet(host, port))
    }
}

impl Testdev {
    /// The back end `testdev`.
    pub fn new() -> Self {
        Testdev(Options::new("testdev"))
    }
}

impl Default for Testdev {
    fn default() -> Self {
        Testdev::new()
    }
}

#[cfg(feature = "dbus")]
impl Dbus {
    /// One that clients know by `name`, on the session's bus.
    pub fn new(name: &str) -> Self {
        Dbus(Options::new("dbus")).set("name", OptionValue::Str(name.to_owned()))
    }

    /// On this bus instead (`x-bus`): `session`, `system`, an address, or `none` for one that only
    /// peers of [`Chardevs::add_dbus_peer`](crate::Chardevs::add_dbus_peer) see.
    pub fn on(self, bus: &str) -> Self {
        self.set("x-bus", OptionValue::Str(bus.to_owned()))
    }
}

impl Mux {
    /// A multiplexer over the chardev `base`.
    pub fn over(base: &str) -> Self {
        Mux(Options::new("mux")).set("chardev", OptionValue::Str(base.to_owned()))
    }
}

impl Hub {
    /// A hub over these chardevs.
    pub fn over<'a>(members: impl IntoIterator<Item = &'a str>) -> Self {
        let members = members.into_iter().map(str::to_owned).collect();
        Hub(Options::new("hub")).set("chardevs", OptionValue::List(members))
    }
}

fn path_value(path: impl AsRef<Path>) -> OptionValue {
    OptionValue::Str(text::from_os(path.as_ref().as_os_str()))
}

fn millis(time: Duration) -> OptionValue {
    OptionValue::Int(time.as_millis().min(u32::MAX.into()) as i64)
}

fn unix(path: impl AsRef<Path>) -> Options {
    let address = SocketAddress::Unix {
        path: text::from_os(path.as_ref().as_os_str()),
        abstract_name: false,
        tight: true,
    };
    Options::new("socket").with("addr", OptionValue::Address(address))
}

fn vsock(cid: u32, port: u32) -> Options {
    let address = SocketAddress::Vsock {
        cid: cid.to_string(),
        port: port.to_string(),
    };
    Options::new("socket").with("addr", OptionValue::Address(address))
}

fn tcp(host: &str, port: u16) -> Options {
    Options::new("socket").with("addr", inet(host, port))
}

fn inet(host: &str, port: u16) -> OptionValue {
    OptionValue::Address(SocketAddress::Inet(InetAddress {
        host: host.to_owned(),
        port: port.to_string(),
        ..InetAddress::default()
    }))
}

#[cfg(test)]
mod tests;
