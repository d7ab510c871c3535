//! Every state a chardev can be in while nothing happens. A peer that stays does so for as long as
//! the process lives.

use std::fs::OpenOptions;
use std::io::Write;
use std::mem::forget;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Slow, ViewFrom, Watch};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::World;
use crate::common::{add, change, terminal, text, wait_for};

/// What happens once the front end is there and has nothing more to do.
type Then = Box<dyn FnOnce()>;

/// One state.
pub(crate) struct State {
    /// Its name, and that of its chardev.
    pub(crate) name: &'static str,
    /// Adds the chardev.
    pub(crate) open: fn(&World, &str) -> Then,
}

macro_rules! states {
    ($($name:literal: $open:expr;)*) => { &[$(State { name: $name, open: $open }),*] };
}

pub(crate) static STATES: &[State] = states! {
    "null": |world, id| { add(&world.chardevs, id, &world.options("null")); stays(()) };
    "ring": |world, id| { add(&world.chardevs, id, &ring(world)); stays(()) };
    "unix-nobody": |world, id| { unix(world, id); stays(()) };
    "unix-peer": |world, id| stays(unix_peer(world, id));
    "unix-half-closed": |world, id| { let peer = unix_peer(world, id); Box::new(move || {
        peer.shutdown(Shutdown::Write).unwrap(); forget(peer) }) };
    "unix-shut-down": |world, id| { let peer = unix_peer(world, id); Box::new(move || {
        peer.shutdown(Shutdown::Both).unwrap(); forget(peer) }) };
    "unix-left": |world, id| leaves(unix_peer(world, id));
    "unix-left-input": |world, id| { let mut peer = unix_peer(world, id); Box::new(move || {
        peer.write_all(&[b'i'; 10_000]).unwrap(); drop(peer) }) };
    "unix-client": |world, id| { let (listener, peer) = unix_client(world, id); stays((listener, peer)) };
    "unix-client-left": |world, id| { let (listener, peer) = unix_client(world, id); drop(listener); leaves(peer) };
    "unix-refused": |world, id| {
        let options = client(world, unix_address(&world.path(id, ""))).with("reconnect-ms", OptionValue::Int(60_000));
        add(&world.chardevs, id, &options); stays(()) };
    "given": |world, id| stays(given(world, id));
    "given-left": |world, id| leaves(given(world, id));
    "tcp-nobody": |world, id| { tcp(world, id); stays(()) };
    "tcp-peer": |world, id| stays(tcp_peer(world, id));
    "tcp-half-closed": |world, id| { let peer = tcp_peer(world, id); Box::new(move || {
        peer.shutdown(Shutdown::Write).unwrap(); forget(peer) }) };
    "tcp-left": |world, id| leaves(tcp_peer(world, id));
    "tcp-reset": |world, id| { let peer = tcp_peer(world, id); Box::new(move || {
        let at_once = Some(std::time::Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&peer, at_once).unwrap(); drop(peer) }) };
    "tcp-connecting": |world, id| { let full = full_listener();
        let options = client(world, inet(full.0.local_addr().unwrap().port()))
            .with("reconnect-ms", OptionValue::Int(60_000));
        add(&world.chardevs, id, &options); stays(full) };
    "pty-nobody": |world, id| { add(&world.chardevs, id, &world.options("pty")); stays(()) };
    "pty-peer": |world, id| stays(pty_peer(world, id));
    "pty-left": |world, id| leaves(pty_peer(world, id));
    "pipe": |world, id| { pipe(world, id); stays(()) };
    "pipe-left": |world, id| { let path = pipe(world, id); Box::new(move || {
        let mut writer = OpenOptions::new().write(true).open(path).unwrap();
        writer.write_all(b"input").unwrap() }) };
    "file": |world, id| { add(&world.chardevs, id, &file(world, id)); stays(()) };
    "file-at-its-end": |world, id| { let input = world.path(id, ".in");
        std::fs::write(&input, "input").unwrap();
        add(&world.chardevs, id, &file(world, id).with("in", text(&input))); stays(()) };
    "file-fifo": |world, id| { let input = fifo(&world.path(id, ".in"));
        add(&world.chardevs, id, &file(world, id).with("in", text(&input))); stays(()) };
    "file-fifo-left": |world, id| { let input = fifo(&world.path(id, ".in"));
        add(&world.chardevs, id, &file(world, id).with("in", text(&input)));
        let writer = OpenOptions::new().write(true).open(input).unwrap(); leaves(writer) };
    "file-fifo-unread": |world, id| { let path = fifo(&world.path(id, ""));
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        add(&world.chardevs, id, &world.options("file").with("out", text(&path))); stays(reader) };
    "file-fifo-reader-left": |world, id| { let path = fifo(&world.path(id, ""));
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        add(&world.chardevs, id, &world.options("file").with("out", text(&path))); leaves(reader) };
    "serial": |world, id| stays(serial(world, id));
    "serial-gone": |world, id| { let (cable, link) = serial(world, id); Box::new(move || {
        drop(cable); std::fs::remove_file(link).unwrap() }) };
    "serial-gone-link-stays": |world, id| { let (cable, _) = serial(world, id); leaves(cable) };
    "serial-missing": |world, id| { let options = world.options("serial")
        .with("device", text(world.path(id, "/deep"))).with("x-reconnect-ms", OptionValue::Int(50));
        add(&world.chardevs, id, &options); stays(()) };
    "udp": |world, id| stays(udp(world, id));
    "udp-refused": |world, id| { drop(udp(world, id)); stays(()) };
    "mux": |world, id| { below(world, id, "pty"); over(world, id, "mux"); stays(()) };
    "mux-serial-gone": |world, id| { let (cable, link) = serial(world, &format!("{id}-0"));
        over(world, id, "mux"); Box::new(move || { drop(cable); std::fs::remove_file(link).unwrap() }) };
    "hub": |world, id| { below(world, id, "pty"); over(world, id, "hub"); stays(()) };
    "hub-serial-gone": |world, id| { let (cable, link) = serial(world, &format!("{id}-0"));
        over(world, id, "hub"); Box::new(move || { drop(cable); std::fs::remove_file(link).unwrap() }) };
    "parked-pty": |world, id| { add(&world.chardevs, id, &world.options("pty")); stays(attach(world, id)) };
    "parked-serial-gone": |world, id| { let (cable, _) = serial(world, id);
        let peer = attach(world, id); drop(cable); stays(peer) };
    "back-from-parked": |world, id| { add(&world.chardevs, id, &world.options("pty")); leaves(attach(world, id)) };
    "drained": |world, id| { let peer = pty_peer(world, id);
        change(&world.chardevs, id, &world.options("null")).unwrap(); stays(peer) };
    "viewer-stuck": |world, id| { add(&world.chardevs, id, &world.options("null")); stays(viewer(world, id, Slow::Skip)) };
    "viewer-left": |world, id| { add(&world.chardevs, id, &world.options("null")); leaves(viewer(world, id, Slow::Skip)) };
    "log-stuck": |world, id| { let log = fifo(&world.path(id, ".log"));
        let reader = OpenOptions::new().read(true).write(true).open(&log).unwrap();
        add(&world.chardevs, id, &world.options("null").with("logfile", text(&log))); stays(reader) };
};

