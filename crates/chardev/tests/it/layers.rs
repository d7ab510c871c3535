//! Sockets that speak a toy protocol above plain bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::common::{DEADLINE, LOOK_AGAIN, add, change, hold, read_until, ring, wait_for};
use crate::toy::escape::{ANSWER, BREAK, END, HELLO, PAUSE, QUESTION, REFUSAL, RESUME, encode};
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{BlockingFrontEnd, Chardevs, Event, FrontEnd, Ready, ReadyFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

fn server(kind: &'static str, path: &Path) -> Options {
    let address = SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    };
    hold(kind)
        .with("addr", OptionValue::Address(address))
        .with("server", OptionValue::Bool(true))
}

/// Looks, and does not wait.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// A chardev whose socket speaks the protocol, and its front end.
struct Bed {
    chardevs: Chardevs,
    front: FrontEnd,
    dir: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        Bed::of("escaped")
    }

    fn of(kind: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = server(kind, &dir.path().join("con0"));
        Bed::with(dir, &options)
    }

    fn with(dir: tempfile::TempDir, options: &Options) -> Self {
        let kinds = [&*crate::toy::escaped::ESCAPED, &*crate::toy::escaped::HASTY];
        let chardevs = Chardevs::with_kinds(&kinds).unwrap();
        add(&chardevs, "con0", options);
        let front = chardevs.front_end("con0", Arc::new(())).unwrap();
        Bed {
            chardevs,
            front,
            dir,
        }
    }

    fn connect(&self) -> UnixStream {
        let peer = UnixStream::connect(self.dir.path().join("con0")).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        peer
    }

    /// A peer that has shaken hands.
    fn greeted(&self) -> UnixStream {
        let mut peer = self.connect();
        peer.write_all(HELLO).unwrap();
        hear(&mut peer, HELLO);
        self.expect(Event::Opened);
        peer
    }

    /// Nothing is noticed until what this returns is dropped.
    fn hold_io_thread(&self) -> mpsc::Sender<()> {
        let (held, hold) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        self.chardevs.spawn(async move {
            tell.send(()).unwrap();
            hold.recv().unwrap_err();
        });
        told.recv().unwrap();
        held
    }

    /// The next `count` bytes and events: `!` is a break, `.` the end.
    fn told(&self, count: usize) -> String {
        let mut told = String::new();
        wait_for("everything", || {
            let mut buf = [0; 1];
            match self.front.read(&mut buf) {
                0 => told.extend(self.front.next_event().and_then(|event| match event {
                    Event::Break => Some('!'),
                    Event::Closed => Some('.'),
                    _ => None,
                })),
                _ => told.push(buf[0].into()),
            }
            (told.len() == count).then_some(())
        });
        told
    }

    fn expect(&self, event: Event) {
        let told = wait_for("an event", || self.front.next_event());
        assert_eq!(told, event);
    }
}

fn hear(peer: &mut impl Read, expected: &[u8]) {
    let mut buf = vec![0; expected.len()];
    peer.read_exact(&mut buf).unwrap();
    assert_eq!(buf, expected);
}

#[test]
fn a_peer_is_shown_once_it_has_shaken_hands() {
    let bed = Bed::new();
    let mut peer = bed.connect();
    hear(&mut peer, HELLO);
    assert_eq!((bed.front.is_open(), bed.front.write(b"early")), (false, 0));
    assert_eq!(bed.front.next_event(), None);
    peer.write_all(&HELLO[..1]).unwrap();
    peer.write_all(&[&HELLO[1..], b"at once"].concat()).unwrap();
    bed.expect(Event::Opened);
    assert_eq!(read_until(&bed.front, 7), b"at once");
    assert_eq!(bed.front.write(b"k\x1bk"), 3);
    hear(&mut peer, &encode(b"k\x1bk"));
    peer.write_all(&[QUESTION, b"?"].concat()).unwrap();
    assert_eq!(read_until(&bed.front, 1), b"?");
    hear(&mut peer, ANSWER);
}

#[test]
fn who_cannot_shake_hands_is_never_shown_and_the_next_one_is_served() {
    let bed = Bed::new();
    drop(bed.connect());
    let mut wrong = bed.connect();
    wrong.write_all(b"\x1b?").unwrap();
    let mut said = Vec::new();
    wrong.read_to_end(&mut said).unwrap();
    assert_eq!(said, [HELLO, REFUSAL].concat());
    let mut peer = bed.greeted();
    peer.write_all(b"right").unwrap();
    assert_eq!(read_until(&bed.front, 5), b"right");
}

#[test]
fn who_says_nothing_is_given_up_and_the_next_one_is_served() {
    let bed = Bed::of("hasty");
    let mut silent = bed.connect();
    silent.write_all(&HELLO[..1]).unwrap();
    let mut said = Vec::new();
    silent.read_to_end(&mut said).unwrap();
    assert_eq!(said, [HELLO, END].concat());
    assert_eq!(bed.front.next_event(), None);
    let mut peer = bed.greeted();
    assert_eq!(bed.front.write(b"hello"), 5);
    hear(&mut peer, b"hello");
}

