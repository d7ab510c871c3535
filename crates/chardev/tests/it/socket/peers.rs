//! How a peer leaves, and what it has said and is told by then.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use chardev::spec::{OptionValue, SocketAddress};
use chardev::{Chardevs, FrontEndHooks};

use super::{closed, filename, front, inet, opened, port_of, socket, unix};
use crate::common::{DEADLINE, add, change, echo, read_until, ring, wait_for};

#[test]
fn last_words_are_heard_by_a_front_end_that_was_not_listening() {
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", &socket(inet("127.0.0.1", 0), true));
    let port = port_of(&info.filename);
    let front = front(&chardevs);
    let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    opened(&front);
    peer.write_all(&[b'x'; 100_000]).unwrap();
    drop(peer);
    // Nobody reads, and yet the end is noticed.
    wait_for("the end", || (!front.is_open()).then_some(()));
    assert_eq!(read_until(&front, 100_000), [b'x'; 100_000]);
    closed(&front);
}

#[test]
fn a_reset_is_a_normal_departure() {
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", &socket(inet("127.0.0.1", 0), true));
    let port = port_of(&info.filename);
    let front = front(&chardevs);
    let peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    opened(&front);
    assert_eq!(front.write(b"never read"), 10);
    peer.set_nonblocking(true).unwrap();
    wait_for("output", || peer.peek(&mut [0]).ok());
    drop(peer);
    closed(&front);
    let mut next = TcpStream::connect(("127.0.0.1", port)).unwrap();
    opened(&front);
    echo(&front, &mut next);
}

#[test]
fn a_slow_reader_gets_everything_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let addresses = [unix(&path), inet("127.0.0.1", 0)];
    for addr in addresses {
        let tcp = matches!(addr, SocketAddress::Inet(_));
        let chardevs = Chardevs::new().unwrap();
        let info = add(&chardevs, "con0", &socket(addr, true));
        let front = front(&chardevs);
        let mut peer: Box<dyn Read> = if tcp {
            Box::new(TcpStream::connect(("127.0.0.1", port_of(&info.filename))).unwrap())
        } else {
            Box::new(UnixStream::connect(&path).unwrap())
        };
        opened(&front);
        let mut accepted = 0;
        loop {
            match front.write(&[b'o'; 30_000]) {
                0 => break,
                count => accepted += count,
            }
        }
        change(&chardevs, "con0", &ring(4096)).unwrap();
        let (mut all, mut buf) = (0, [0; 1000]);
        loop {
            match peer.read(&mut buf).unwrap() {
                0 => break,
                count => all += count,
            }
        }
        assert_eq!(all, accepted);
    }
}

#[test]
fn a_peer_told_to_go_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let front = front(&chardevs);
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    assert_eq!(front.write(b"bye"), 3);
    peer.write_all(b"unread").unwrap();
    front.disconnect();
    assert_eq!(read_until(&front, 6), b"unread");
    closed(&front);
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert_eq!(all, "bye");
    let mut next = UnixStream::connect(&path).unwrap();
    opened(&front);
    echo(&front, &mut next);
}

#[test]
fn a_half_closed_peer_still_gets_its_output() {
    let chardevs = Chardevs::new().unwrap();
    let info = add(&chardevs, "con0", &socket(inet("127.0.0.1", 0), true));
    let front = front(&chardevs);
    let mut peer = TcpStream::connect(("127.0.0.1", port_of(&info.filename))).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    opened(&front);
    assert_eq!(front.write(b"answer"), 6);
    peer.write_all(b"question").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_until(&front, 8), b"question");
    closed(&front);
    let mut all = String::new();
    match peer.read_to_string(&mut all) {
        Ok(_) => assert_eq!(all, "answer"),
        Err(error) => assert_ne!(error.kind(), ErrorKind::ConnectionReset, "{all}"),
    }
}

/// Byte `n` of a stream is `n % 251`: the `count` bytes from `start` on, out of a table.
fn numbered(table: &[u8], start: usize, count: usize) -> &[u8] {
    &table[start % 251..][..count]
}