/// `peer` stays.
fn stays<T: 'static>(peer: T) -> Then {
    Box::new(move || forget(peer))
}

/// `peer` leaves.
fn leaves<T: 'static>(peer: T) -> Then {
    Box::new(move || drop(peer))
}

fn ring(world: &World) -> Options {
    world
        .options("ringbuf")
        .with("size", OptionValue::Int(4096))
}

fn fifo(path: &Path) -> std::path::PathBuf {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path.to_owned()
}

fn unix_address(path: &Path) -> SocketAddress {
    SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    }
}

fn inet(port: u16) -> SocketAddress {
    SocketAddress::Inet(InetAddress {
        host: "127.0.0.1".to_owned(),
        port: port.to_string(),
        ..InetAddress::default()
    })
}

fn unix(world: &World, id: &str) -> std::path::PathBuf {
    let path = world.path(id, "");
    let address = OptionValue::Address(unix_address(&path));
    add(
        &world.chardevs,
        id,
        &world.options("socket").with("addr", address),
    );
    path
}

fn connected(world: &World, id: &str) {
    wait_for("the peer", || {
        let all = world.chardevs.list();
        let own = all.iter().find(|info| info.label == id)?;
        (!own.filename.starts_with("disconnected:")).then_some(())
    });
}

fn unix_peer(world: &World, id: &str) -> UnixStream {
    let peer = UnixStream::connect(unix(world, id)).unwrap();
    connected(world, id);
    peer
}

