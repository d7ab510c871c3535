//! Bytes in a pipe of the kernel's, and what becomes of them when an end of the relay does.
#![allow(clippy::disallowed_methods, reason = "a test may wait")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use chardev::backends::{File, Pipe, Pty, Ringbuf, Tcp, Unix};
use chardev::spec::Options;
use chardev::{Chardevs, FrontEnd, PolicyChange, ViewFrom};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use socket2::Socket;

use super::*;

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(60);
/// What is kept of the output.
const KEPT: usize = 64 << 10;

#[derive(Clone, Copy, Debug)]
enum Family {
    Unix,
    Tcp,
}

/// A relay of one direction, and the peers of its two chardevs.
struct Bed {
    family: Family,
    dir: tempfile::TempDir,
    chardevs: Chardevs,
    fronts: [FrontEnd; 2],
    hand: Hand,
    /// All that were there, the present ones last.
    sources: Vec<Socket>,
    targets: Vec<fs::File>,
    sent: u64,
    received: u64,
}

impl Bed {
    fn new(family: Family) -> Self {
        Bed::between([family; 2])
    }

    fn between(families: [Family; 2]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chardevs = Chardevs::new().unwrap();
        let [source, target] = [("a", families[0]), ("b", families[1])].map(|(id, family)| {
            let (options, accept) = place(family, &dir, id);
            chardevs.blocking_add(id, options).unwrap();
            accept()
        });
        let change = PolicyChange {
            history: Some(KEPT),
            closed: Some(chardev::Closed::Hold),
            ..PolicyChange::default()
        };
        chardevs.set_policy("b", change).unwrap();
        Bed {
            family: families[1],
            fronts: ["a", "b"].map(|id| chardevs.attach(id).unwrap()),
            dir,
            chardevs,
            hand: Hand::default(),
            sources: vec![source],
            targets: vec![file(target)],
            sent: 0,
            received: 0,
        }
    }

