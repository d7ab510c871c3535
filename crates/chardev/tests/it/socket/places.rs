//! Where peers come from: listeners, servers that are connected to, sockets that are given.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;

use chardev::Chardevs;
use chardev::spec::{OptionValue, SocketAddress};

use super::{closed, filename, front, inet, opened, port_of, socket, unix};
use crate::common::{add, change, echo, read_until, ring, wait_for};

#[test]
fn a_unix_server_serves_two_clients_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let shown = format!("unix:{},server=on", path.display());
    assert_eq!(filename(&chardevs), format!("disconnected:{shown}"));
    let front = front(&chardevs);
    let mut first = UnixStream::connect(&path).unwrap();
    opened(&front);
    assert_eq!(filename(&chardevs), shown);
    let mut second = UnixStream::connect(&path).unwrap();
    second.write_all(b"patient").unwrap();
    echo(&front, &mut first);
    assert_eq!(front.next_event(), None);
    drop(first);
    closed(&front);
    opened(&front);
    assert_eq!(read_until(&front, 7), b"patient");
    echo(&front, &mut second);
    drop(front);
    chardevs.blocking_remove("con0").unwrap();
    assert!(!path.exists());
}

#[test]
fn a_tcp_server_shows_both_ends() {
    for host in ["127.0.0.1", "::1", "localhost", ""] {
        let chardevs = Chardevs::new().unwrap();
        let info = add(&chardevs, "con0", &socket(inet(host, 0), true));
        let front = front(&chardevs);
        let to = if host == "::1" { "::1" } else { "127.0.0.1" };
        let mut peer = TcpStream::connect((to, port_of(&info.filename))).unwrap();
        opened(&front);
        echo(&front, &mut peer);
        let (own, theirs) = (peer.peer_addr().unwrap(), peer.local_addr().unwrap());
        let shown = format!("tcp:{own},server=on <-> {theirs}");
        assert_eq!(filename(&chardevs), shown);
    }
}

#[test]
fn an_abstract_name_works_both_ways() {
    for tight in [true, false] {
        let name = format!("chardev-test-{}-{tight}", std::process::id());
        let addr = SocketAddress::Unix {
            path: name.clone(),
            abstract_name: true,
            tight,
        };
        let chardevs = Chardevs::new().unwrap();
        let info = add(&chardevs, "con0", &socket(addr.clone(), true));
        let tight_shown = if tight { ",tight=on" } else { "" };
        let shown = format!("disconnected:unix:{name},abstract=on{tight_shown},server=on");
        assert_eq!(info.filename, shown);
        let server = front(&chardevs);
        let mut bytes = name.into_bytes();
        if !tight {
            bytes.resize(107, 0);
        }
        let address = SocketAddr::from_abstract_name(&bytes).unwrap();
        let mut peer = UnixStream::connect_addr(&address).unwrap();
        opened(&server);
        echo(&server, &mut peer);
        drop(peer);
        closed(&server);
        add(&chardevs, "con1", &socket(addr, false));
        opened(&server);
    }
}

#[test]
fn a_client_ends_with_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server");
    let listener = UnixListener::bind(&path).unwrap();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), false));
    let front = front(&chardevs);
    opened(&front);
    let (mut peer, _) = listener.accept().unwrap();
    echo(&front, &mut peer);
    drop(peer);
    closed(&front);
    let shown = format!("disconnected:unix:{}", path.display());
    assert_eq!(filename(&chardevs), shown);
    assert!(!front.is_open());
}

#[test]
fn a_client_comes_back_to_its_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let chardevs = Chardevs::new().unwrap();
    let options = socket(inet("127.0.0.1", port), false).with("reconnect-ms", OptionValue::Int(10));
    add(&chardevs, "con0", &options);
    let front = front(&chardevs);
    for _ in 0..3 {
        opened(&front);
        let (mut peer, _) = listener.accept().unwrap();
        echo(&front, &mut peer);
        drop(peer);
        closed(&front);
    }
}

#[test]
fn a_client_that_finds_no_server_goes_on_trying() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server");
    let chardevs = Chardevs::new().unwrap();
    let options = socket(unix(&path), false).with("reconnect-ms", OptionValue::Int(10));
    let info = add(&chardevs, "con0", &options);
    assert_eq!(
        info.filename,
        format!("disconnected:unix:{}", path.display())
    );
    let front = front(&chardevs);
    let _listener = UnixListener::bind(&path).unwrap();
    opened(&front);
}