fn client(world: &World, address: SocketAddress) -> Options {
    world
        .options("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(false))
}

fn unix_client(world: &World, id: &str) -> (UnixListener, UnixStream) {
    let path = world.path(id, "");
    let listener = UnixListener::bind(&path).unwrap();
    add(&world.chardevs, id, &client(world, unix_address(&path)));
    let (peer, _) = listener.accept().unwrap();
    (listener, peer)
}

fn given(world: &World, id: &str) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let options = client(world, SocketAddress::Fd("peer".to_owned()));
    let fds = std::sync::Arc::new(chardev::back::OneFd::new(OwnedFd::from(theirs)));
    let adding = world.chardevs.add_with(id, &options, fds);
    world.chardevs.block_on(adding).unwrap();
    ours
}

fn tcp(world: &World, id: &str) -> u16 {
    let address = OptionValue::Address(inet(0));
    let info = add(
        &world.chardevs,
        id,
        &world.options("socket").with("addr", address),
    );
    let (_, rest) = info.filename.split_once("127.0.0.1:").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

fn tcp_peer(world: &World, id: &str) -> TcpStream {
    let peer = TcpStream::connect(("127.0.0.1", tcp(world, id))).unwrap();
    connected(world, id);
    peer
}

/// A listener that answers nobody more.
fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let first = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, vec![first])
}

fn pty_peer(world: &World, id: &str) -> std::fs::File {
    let slave = add(&world.chardevs, id, &world.options("pty")).pty.unwrap();
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(slave)
        .unwrap()
}

/// The path of the input.
fn pipe(world: &World, id: &str) -> std::path::PathBuf {
    let input = fifo(&world.path(id, ".in"));
    fifo(&world.path(id, ".out"));
    let options = world
        .options("pipe")
        .with("device", text(world.path(id, "")));
    add(&world.chardevs, id, &options);
    input
}

fn file(world: &World, id: &str) -> Options {
    world.options("file").with("out", text(world.path(id, "")))
}

fn serial(world: &World, id: &str) -> (std::fs::File, std::path::PathBuf) {
    let (cable, device) = terminal();
    let link = world.path(id, "");
    symlink(device, &link).unwrap();
    add(
        &world.chardevs,
        id,
        &world.options("serial").with("device", text(&link)),
    );
    (cable, link)
}

fn udp(world: &World, id: &str) -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = peer.local_addr().unwrap().port();
    let remote = OptionValue::Address(inet(port));
    add(
        &world.chardevs,
        id,
        &world.options("udp").with("remote", remote),
    );
    peer
}

fn below(world: &World, id: &str, kind: &'static str) {
    add(&world.chardevs, &format!("{id}-0"), &world.options(kind));
}

fn over(world: &World, id: &str, kind: &'static str) {
    let base = format!("{id}-0");
    let options = match kind {
        "mux" => world.options("mux").with("chardev", OptionValue::Str(base)),
        _ => world
            .options("hub")
            .with("chardevs", OptionValue::List(vec![base])),
    };
    add(&world.chardevs, id, &options);
}

fn attach(world: &World, id: &str) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let attaching = world.chardevs.attach_peer(id, theirs.into());
    world.chardevs.block_on(attaching).unwrap();
    ours
}

fn viewer(world: &World, id: &str, slow: Slow) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let watch = Watch {
        from: ViewFrom::Now,
        slow,
        framed: true,
    };
    world.chardevs.watch(id, theirs.into(), &watch).unwrap();
    ours
}