    /// The source sends what is taken of it, and the relay has a turn.
    fn step(&mut self, sends: bool) {
        if sends {
            let bytes: Vec<u8> = (self.sent..self.sent + (64 << 10)).map(number).collect();
            match self.sources.last_mut().unwrap().write(&bytes) {
                Ok(count) => self.sent += count as u64,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        let cx = &mut Context::from_waker(Waker::noop());
        let [from, to] = &self.fronts;
        if self.hand.poll_flush(cx, to).is_ready() {
            self.hand.poll_move(cx, from, to, false);
        }
        while to.next_event().is_some() {}
    }

    /// Until bytes are in the pipe, because the target takes none.
    fn until_piped(&mut self) {
        let start = Instant::now();
        while self.hand.piped.is_none() {
            assert!(
                start.elapsed() < DEADLINE,
                "{:?}: nothing goes through a pipe",
                self.family
            );
            self.step(true);
        }
        assert!(self.hand.len() > 0);
    }

    /// The next numbers come out of the newest target, up to what was sent.
    fn until_received(&mut self) {
        let start = Instant::now();
        while self.received < self.sent || self.hand.len() > 0 {
            let waits = self.received;
            assert!(
                start.elapsed() < DEADLINE,
                "{:?}: {waits} of {}",
                self.family,
                self.sent
            );
            self.step(false);
            let last = self.targets.len() - 1;
            self.receive(last);
        }
        let history = self.chardevs.history("b", ViewFrom::Oldest, KEPT).unwrap();
        assert_eq!((history.end, history.bytes.len()), (self.received, KEPT));
        check(&history.bytes, history.start);
        assert!(self.hand.piped.is_none(), "the pipe was given back");
    }

    /// Reads what has come to a target; `false` at its end.
    fn receive(&mut self, which: usize) -> bool {
        let mut buf = vec![0; 256 << 10];
        match self.targets[which].read(&mut buf) {
            Ok(count) => {
                check(&buf[..count], self.received);
                self.received += count as u64;
                count > 0
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                true
            }
        }
    }

    /// The target that was replaced gets all that its back end had accepted, then the end.
    fn old_target_is_given_all(&mut self, accepted: u64) {
        let start = Instant::now();
        while self.receive(0) {
            assert!(
                start.elapsed() < DEADLINE,
                "the replaced peer is given its end"
            );
        }
        assert_eq!(self.received, accepted, "{:?}", self.family);
    }

    fn accepted(&self) -> u64 {
        self.fronts[1].stats().output_accepted
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Replaces the back end of `id` by a socket of the same family, as `with` makes it.
    fn change(&mut self, id: &str, with: impl FnOnce(Options) -> Options) {
        let name = format!("{id}{}", self.sources.len() + self.targets.len());
        let (options, accept) = place(self.family, &self.dir, &name);
        self.chardevs.blocking_change(id, with(options)).unwrap();
        match id {
            "a" => self.sources.push(accept()),
            _ => self.targets.push(file(accept())),
        }
    }

    /// Replaces the target by something that is no socket.
    fn change_target(&mut self, other: Other) {
        let path = self.dir.path().join("other");
        let options: Options = match other {
            Other::File => File::create(&path).into(),
            Other::Pipe => Pipe::new(&path).into(),
            Other::Pty => Pty::new().into(),
        };
        let ends = ["in", "out"].map(|end| path.with_extension(end));
        if matches!(other, Other::Pipe) {
            for end in &ends {
                mknodat(CWD, end, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            }
            self.targets.push(opened(&ends[1]));
        }
        let info = self.chardevs.blocking_change("b", options).unwrap();
        match other {
            Other::File => self.targets.push(opened(&path)),
            Other::Pipe => {}
            Other::Pty => self.targets.push(opened(Path::new(&info.pty.unwrap()))),
        }
    }
}

/// A target that is no socket.
#[derive(Clone, Copy, Debug)]
enum Other {
    File,
    Pipe,
    Pty,
}

fn file(socket: Socket) -> fs::File {
    OwnedFd::from(socket).into()
}

/// What is at `path`, to be read without waiting.
fn opened(path: &Path) -> fs::File {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).unwrap().into()
}

fn number(n: u64) -> u8 {
    (n % 251) as u8
}

/// Whether these are the numbers from `offset` on.
fn check(bytes: &[u8], offset: u64) {
    let wrong = bytes
        .iter()
        .zip(offset..)
        .position(|(byte, n)| *byte != number(n));
    assert_eq!(
        wrong.map(|at| at as u64 + offset),
        None,
        "the first wrong byte"
    );
}

/// A socket to connect to, called `name`, and who waits there.
fn place(
    family: Family,
    dir: &tempfile::TempDir,
    name: &str,
) -> (Options, Box<dyn FnOnce() -> Socket>) {
    let ready = |socket: Socket| {
        socket.set_nonblocking(true).unwrap();
        socket
    };
    match family {
        Family::Unix => {
            let path = dir.path().join(name);
            let listener = UnixListener::bind(&path).unwrap();
            let accept = move || ready(listener.accept().unwrap().0.into());
            (Unix::connect(path).into(), Box::new(accept))
        }
        Family::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let accept = move || ready(listener.accept().unwrap().0.into());
            (Tcp::connect("127.0.0.1", port).into(), Box::new(accept))
        }
    }
}

/// Runs `then` with bytes in the pipe, over each family.
fn with_bytes_in_the_pipe(then: impl Fn(&mut Bed)) {
    for family in [Family::Unix, Family::Tcp] {
        let mut bed = Bed::new(family);
        bed.until_piped();
        then(&mut bed);
    }
}

#[test]
fn a_peer_that_stalled_gets_them() {
    with_bytes_in_the_pipe(|bed| {
        bed.until_received();
        // Both ends are as they were, so it goes on in the same way.
        bed.until_piped();
        bed.until_received();
    });
}

/// Who reads it need not wake whoever sends for so little.
#[test]
fn a_unix_socket_out_of_which_much_goes_has_more_room() {
    let mut bed = Bed::new(Family::Unix);
    bed.until_piped();
    let wanted = 300 << 10;
    let start = Instant::now();
    while rustix::io::ioctl_fionread(&bed.targets[0]).unwrap() < wanted {
        assert!(start.elapsed() < DEADLINE, "there is room for {wanted}");
        bed.step(true);
    }
    bed.until_received();
}

#[test]
fn the_old_peer_gets_what_it_had_accepted_and_the_new_one_the_rest() {
    with_bytes_in_the_pipe(|bed| {
        let accepted = bed.accepted();
        bed.change("b", |options| options);
        bed.old_target_is_given_all(accepted);
        bed.until_received();
        bed.until_piped();
        bed.until_received();
    });
}

#[test]
fn a_change_of_the_source_leaves_them_in_their_place() {
    with_bytes_in_the_pipe(|bed| {
        bed.change("a", |options| options);
        for _ in 0..3 {
            bed.step(true);
        }
        bed.until_received();
    });
}

#[test]
fn a_ring_buffer_gets_them_as_copies() {
    with_bytes_in_the_pipe(|bed| {
        let accepted = bed.accepted();
        bed.chardevs
            .blocking_change("b", Ringbuf::new(64 << 20))
            .unwrap();
        bed.old_target_is_given_all(accepted);
        let start = Instant::now();
        while bed.accepted() < bed.sent {
            assert!(start.elapsed() < DEADLINE, "the ring takes them");
            bed.step(false);
        }
        let ring = bed.chardevs.ring_read("b", 64 << 20).unwrap();
        check(&ring, accepted);
        assert_eq!(accepted + ring.len() as u64, bed.sent);
    });
}

#[test]
fn what_is_no_socket_gets_them_as_copies() {
    for other in [Other::File, Other::Pipe, Other::Pty] {
        with_bytes_in_the_pipe(|bed| {
            let accepted = bed.accepted();
            bed.change_target(other);
            bed.old_target_is_given_all(accepted);
            bed.until_received();
        });
    }
}

#[test]
fn who_is_attached_gets_what_comes_next_and_then_the_former_peer() {
    with_bytes_in_the_pipe(|bed| {
        let accepted = bed.accepted();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let attached = bed.chardevs.attach_peer("b", theirs.into());
        bed.chardevs.block_on(attached).unwrap();
        bed.targets.push(OwnedFd::from(ours).into());
        let start = Instant::now();
        while bed.received < accepted {
            assert!(start.elapsed() < DEADLINE, "the former peer is given all");
            bed.receive(0);
        }
        let in_hand = bed.hand.len() as u64;
        while bed.received <= accepted + in_hand {
            assert!(start.elapsed() < DEADLINE, "who is attached gets the next");
            bed.step(true);
            bed.receive(1);
        }
        while bed.received < bed.accepted() {
            assert!(
                start.elapsed() < DEADLINE,
                "and all that was accepted for it"
            );
            bed.receive(1);
        }
        bed.targets.pop();
        bed.until_received();
        bed.until_piped();
        bed.until_received();
    });
}

#[test]
fn all_that_a_source_had_sent_before_it_vanished_is_handed_on() {
    with_bytes_in_the_pipe(|bed| {
        drop(bed.sources.pop());
        bed.until_received();
        bed.change("a", |options| options);
        bed.until_piped();
        bed.until_received();
    });
}

#[test]
fn a_log_that_comes_gets_them() {
    with_bytes_in_the_pipe(|bed| {
        let accepted = bed.accepted();
        let log = bed.log();
        bed.change("b", |options| {
            let path = chardev::spec::OptionValue::Str(log.to_str().unwrap().to_owned());
            options.with("logfile", path)
        });
        bed.old_target_is_given_all(accepted);
        bed.until_received();
        let start = Instant::now();
        let wanted = bed.sent - accepted;
        let logged = || fs::read(&log).unwrap();
        while logged().len() as u64 != wanted {
            assert!(
                start.elapsed() < DEADLINE,
                "{} of {wanted} in the log",
                logged().len()
            );
        }
        check(&logged(), accepted);
    });
}

#[test]
fn who_vanishes_has_what_it_was_given_and_the_next_one_the_rest() {
    with_bytes_in_the_pipe(|bed| {
        drop(bed.targets.pop());
        let start = Instant::now();
        while bed.fronts[1].is_open() {
            assert!(start.elapsed() < DEADLINE, "the end of a peer is noticed");
            bed.step(false);
        }
        bed.received = bed.accepted();
        bed.change("b", |options| options);
        bed.until_received();
    });
}

#[test]
fn a_purge_throws_them_away_and_says_how_many() {
    with_bytes_in_the_pipe(|bed| {
        let (in_hand, accepted) = (bed.hand.len(), bed.accepted());
        assert_eq!(bed.hand.clear(), in_hand);
        let read = bed.fronts[0].stats().input_delivered;
        assert_eq!((bed.hand.len(), accepted + in_hand as u64), (0, read));
    });
}

/// Pages of one are dearer to the other than a copy of what is in them.
#[test]
fn between_two_families_bytes_are_copied() {
    for families in [[Family::Unix, Family::Tcp], [Family::Tcp, Family::Unix]] {
        let mut bed = Bed::between(families);
        let start = Instant::now();
        while bed.hand.len() == 0 || !bed.hand.is_bulk() {
            assert!(start.elapsed() < DEADLINE, "{families:?}: nobody is full");
            bed.step(true);
            assert!(bed.hand.piped.is_none(), "{families:?}");
        }
        bed.until_received();
    }
}

/// `splice` stops there, a read goes past it.
#[test]
fn urgent_data_stops_nothing() {
    let mut bed = Bed::new(Family::Tcp);
    bed.until_piped();
    let urgent = bed.sources[0].send_out_of_band(b"!").unwrap();
    assert_eq!(urgent, 1);
    bed.step(true);
    bed.until_received();
    bed.until_piped();
    bed.until_received();
}

#[test]
fn nobody_takes_more_pipes_than_there_may_be() {
    let mut leases: Vec<Lease> = Vec::new();
    while let Some(lease) = Lease::new() {
        leases.push(lease);
        assert!(leases.len() <= 16);
    }
    let before = leases.len();
    leases.clear();
    assert!(before > 0 && Lease::new().is_some());
}
