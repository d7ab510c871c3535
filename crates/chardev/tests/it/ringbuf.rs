//! The back ends `ringbuf` and `memory`.

use std::sync::Arc;

use crate::common::{self, add, change, ring};
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{Chardevs, Ready, ReadyFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[test]
fn the_newest_bytes_are_kept_and_the_rest_is_counted() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(4));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.write(b"abcdef"), 6);
    assert_eq!(front.stats().output_overwritten, 2);
    assert_eq!(chardevs.ring_read("con0", 3).unwrap(), b"cde");
    assert_eq!(chardevs.ring_read("con0", 3).unwrap(), b"f");
}

#[test]
fn a_full_ring_that_holds_waits_for_its_reader() {
    let chardevs = Chardevs::new().unwrap();
    let options = ring(4).with("x-closed", OptionValue::Str("hold".to_owned()));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.write(b"abcdef"), 4);
    let ready = ReadyFd::new(&front, Ready::WRITE).unwrap();
    ready.clear();
    assert_eq!(front.write(b"ef"), 0);
    assert_eq!(chardevs.ring_read("con0", 2).unwrap(), b"ab");
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    assert_eq!(
        poll(&mut [PollFd::new(&ready, PollFlags::IN)], Some(&now)).unwrap(),
        1
    );
    assert_eq!(front.write(b"ef"), 2);
    assert_eq!(chardevs.ring_read("con0", 9).unwrap(), b"cdef");
    assert_eq!(front.stats().output_overwritten, 0);
}

#[test]
fn the_policy_is_kept_by_a_change_and_so_is_the_content() {
    let chardevs = Chardevs::new().unwrap();
    let options = ring(4).with("x-closed", OptionValue::Str("hold".to_owned()));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.write(b"abcd"), 4);
    change(
        &chardevs,
        "con0",
        &Options::new("memory").with("size", OptionValue::Int(8)),
    )
    .unwrap();
    assert_eq!(front.write(b"efghij"), 4);
    assert_eq!(chardevs.ring_read("con0", 99).unwrap(), b"abcdefgh");
}

#[test]
fn bad_sizes_are_refused_in_qemus_words() {
    let chardevs = Chardevs::new().unwrap();
    let refused = chardevs
        .block_on(chardevs.add("con0", &ring(0)))
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Failed to add chardev 'con0': size of ringbuf chardev must be power of two"
    );
}

#[test]
fn a_ring_that_was_read_empty_goes_on_until_somebody_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(8));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.write(b"old"), 3);
    assert_eq!(chardevs.ring_read("con0", 99).unwrap(), b"old");
    let address = SocketAddress::Unix {
        path: path.display().to_string(),
        abstract_name: false,
        tight: true,
    };
    let server = Options::new("socket")
        .with("addr", OptionValue::Address(address))
        .with("wait", OptionValue::Bool(false));
    change(&chardevs, "con0", &server).unwrap();
    assert_eq!(front.write(b"abcd"), 4);
    assert_eq!(front.write(b"efghij"), 6);
    assert_eq!(front.stats().output_overwritten, 2);
    let mut peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let mut kept = [0; 8];
    std::io::Read::read_exact(&mut peer, &mut kept).unwrap();
    assert_eq!(&kept, b"cdefghij");
    // What comes when that peer has left is nobody's, as ever.
    drop(peer);
    common::wait_for("the peer is seen to leave", || {
        (!front.is_open()).then_some(())
    });
    assert_eq!(front.write(b"lost"), 4);
    assert_eq!(front.stats().output_discarded, 4);
}
