//! TLS for chardevctl: certificates as QEMU has them in a directory, and a thread that carries what
//! is encrypted to the monitor and what is plain to us.
#![allow(clippy::disallowed_methods, reason = "a client may wait")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use chardev::text::shown_path;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// How much is carried at once.
const PIECE: usize = 16 << 10;

/// The plain end of a connection, and why it ended if something was wrong.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) stream: UnixStream,
    pub(super) failure: Failure,
}

/// Why a connection ended.
pub(super) type Failure = Arc<OnceLock<String>>;

/// Connects to `host` (`NAME:PORT`) over `socket`, with the certificates in `dir`.
///
/// # Errors
/// The file that is of no use, or what is wrong with the server.
pub(super) fn connect(mut socket: TcpStream, host: &str, dir: &Path) -> io::Result<Plain> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let config = Arc::new(config(dir).map_err(io::Error::other)?);
    let mut connection = ClientConnection::new(config, server).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        let done = connection.complete_io(&mut socket);
        done.map_err(|error| io::Error::other(format!("TLS: {error}")))?;
    }
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    socket.set_nonblocking(true)?;
    let failure = Failure::default();
    let told = Arc::clone(&failure);
    std::thread::Builder::new().spawn(move || {
        if let Err(error) = carry(&mut connection, &socket, &theirs) {
            // It is read once the stream has ended, which happens after this.
            let _ = told.set(format!("TLS: {error}"));
        }
    })?;
    Ok(Plain {
        stream: ours,
        failure,
    })
}

/// `ca-cert.pem`, and `client-cert.pem` with `client-key.pem` if they are there.
fn config(dir: &Path) -> Result<ClientConfig, String> {
    let file = |name: &str| dir.join(name);
    let wrong =
        |path: &PathBuf, why: &dyn std::fmt::Display| format!("{}: {why}", shown_path(path));
    let certificates = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, String> {
        let all = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, &error))?;
        let all: Result<Vec<_>, _> = all.collect();
        let all = all.map_err(|error| wrong(path, &error))?;
        match all.is_empty() {
            true => Err(wrong(path, &"it has no certificate")),
            false => Ok(all),
        }
    };
    let authority = file("ca-cert.pem");
    let mut roots = RootCertStore::empty();
    for root in certificates(&authority)? {
        roots.add(root).map_err(|error| wrong(&authority, &error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let (own, key) = (file("client-cert.pem"), file("client-key.pem"));
    if !own.exists() {
        return Ok(builder.with_no_client_auth());
    }
    let chain = certificates(&own)?;
    let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| wrong(&key, &error))?;
    let config = builder.with_client_auth_cert(chain, secret);
    config.map_err(|error| wrong(&own, &error))
}

/// Until both have ended.
fn carry(
    connection: &mut ClientConnection,
    mut socket: &TcpStream,
    mut plain: &UnixStream,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut coming: Vec<u8> = Vec::new();
    let (mut asked_all, mut heard_all) = (false, false);
    loop {
        while connection.wants_write() && passed(connection.write_tls(&mut socket))? {}
        while !coming.is_empty() {
            match plain.write(&coming) {
                Ok(count) => _ = coming.drain(..count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Nobody listens any more.
                Err(_) => return Ok(()),
            }
        }
        if heard_all && coming.is_empty() {
            return Ok(());
        }
        let takes = !heard_all && coming.is_empty();
        let asks = !asked_all && !connection.wants_write();
        if !wait(
            socket,
            plain,
            (takes, asks),
            (connection.wants_write(), !coming.is_empty()),
        )? {
            continue;
        }
        if takes {
            heard_all = match connection.read_tls(&mut socket) {
                Ok(count) => count == 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => return Err(error),
            };
            let state = connection.process_new_packets().map_err(io::Error::other);
            // What it says of that is for the server, if it is still there.
            let _ = state.is_err() && connection.write_tls(&mut socket).is_ok();
            let state = state?;
            coming.resize(state.plaintext_bytes_to_read(), 0);
            connection.reader().read_exact(&mut coming)?;
            heard_all |= state.peer_has_closed();
        }
        if asks {
            match plain.read(&mut buffer) {
                Ok(0) => {
                    asked_all = true;
                    connection.send_close_notify();
                }
                Ok(count) => connection.writer().write_all(&buffer[..count])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Ok(()),
            }
        }
        if asked_all && !connection.wants_write() {
            // It may have gone.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }
}

/// Waits for what is wanted: input of either, room at either. `false` is to be asked again.
fn wait(
    socket: &TcpStream,
    plain: &UnixStream,
    (takes, asks): (bool, bool),
    (sends, gives): (bool, bool),
) -> io::Result<bool> {
    let flags = |input, output| {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, input);
        flags.set(PollFlags::OUT, output);
        flags
    };
    let (socket, plain) = (socket.as_fd(), plain.as_fd());
    let mut fds = [
        PollFd::new(&socket, flags(takes, sends)),
        PollFd::new(&plain, flags(asks, gives)),
    ];
    match poll(&mut fds, None) {
        Ok(_) => Ok(true),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn passed(written: io::Result<usize>) -> io::Result<bool> {
    match written {
        Ok(count) => Ok(count > 0),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
