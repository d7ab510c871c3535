//! The way to the daemon's monitor: a unix socket, TCP, or a fleet's servers.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use chardev::text::{shown, shown_path};
use chardev_qmp::client::{Client, ClientError};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, send, sendmsg,
};

use super::failure::{Failure, Status};
use super::fleet::{Driver, Place};
use super::proof::Proof;
use super::running;
use super::tls::{self, Plain};
use super::trust;
use super::tunnel;
use super::waiting::{Patience, Stage, Wait};
use crate::DaemonError;

/// Where the daemon's monitor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket; descriptors can be passed over it.
    Unix(PathBuf),
    /// `HOST:PORT`
    Tcp(String),
    /// A host of a fleet, by way of its servers.
    Fleet(Place),
}

impl Address {
    /// The monitor that nobody has named: the user's own, or that of the system's service where
    /// nobody serves the user's.
    pub(super) fn usual() -> Address {
        let (own, service) = (crate::default_socket(), Path::new(SERVICE));
        let answers = |path: &Path| match UnixStream::connect(path) {
            Ok(_) => true,
            Err(error) => !is_nobody(&error),
        };
        // Who need not be disturbed is not.
        match !service.exists() || (own.exists() && answers(&own)) {
            true => Address::Unix(own),
            false => Address::Unix(service.to_owned()),
        }
    }

    /// Whether it is the one of the system's service.
    fn is_service(&self) -> bool {
        matches!(self, Address::Unix(path) if path == Path::new(SERVICE))
    }

    /// Where relative paths start that are for the daemon. Whoever reaches it by a Unix socket is
    /// on its host and means paths from where they are, while the daemon may be anywhere.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        match self {
            Address::Unix(_) => std::env::current_dir().ok(),
            Address::Tcp(_) | Address::Fleet(_) => None,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => shown_path(path).fmt(f),
            Address::Tcp(host) => shown(host).fmt(f),
            Address::Fleet(place) => place.fmt(f),
        }
    }
}

/// Where the monitor of the system's service is, as the package's unit says.
const SERVICE: &str = "/run/chardevd.sock";

/// A monitor to be spoken to, and how patiently.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is.
    pub address: Address,
    /// How to wait for it.
    pub(super) patience: Patience,
    /// What says who we are, if the socket does not.
    pub(super) proof: Option<Proof>,
    /// The directory of certificates, if TCP is to be spoken with TLS.
    pub(super) tls: Option<PathBuf>,
}

/// A connection to a monitor that can send a descriptor along with what is written next.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    address: Address,
    passing: Option<OwnedFd>,
    wait: Wait,
    waits: bool,
    /// Whether anything has come.
    heard: bool,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    /// A thread of ours carries it: TLS, or a session over a fleet.
    Carried(Plain),
}

/// A negotiated connection to a monitor.
pub type Monitor = Client<Stream>;

impl Target {
    /// Connects and negotiates.
    ///
    /// # Errors
    /// As for [`Target::open`], or what is wrong with the server.
    pub(super) fn connect(&self) -> Result<Monitor, Failure> {
        self.negotiate(self.open()?, self.proof.as_ref())
    }

    /// Negotiates over a socket that this monitor was given to serve.
    ///
    /// # Errors
    /// As for every connection: why there is none, and what to do about it.
    pub(super) fn connect_over(&self, socket: UnixStream) -> Result<Monitor, Failure> {
        let stream = Stream::new(self, Socket::Unix(socket), Wait::new(self.patience.clone()));
        // It is for whom this one is for.
        self.negotiate(stream, None)
    }

    fn negotiate(&self, stream: Stream, proof: Option<&Proof>) -> Result<Monitor, Failure> {
        let connected = Client::connect(stream).and_then(|mut monitor| {
            proof.map_or(Ok(()), |proof| proof.present(&mut monitor))?;
            monitor.ask_for_error_kinds()?;
            Ok(monitor)
        });
        connected.map_err(|error| self.failed(&error))
    }