#[test]
fn who_greets_and_leaves_at_once_is_heard_and_its_end_is_seen_though_nobody_reads() {
    let bed = Bed::new();
    for greeted in [true, false] {
        let mut brief = bed.connect();
        if greeted {
            hear(&mut brief, HELLO);
        }
        // All that it does is seen at once.
        let held = bed.hold_io_thread();
        brief.write_all(&[HELLO, b"in passing"].concat()).unwrap();
        drop(brief);
        drop(held);
        let mut peer = bed.connect();
        peer.write_all(HELLO).unwrap();
        hear(&mut peer, HELLO);
        bed.expect(Event::Opened);
        assert_eq!(read_until(&bed.front, 10), b"in passing");
        bed.expect(Event::Closed);
        bed.expect(Event::Opened);
        drop(peer);
        bed.expect(Event::Closed);
    }
}

#[test]
fn a_peer_in_its_handshake_is_nobody_to_a_change() {
    let bed = Bed::new();
    let (mut silent, path) = (bed.connect(), bed.dir.path().join("con1"));
    hear(&mut silent, HELLO);
    silent.write_all(&HELLO[..1]).unwrap();
    change(&bed.chardevs, "con0", &server("escaped", &path)).unwrap();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, END);
    assert!(matches!(bed.front.next_event(), Some(Event::Changed(_))));
    // One whose greeting has come by then is heard, whether or not anybody has looked.
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.write_all(&[HELLO, b"just in time"].concat()).unwrap();
    change(&bed.chardevs, "con0", &ring(4096)).unwrap();
    assert_eq!(read_until(&bed.front, 12), b"just in time");
}

#[test]
fn a_break_keeps_its_place_although_its_peer_leaves() {
    let bed = Bed::new();
    let mut peer = bed.greeted();
    peer.write_all(&[b"ab", BREAK, b"cd"].concat()).unwrap();
    drop(peer);
    wait_for("its end to be seen", || {
        (bed.front.write(b"x") == 0).then_some(())
    });
    assert_eq!(bed.told(6), "ab!cd.");
}

#[test]
fn a_break_keeps_its_place_although_its_back_end_is_replaced() {
    let bed = Bed::new();
    let mut peer = bed.greeted();
    peer.write_all(&[b"ab", BREAK, b"cd", BREAK].concat())
        .unwrap();
    change(&bed.chardevs, "con0", &ring(4096)).unwrap();
    assert_eq!(bed.told(6), "ab!cd!");
    assert_eq!(bed.front.stats().breaks_dropped, 0);
}

#[test]
fn a_peer_that_ends_its_sending_is_answered_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let keep = OptionValue::Str("keep".to_owned());
    let bed = Bed::with(dir, &server("escaped", &path).with("x-half-close", keep));
    for says_so in [true, false] {
        let mut peer = bed.greeted();
        peer.write_all(b"question").unwrap();
        match says_so {
            true => peer.write_all(END).unwrap(),
            false => peer.shutdown(Shutdown::Write).unwrap(),
        }
        assert_eq!(bed.told(8), "question");
        wait_for("the end of the input", || {
            assert_eq!(bed.front.read(&mut [0]), 0);
            bed.front.input_ended().then_some(())
        });
        assert_eq!(bed.front.write(b"an\x1bswer"), 7);
        bed.front.disconnect();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [&encode(b"an\x1bswer"), END].concat());
        bed.expect(Event::Closed);
    }
}

#[test]
fn a_peer_that_is_told_to_go_is_heard_to_its_last_byte() {
    let address = SocketAddress::Inet(InetAddress {
        host: "127.0.0.1".to_owned(),
        port: "0".to_owned(),
        ..InetAddress::default()
    });
    let options = hold("escaped").with("addr", OptionValue::Address(address));
    let bed = Bed::with(tempfile::tempdir().unwrap(), &options);
    let name = bed.chardevs.list().remove(0).filename;
    let place = name.strip_suffix(",server=on").unwrap();
    let place = place.strip_prefix("disconnected:tcp:").unwrap();
    let mut tcp = TcpStream::connect(place).unwrap();
    let said = [HELLO, b"ab", BREAK, b"cd", BREAK, b"ef"].concat();
    tcp.write_all(&said).unwrap();
    bed.expect(Event::Opened);
    assert_eq!(bed.front.write(b"bye"), 3);
    bed.front.disconnect();
    assert_eq!(bed.told(7), "abcdef.");
    hear(&mut tcp, &[HELLO, b"bye", END].concat());
    assert_eq!(tcp.read(&mut [0]).unwrap(), 0);
}

