//! EMFILE on either side of a change. The limit is the whole process's, so this is one test in a
//! file of its own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::common::{DEADLINE, add, change, hold, text, wait_for};
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{Chardevs, Event};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn limit(descriptors: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = descriptors.or(maximum);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// Takes all descriptors there are.
fn use_up() -> Vec<std::fs::File> {
    limit(Some(64));
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    taken
}

#[test]
fn nothing_is_lost_and_nobody_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let address = SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    };
    let chardevs = Chardevs::new().unwrap();
    let options = hold("socket")
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(true));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let connect = || {
        let peer = UnixStream::connect(&path).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        peer
    };
    let mut peer = connect();
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);

    // A change cannot open its back end: the old one goes on as if nothing had been asked.
    let taken = use_up();
    for new in [
        Options::new("pty"),
        Options::new("file").with("out", text(dir.path().join("file"))),
        options.clone(),
    ] {
        let error = change(&chardevs, "con0", &new).unwrap_err().to_string();
        assert!(error.contains("Too many open files"), "{new:?}: {error}");
    }
    assert_eq!(front.next_event(), None);
    assert_eq!(front.write(b"out"), 3);
    let mut got = [0; 3];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"out");
    peer.write_all(b"in").unwrap();
    let mut got = [0; 2];
    wait_for("input", || (front.read(&mut got) == 2).then_some(()));
    assert_eq!(&got, b"in");

    // A client that comes when nothing can be opened is served as soon as something can.
    let mut taken = taken;
    taken.pop();
    let mut next = connect();
    drop(peer);
    assert_eq!(wait_for("closed", || front.next_event()), Event::Closed);
    taken.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
    drop(taken);
    limit(None);
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
    assert_eq!(front.write(b"next"), 4);
    let mut got = [0; 4];
    next.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"next");
}