#[test]
fn waiting_ends_when_the_first_client_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    let connecting = {
        let path = path.clone();
        std::thread::spawn(move || wait_for("listener", || UnixStream::connect(&path).ok()))
    };
    let options = socket(unix(&path), true).with("wait", OptionValue::Bool(true));
    assert!(add(&chardevs, "con0", &options).open);
    let front = front(&chardevs);
    opened(&front);
    echo(&front, &mut connecting.join().unwrap());
}

#[test]
fn a_path_passes_from_one_server_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let mut old = UnixStream::connect(&path).unwrap();
    opened(&front);
    assert_eq!(front.write(b"to the old one"), 14);
    old.write_all(b"from the old one").unwrap();
    change(&chardevs, "con0", &socket(unix(&path), true)).unwrap();
    assert_eq!(read_until(&front, 16), b"from the old one");
    let mut new = UnixStream::connect(&path).unwrap();
    wait_for("the new peer", || front.is_open().then_some(()));
    echo(&front, &mut new);
    let mut all = String::new();
    old.read_to_string(&mut all).unwrap();
    assert_eq!(all, "to the old one");
    let names = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 1, "no hidden name is left");
    // A client that waits in the queue belongs to whoever has the listener next.
    let mut third = UnixStream::connect(&path).unwrap();
    let waiting = socket(unix(&path), true).with("wait", OptionValue::Bool(true));
    change(&chardevs, "con0", &waiting).unwrap();
    echo(&front, &mut third);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_stale_socket_is_replaced_even_under_a_long_path() {
    let dir = tempfile::tempdir().unwrap();
    let room = 108 - dir.path().as_os_str().len() - 1;
    let path = dir.path().join("s".repeat(room - 1));
    drop(UnixListener::bind(&path).unwrap());
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    echo(&front, &mut peer);
}

#[test]
fn a_path_that_somebody_serves_is_not_taken_and_nobody_notices() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let served = UnixListener::bind(&path).unwrap();
    served.set_nonblocking(true).unwrap();
    let chardevs = Chardevs::new().unwrap();
    let refused = format!(
        "Failed to bind socket to {}: Address already in use (another process is serving it; \
         stop that process, or choose another path)",
        path.display()
    );
    for wait in [false, true] {
        let options = socket(unix(&path), true).with("wait", OptionValue::Bool(wait));
        let adding = chardevs.add("con0", &options);
        let error = chardevs.block_on(adding).unwrap_err().to_string();
        assert!(error.ends_with(&refused), "{error}");
    }
    add(&chardevs, "con0", &ring(64));
    let error = change(&chardevs, "con0", &socket(unix(&path), true)).unwrap_err();
    assert!(error.to_string().ends_with(&refused), "{error}");
    assert!(served.accept().is_err(), "a probe came as a client");
    // Another chardev of the same process is somebody, too.
    drop(served);
    add(&chardevs, "con1", &socket(unix(&path), true));
    let error = change(&chardevs, "con0", &socket(unix(&path), true)).unwrap_err();
    assert!(error.to_string().ends_with(&refused), "{error}");
    let front = chardevs.front_end("con1", Arc::new(())).unwrap();
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    echo(&front, &mut peer);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_client_in_the_queue_is_heard_by_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.write_all(b"just in time").unwrap();
    change(&chardevs, "con0", &ring(4096)).unwrap();
    assert_eq!(read_until(&front, 12), b"just in time");
}

#[test]
fn a_change_given_up_while_waiting_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("never");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(4096));
    let waiting = socket(unix(&path), true).with("wait", OptionValue::Bool(true));
    let mover = chardevs.clone();
    let task = chardevs.spawn(async move {
        let none = Arc::new(chardev::back::NoFds);
        mover.change_with("con0", &waiting, none).await.map(|_| ())
    });
    wait_for("the listener", || path.exists().then_some(()));
    task.give_up();
    wait_for("its end", || (!path.exists()).then_some(()));
    // The listener goes first, then the change it was for.
    wait_for("a change", || change(&chardevs, "con0", &ring(4096)).ok());
}

#[test]
fn a_connected_socket_is_taken_as_the_peer_and_the_next_one_is_served_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let (mut peer, ours) = UnixStream::pair().unwrap();
    chardevs.add_client("con0", ours.into()).unwrap();
    opened(&front);
    echo(&front, &mut peer);
    let (_, second) = UnixStream::pair().unwrap();
    chardevs.add_client("con0", second.into()).unwrap_err();
    drop(peer);
    closed(&front);
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    echo(&front, &mut peer);
}