    /// Connects without negotiating.
    ///
    /// # Errors
    /// The address, the cause, and what to do about it.
    pub(super) fn open(&self) -> Result<Stream, Failure> {
        let chosen_by_us = self.default_socket();
        let me = rustix::process::geteuid().as_raw();
        chosen_by_us.map_or(Ok(()), |path| trust::check_place(path, me))?;
        let wait = Wait::new(self.patience.clone());
        let opening = Opening::begin(&self.address, self.tls.as_deref())
            .map_err(|error| error.to_string())?;
        let ready = wait.until_ready(
            opening.done.as_fd(),
            PollFlags::IN,
            Stage::Connection,
            (&self.address, None),
        );
        let socket = ready.and_then(|()| opening.finish());
        let socket = socket.map_err(|error| not_there(&self.address, chosen_by_us, &error))?;
        // Nobody but root can have put the service's into its place, whoever serves it.
        let own = chosen_by_us.filter(|_| !self.address.is_service());
        if let (Some(path), Socket::Unix(socket)) = (own, &socket) {
            trust::check_peer(socket, path, me)?;
        }
        wait.progress();
        Ok(Stream::new(self, socket, wait))
    }

    /// Waits a moment, before the process ends, until the daemon has what it was sent.
    pub(super) fn finish(&self) {
        tunnel::finish();
        if let Address::Fleet(place) = &self.address {
            place.finish();
        }
    }

    /// What carries a fleet's sessions while somebody waits by it, as [`Place::drive`] says.
    pub(super) fn drive(&self) -> Option<Driver> {
        match &self.address {
            Address::Fleet(place) => place.drive(),
            Address::Unix(_) | Address::Tcp(_) => None,
        }
    }

    /// The socket, if it is the one that nobody has to name.
    fn default_socket(&self) -> Option<&Path> {
        match &self.address {
            Address::Unix(path) if *path == crate::default_socket() => Some(path),
            Address::Unix(path) if self.address.is_service() => Some(path),
            _ => None,
        }
    }

    /// The same monitor, where the user can give up in other ways than Ctrl-C.
    pub(super) fn with_escape(mut self, escape: Option<String>) -> Self {
        if let Some(escape) = escape {
            self.patience = self.patience.with_escape(escape);
        }
        self
    }

    /// How much of the time is left that the user gives us, if there is an end to it.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.patience.left()
    }

    /// How much time the user gives us, if there is an end to it.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.patience.timeout()
    }

    /// What a call to this monitor came to.
    pub(super) fn failed(&self, error: &ClientError) -> Failure {
        Failure::of_call(&self.address, error)
    }
}

/// A connection being made, by a thread: looking up a name, or a place in a listener's queue, may
/// take long, and cannot be given up otherwise.
struct Opening {
    socket: Receiver<io::Result<Socket>>,
    /// At its end when the thread is done.
    done: UnixStream,
}

impl Opening {
    fn begin(address: &Address, tls: Option<&Path>) -> io::Result<Self> {
        let (done, working) = UnixStream::pair()?;
        let (result, socket) = channel();
        let (address, tls) = (address.clone(), tls.map(Path::to_owned));
        std::thread::Builder::new().spawn(move || {
            let _working = working;
            let socket = match &address {
                Address::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
                Address::Tcp(host) => {
                    TcpStream::connect(host.as_str()).and_then(|socket| match &tls {
                        Some(dir) => tls::connect(socket, host, dir).map(Socket::Carried),
                        None => Ok(Socket::Tcp(socket)),
                    })
                }
                Address::Fleet(place) => place.connect().map(Socket::Carried),
            };
            // Nobody takes it who has given up.
            let _ = result.send(socket);
        })?;
        Ok(Opening { socket, done })
    }

    fn finish(self) -> io::Result<Socket> {
        self.socket.recv().map_err(io::Error::other)?
    }
}

/// Whether an attempt to connect came to this because nobody is there.
fn is_nobody(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
    kinds.contains(&error.kind())
}

fn not_there(address: &Address, usual: Option<&Path>, error: &io::Error) -> Failure {
    if let Address::Fleet(place) = address
        && let Some(failure) = place.failure(error)
    {
        return failure;
    }
    let remedy = match error.kind() {
        io::ErrorKind::TimedOut if error.raw_os_error().is_none() => {
            return Failure::of_connection(address, error);
        }
        _ if is_nobody(error) => running::remedy(),
        io::ErrorKind::PermissionDenied if address.is_service() => {
            "it serves root and members of the group chardevd: have 'adduser YOU chardevd' run and log in anew, or start a daemon of your own with 'chardevd'".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "the monitor belongs to the user who started the daemon".to_owned()
        }
        _ => "name the daemon's monitor with --socket PATH or --host HOST:PORT".to_owned(),
    };
    let nor = match usual {
        Some(_) if is_nobody(error) && !address.is_service() => format!(", nor at {SERVICE}"),
        _ => String::new(),
    };
    let text = format!("no chardevd at {address}{nor}: {error}\n{remedy}");
    Failure::new(Status::NoDaemon, text)
}

