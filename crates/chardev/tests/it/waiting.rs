//! The calls of a front end that wait.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::DEADLINE;
use chardev::backends::Unix;
use chardev::{BlockingFrontEnd, Chardevs, Event, Input, Ready, ReadyFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[test]
fn input_and_events_are_waited_for_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0.sock");
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("con0", Unix::listen(&path)).unwrap();
    let front = chardevs.attach("con0").unwrap();
    let mut buf = [0; 16];
    let nothing = front.wait_input(&mut buf, Some(Duration::ZERO));
    assert_eq!(nothing.unwrap(), None, "nobody is there");

    // Nothing is there when the waiting begins, or soon after: either way it ends.
    let peer = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| front.wait_input(&mut [0; 16], Some(DEADLINE)).unwrap());
        let peer = UnixStream::connect(&path).unwrap();
        let opened = Some(Input::Event(Event::Opened));
        assert_eq!(waiting.join().unwrap(), opened);
        peer
    });
    let mut next = || {
        let input = front.wait_input(&mut buf, Some(DEADLINE)).unwrap();
        (input, buf)
    };
    (&peer).write_all(b"root").unwrap();
    let (input, read) = next();
    assert_eq!((input, &read[..4]), (Some(Input::Data(4)), &b"root"[..]));
    (&peer).write_all(b"exit").unwrap();
    drop(peer);
    assert_eq!(next().0, Some(Input::Data(4)));
    assert_eq!(next().0, Some(Input::Event(Event::Closed)));
}

#[test]
fn a_waker_outlives_the_calls_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0.sock");
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("con0", Unix::listen(&path)).unwrap();
    let front = chardevs.attach("con0").unwrap();
    let ready = ReadyFd::new(&front, Ready::READ).unwrap();
    let nothing = front.wait_input(&mut [0; 16], Some(Duration::ZERO));
    assert_eq!(nothing.unwrap(), None, "nobody is there");

    ready.clear();
    // The read that finds nothing asks to be told.
    assert_eq!(front.read(&mut [0; 16]), 0);
    let _peer = UnixStream::connect(&path).unwrap();
    let mut fds = [PollFd::new(&ready, PollFlags::IN)];
    let deadline = Timespec {
        tv_sec: DEADLINE.as_secs() as i64,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut fds, Some(&deadline)), Ok(1));
}
