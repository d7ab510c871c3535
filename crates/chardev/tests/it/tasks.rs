//! What goes on in the background is in one list, for as long as it does.

use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{Chardevs, TaskKind};

use crate::common::{add, change, hold, ring, wait_for};

fn unix(path: &std::path::Path, server: bool) -> Options {
    let address = SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    };
    hold("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(server))
}

/// The label and kind of everything that goes on.
fn listed(chardevs: &Chardevs) -> Vec<(String, TaskKind)> {
    let tasks = chardevs.tasks().into_iter();
    tasks.map(|task| (task.label, task.kind)).collect()
}

#[test]
fn a_client_that_looks_for_its_server_is_listed_until_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let path = dir.path().join("server");
    let options = unix(&path, false).with("reconnect-ms", OptionValue::Int(20));
    add(&chardevs, "con0", &options);
    assert_eq!(listed(&chardevs), [("con0".to_owned(), TaskKind::Connect)]);
    let listener = UnixListener::bind(&path).unwrap();
    let _peer = listener.accept().unwrap();
    wait_for("an empty list", || {
        listed(&chardevs).is_empty().then_some(())
    });

    // What is given up is no longer listed either.
    let options = unix(&dir.path().join("never"), false).with("reconnect-ms", OptionValue::Int(20));
    add(&chardevs, "con1", &options);
    assert_eq!(listed(&chardevs), [("con1".to_owned(), TaskKind::Connect)]);
    change(&chardevs, "con1", &ring(4096)).unwrap();
    wait_for("an empty list", || {
        listed(&chardevs).is_empty().then_some(())
    });
}

#[test]
fn a_drain_is_listed_with_what_its_peer_has_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let path = dir.path().join("con0");
    add(&chardevs, "con0", &unix(&path, true));
    let mut peer = UnixStream::connect(&path).unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    wait_for("a peer", || front.is_open().then_some(()));
    let taken = wait_for("room", || match front.write(&[b'o'; 5000]) {
        0 => None,
        taken => Some(taken),
    });
    change(&chardevs, "con0", &ring(4096)).unwrap();
    let owed = wait_for("a look at the drain", || {
        let tasks = chardevs.tasks();
        assert_eq!(listed(&chardevs), [("con0".to_owned(), TaskKind::Drain)]);
        tasks[0].undelivered
    });
    // The kernel counts more than the bytes alone.
    assert!(owed >= taken as u64, "{owed} of {taken} bytes");
    drop(front);
    chardevs.blocking_remove("con0").unwrap();
    assert_eq!(listed(&chardevs)[0], ("con0".to_owned(), TaskKind::Drain));
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), taken);
    drop(peer);
    wait_for("an empty list", || {
        listed(&chardevs).is_empty().then_some(())
    });
}
