//! What front ends still have when the chardevs around them end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::common::DEADLINE;
use chardev::backends::{Null, Unix};
use chardev::{AttachError, BlockingFrontEnd, Chardevs};

#[test]
fn after_a_shut_down_ids_are_gone_and_front_ends_stay_usable() {
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("con0", Null::new()).unwrap();
    chardevs.blocking_add("con1", Null::new().hold()).unwrap();
    let discarding = chardevs.attach("con0").unwrap();
    let holding = chardevs.attach("con1").unwrap();
    assert_eq!(
        (discarding.write(b"before"), holding.write(b"before")),
        (6, 6)
    );

    chardevs.block_on(chardevs.shut_down(DEADLINE));
    assert_eq!(chardevs.list(), []);
    let gone = AttachError::NotFound("con0".to_owned());
    assert_eq!(chardevs.attach("con0").unwrap_err(), gone);
    assert_eq!(
        (discarding.write(b"after"), holding.write(b"after")),
        (5, 0)
    );
    let stats = discarding.stats();
    assert_eq!((stats.output_accepted, stats.output_discarded), (11, 5));
}

#[test]
fn a_front_end_may_be_called_when_the_last_chardevs_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0.sock");
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("con0", Unix::listen(&path)).unwrap();
    let front = chardevs.attach("con0").unwrap();
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(front.wait_connected(Some(DEADLINE)).unwrap());

    drop(chardevs);
    peer.write_all(b"root").unwrap();
    let mut buf = [0; 16];
    while front.next_event().is_some() {}
    assert_eq!((front.read(&mut buf), &buf[..4]), (4, &b"root"[..]));
    assert_eq!(front.write(b"login:"), 6);
    peer.read_exact(&mut buf[..6]).unwrap();
    assert_eq!(&buf[..6], b"login:");
}