impl Stream {
    fn new(target: &Target, socket: Socket, wait: Wait) -> Self {
        Stream {
            socket,
            address: target.address.clone(),
            passing: None,
            wait,
            waits: true,
            heard: false,
        }
    }

    /// What would have to wait fails from now on, with [`io::ErrorKind::WouldBlock`].
    pub(super) fn never_wait(&mut self) {
        self.waits = false;
    }

    /// Passes `fd` along with the next bytes written. Only a unix socket can.
    pub fn pass(&mut self, fd: OwnedFd) {
        self.passing = Some(fd);
    }

    /// Nothing more is sent; what comes may still be read.
    pub(super) fn end_sending(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Carried(plain) => plain.stream.shutdown(Shutdown::Write),
        }
    }

    /// Whether it is a unix socket, which can pass descriptors.
    pub fn is_unix(&self) -> bool {
        matches!(self.socket, Socket::Unix(_))
    }

    /// The TCP connection, if it is one.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match &self.socket {
            Socket::Unix(_) | Socket::Carried(_) => None,
            Socket::Tcp(socket) => Some(socket),
        }
    }

    /// Waits so long from now on, for all that is still to come.
    pub fn give_up_after(&mut self, time: Duration) {
        self.wait.give_up_after(time);
    }

    /// What is waited for from now on is something new.
    pub(super) fn restart_clock(&mut self) {
        self.wait.restart();
    }

    /// The next answers wait for `peer`; what the user can do about it is `escape`.
    pub(super) fn answers_after(&mut self, peer: String, escape: String) {
        self.wait.answers_after(peer, escape);
    }

    /// How long until [`Stream::look_at_the_clock`] has something to do.
    pub(super) fn look_again_in(&self) -> Option<Duration> {
        self.wait.look_again_in(self.stage())
    }

    /// Speaks of the wait for the monitor's next word if it is time to.
    ///
    /// # Errors
    /// The time has passed.
    pub(super) fn look_at_the_clock(&self) -> io::Result<()> {
        self.wait
            .look_at_the_clock(self.stage(), (&self.address, Some(self)))
    }

    fn stage(&self) -> Stage {
        match self.heard {
            true => Stage::Answer,
            false => Stage::Greeting,
        }
    }

    fn until_ready(&self, flags: PollFlags) -> io::Result<()> {
        let place = (&self.address, Some(self));
        self.wait
            .until_ready(self.as_fd(), flags, self.stage(), place)
    }
}

/// Connects and negotiates, for as long as it takes.
///
/// # Errors
/// As for every connection: why there is none, and what to do about it.
pub fn connect(address: &Address) -> Result<Monitor, DaemonError> {
    let target = Target {
        address: address.clone(),
        patience: Patience::default(),
        proof: None,
        tls: None,
    };
    let connected = target.connect();
    connected.map_err(|failure| DaemonError::new(failure.to_string()))
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(socket) => socket.as_fd(),
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Carried(plain) => plain.stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.as_fd(), &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) if self.carried_failure().is_some() => {
                    let why = self.carried_failure().unwrap_or_default();
                    return Err(io::Error::other(why));
                }
                Ok((count, _)) => {
                    self.heard |= count > 0;
                    self.wait.progress();
                    return Ok(count);
                }
                Err(Errno::AGAIN) if self.waits => self.until_ready(PollFlags::IN)?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.send(bytes) {
                Ok(count) => {
                    self.passing = None;
                    self.wait.progress();
                    return Ok(count);
                }
                Err(Errno::AGAIN) if self.waits => self.until_ready(PollFlags::OUT)?,
                Err(error) => {
                    let why = self.carried_failure().map(io::Error::other);
                    return Err(why.unwrap_or_else(|| error.into()));
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// Why the server ended it, if it has said so.
    fn carried_failure(&self) -> Option<String> {
        match &self.socket {
            Socket::Carried(plain) => plain.failure.get().cloned(),
            Socket::Unix(_) | Socket::Tcp(_) => None,
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let Some(fd) = &self.passing else {
            return send(self.as_fd(), bytes, flags);
        };
        let fds = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(self.as_fd(), &[IoSlice::new(bytes)], &mut control, flags)
    }
}