#[test]
fn who_reads_the_word_that_there_is_room_again_is_told_so() {
    let bed = Bed::new();
    let mut peer = bed.greeted();
    peer.write_all(&[PAUSE, b"p"].concat()).unwrap();
    assert_eq!(read_until(&bed.front, 1), b"p");
    let ready = ReadyFd::new(&bed.front, Ready::WRITE).unwrap();
    // Before the word may come, which somebody else may see first.
    ready.clear();
    assert_eq!(bed.front.write(b"no"), 0);
    peer.write_all(&[RESUME, b"r"].concat()).unwrap();
    assert_eq!(read_until(&bed.front, 1), b"r");
    let mut room = [PollFd::new(&ready, PollFlags::IN)];
    wait_for("room", || {
        (poll(&mut room, Some(&NOW)) == Ok(1)).then_some(())
    });
    assert_eq!(bed.front.write(b"yes"), 3);
}

#[test]
fn breaks_come_between_the_bytes_they_were_sent_between() {
    let bed = Bed::new();
    let mut peer = bed.greeted();
    peer.write_all(&[b"ab", BREAK, b"cd", BREAK].concat())
        .unwrap();
    assert_eq!(bed.told(6), "ab!cd!");
}

#[test]
fn what_a_layer_took_drains_with_the_old_back_end() {
    let bed = Bed::new();
    let mut peer = bed.greeted();
    let mut accepted = Vec::new();
    // Many of these are escaped, and the last piece is half on the wire.
    let piece: Vec<u8> = (0..9001_u32).map(|n| (n % 251) as u8).collect();
    loop {
        match bed.front.write(&piece) {
            0 => break,
            count => accepted.extend(&piece[..count]),
        }
    }
    assert_eq!(bed.front.write(&piece), 0, "no more");
    peer.write_all(b"unread\x1b").unwrap();
    change(&bed.chardevs, "con0", &ring(1 << 20)).unwrap();
    assert_eq!(bed.front.write(b"new"), 3);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert!(
        got == [encode(&accepted), END.to_vec()].concat(),
        "{} bytes",
        got.len()
    );
    assert_eq!(read_until(&bed.front, 6), b"unread");
    assert_eq!(bed.front.stats().output_undrained, 0);
}

#[test]
fn a_layer_whose_peer_wants_nothing_holds_the_writer_until_it_does() {
    let bed = Bed::new();
    let mut peer = bed.greeted();
    peer.write_all(&[PAUSE, b"p"].concat()).unwrap();
    assert_eq!(read_until(&bed.front, 1), b"p");
    assert_eq!(bed.front.write(b"no"), 0);
    // The front end does not read: the word is heard all the same.
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(bed.front.write_all(b"yes", Some(DEADLINE)).unwrap(), 3));
        peer.write_all(&[b"before", RESUME].concat()).unwrap();
        hear(&mut peer, b"yes");
    });
    assert_eq!(read_until(&bed.front, 6), b"before");
}

#[test]
fn events_that_nobody_reads_have_a_bound_while_a_peer_wants_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = server("socket", &dir.path().join("con0"));
    let bed = Bed::with(dir, &options.with("x-rfc2217", OptionValue::Bool(true)));
    bed.front.watch_serial(true);
    let mut peer = bed.connect();
    // It speaks of the line, and wants nothing for now.
    peer.write_all(b"\xff\xfb\x2c\xff\xfa\x2c\x08\xff\xf0p")
        .unwrap();
    bed.expect(Event::Opened);
    assert_eq!(read_until(&bed.front, 1), b"p");
    assert_eq!(bed.front.write(b"no"), 0);
    // A byte that nobody reads, and behind it no more bytes but breaks and wishes without end.
    peer.write_all(b".").unwrap();
    peer.set_nonblocking(true).unwrap();
    let events = b"\xff\xf3\xff\xfa\x2c\x02\x08\xff\xf0".repeat(500);
    let (mut sent, mut quiet) = (0, 0);
    let end = Instant::now() + DEADLINE;
    while quiet < 200 {
        assert!(Instant::now() < end && sent < 4 << 20, "{sent} bytes");
        assert_eq!(bed.front.write(b"no"), 0);
        bed.front.set_waker(Ready::WRITE, Waker::noop());
        quiet += 1;
        if let Ok(count) = peer.write(&events) {
            (sent, quiet) = (sent + count, 0);
        }
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

#[test]
fn a_handover_keeps_the_layers_where_the_new_ones_are_the_same() {
    let bed = Bed::new();
    let mut peer = bed.greeted();
    peer.write_all(b"half \x1b").unwrap();
    assert_eq!(read_until(&bed.front, 5), b"half ");
    let same = |kind| {
        server(kind, &bed.dir.path().join("con0")).with("x-handover", OptionValue::Bool(true))
    };
    for kind in ["hasty", "socket"] {
        change(&bed.chardevs, "con0", &same(kind)).unwrap_err();
    }
    change(&bed.chardevs, "con0", &same("escaped")).unwrap();
    peer.write_all(&[b'\x1b' ^ 0x80]).unwrap();
    assert_eq!(read_until(&bed.front, 1), b"\x1b");
    assert_eq!(bed.front.write(b"on"), 2);
    hear(&mut peer, b"on");
    peer.set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    peer.read(&mut [0]).unwrap_err();
}