#[test]
fn a_peer_that_leaves_megabytes_behind_is_read_to_the_end() {
    // While much is read the kernel's buffers grow, so that afterwards much fits unread.
    const READ: usize = 96 << 20;
    const LEFT: usize = 3 << 20;
    let table: Arc<[u8]> = (0..300 << 10).map(|n| (n % 251) as u8).collect();
    for (changed, last) in [(false, "Closed"), (true, "Changed")] {
        let chardevs = Chardevs::new().unwrap();
        let info = add(&chardevs, "con0", &socket(inet("127.0.0.1", 0), true));
        let front = front(&chardevs);
        let peer = TcpStream::connect(("127.0.0.1", port_of(&info.filename))).unwrap();
        opened(&front);
        let sender = std::thread::spawn({
            let table = Arc::clone(&table);
            let mut peer = peer;
            move || {
                for sent in (0..READ + LEFT).step_by(64 << 10) {
                    peer.write_all(numbered(&table, sent, 64 << 10)).unwrap();
                }
            }
        });
        let mut buf = vec![0; 256 << 10];
        let mut read = 0;
        let mut next = || {
            let count = front.read(&mut buf);
            assert!(&buf[..count] == numbered(&table, read, count), "at {read}");
            read += count;
            (count, read)
        };
        while next().1 < READ {}
        sender.join().unwrap();
        if changed {
            change(&chardevs, "con0", &ring(64)).unwrap();
        }
        wait_for("the end", || {
            while next().0 > 0 {}
            let event = front.next_event()?;
            format!("{event:?}").starts_with(last).then_some(())
        });
        assert_eq!(
            (next(), front.stats().input_overflowed),
            ((0, READ + LEFT), 0)
        );
    }
}

/// A front end that answers what it reads.
struct Answers;

impl FrontEndHooks for Answers {
    fn half_close(&self) -> bool {
        true
    }
}

#[test]
fn a_peer_that_ends_its_sending_is_kept_for_a_front_end_that_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &socket(unix(&path), true));
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.write_all(b"ping").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    // It may come before the front end does.
    wait_for("a peer", || {
        (!filename(&chardevs).starts_with("disconnected")).then_some(())
    });
    let front = chardevs.front_end("con0", Arc::new(Answers)).unwrap();
    opened(&front);
    assert_eq!(read_until(&front, 4), b"ping");
    wait_for("the end of the input", || {
        assert_eq!(front.read(&mut [0]), 0);
        front.input_ended().then_some(())
    });
    assert!(front.is_open());
    assert_eq!(front.next_event(), None);
    assert_eq!(front.write(b"pong"), 4);
    front.disconnect();
    closed(&front);
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"pong");
    // The next one is greeted as ever, and its end is seen although nothing was read to it.
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    peer.write_all(b"never read").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    drop(peer);
    wait_for("it is gone", || (!front.is_open()).then_some(()));
    assert_eq!(read_until(&front, 10), b"never read");
    closed(&front);
    // A kept peer does not outlast the front end that answers it.
    let mut peer = UnixStream::connect(&path).unwrap();
    opened(&front);
    peer.shutdown(Shutdown::Write).unwrap();
    wait_for("the end of the input", || {
        assert_eq!(front.read(&mut [0]), 0);
        front.input_ended().then_some(())
    });
    drop(front);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_peer_that_ends_its_sending_is_kept_where_the_socket_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    let keep = OptionValue::Str("keep".to_owned());
    let keeps = |addr| socket(addr, true).with("x-half-close", keep.clone());
    for kept in [true, false] {
        let options = if kept {
            keeps(unix(&path))
        } else {
            socket(unix(&path), true)
        };
        add(&chardevs, "con0", &options);
        let front = front(&chardevs);
        let mut peer = UnixStream::connect(&path).unwrap();
        opened(&front);
        peer.write_all(b"cmd").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        read_until(&front, 3);
        if !kept {
            closed(&front);
        }
        assert_eq!(front.write(b"answer"), 6);
        let mut answer = Vec::new();
        if kept {
            answer.resize(6, 0);
            peer.read_exact(&mut answer).unwrap();
            assert!(front.is_open());
            drop(peer);
            closed(&front);
        } else {
            peer.read_to_end(&mut answer).unwrap();
        }
        let discarded = front.stats().output_discarded as usize;
        assert_eq!(answer.len() + discarded, 6);
        assert_eq!(answer.is_empty(), !kept);
        drop(front);
        chardevs.blocking_remove("con0").unwrap();
    }
}
