//! Every chardev can be changed under full load: the one under a multiplexer, a multiplexer with
//! several front ends, a member of a hub, a plain one into either and back.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::{self, DEADLINE, add, change, hold, text, wait_for};
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{Action, BlockingFrontEnd, Chardevs, FrontEnd, Ready, ReadyFd};

const CHANGES: usize = 100;
/// What each peer sends before the next change.
pub(crate) const INPUT: usize = 3000;

/// Byte number `at` of a stream whose bytes are all letters from `base` on.
fn letter(base: u8, at: usize) -> u8 {
    let mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    base + (mixed % 26) as u8
}

pub(crate) fn letters(base: u8, from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|at| letter(base, at)).collect()
}

/// Says where a stream is not what it should be.
pub(crate) fn check(what: &str, base: u8, stream: &[u8], count: usize) {
    let wrong = stream
        .iter()
        .enumerate()
        .position(|(at, byte)| *byte != letter(base, at));
    assert_eq!(wrong, None, "{what} differs at this byte of {count}");
    assert_eq!(stream.len(), count, "{what} has another length");
}

/// Everything one back end's peer receives, and a way to type.
struct Peer {
    input: UnixStream,
    output: JoinHandle<Vec<u8>>,
}

/// The far ends of client sockets, one after the other.
pub(crate) struct Peers {
    dir: tempfile::TempDir,
    count: usize,
    listener: Option<UnixListener>,
    peers: Vec<Peer>,
    typed: usize,
}

impl Peers {
    pub(crate) fn new() -> Self {
        Peers {
            dir: tempfile::tempdir().unwrap(),
            count: 0,
            listener: None,
            peers: Vec::new(),
            typed: 0,
        }
    }

    /// Options of a client socket to the next peer.
    pub(crate) fn next(&mut self) -> Options {
        self.count += 1;
        let path = self.dir.path().join(self.count.to_string());
        self.listener = Some(UnixListener::bind(&path).unwrap());
        let addr = SocketAddress::Unix {
            path: path.to_str().unwrap().to_owned(),
            abstract_name: false,
            tight: true,
        };
        hold("socket")
            .with("addr", OptionValue::Address(addr))
            .with("server", OptionValue::Bool(false))
    }

    /// The back end is there: its peer begins to listen, slowly every fourth time, and types.
    pub(crate) fn arrived(&mut self, types: bool) {
        let (mut input, _) = self.listener.take().unwrap().accept().unwrap();
        let mut from = input.try_clone().unwrap();
        let slow = self.count % 4 == 0;
        let output = std::thread::spawn(move || {
            let mut all = Vec::new();
            let mut piece = vec![0; if slow { 512 } else { 65536 }];
            while let Ok(count @ 1..) = from.read(&mut piece) {
                all.extend_from_slice(&piece[..count]);
            }
            // A peer that stays would be waited for.
            let _ = from.shutdown(std::net::Shutdown::Both);
            all
        });
        if types {
            input.write_all(&letters(b'a', self.typed, INPUT)).unwrap();
            self.typed += INPUT;
        }
        self.peers.push(Peer { input, output });
    }

    /// What all of them received, in the order of the back ends.
    pub(crate) fn received(self) -> Vec<u8> {
        let outputs = self.peers.into_iter().map(|peer| {
            // A peer that goes on typing is not needed to see the end.
            drop(peer.input);
            peer.output.join().unwrap()
        });
        outputs.flatten().collect()
    }
}

/// A front end that writes letters as fast as it can, and reads everything.
pub(crate) struct Console {
    stop: Arc<AtomicBool>,
    writer: JoinHandle<usize>,
    reader: JoinHandle<Vec<u8>>,
}

impl Console {
    pub(crate) fn start(chardevs: &Chardevs, id: &str, base: u8, expected: Option<usize>) -> Self {
        let front = Arc::new(chardevs.front_end(id, Arc::new(())).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let (from, stopped) = (Arc::clone(&front), Arc::clone(&stop));
        let writer = std::thread::spawn(move || {
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) {
                let line = letters(base, written, 701);
                written += from.write_all(&line, Some(DEADLINE)).unwrap();
                // Full speed, but not so much that checking takes longer than the changes.
                if written > 4 << 20 {
                    std::thread::yield_now();
                }
            }
            written
        });
        let reader = std::thread::spawn(move || read_all(&front, expected));
        Console {
            stop,
            writer,
            reader,
        }
    }

    pub(crate) fn finish(self) -> (usize, Vec<u8>) {
        self.stop.store(true, Ordering::Relaxed);
        (self.writer.join().unwrap(), self.reader.join().unwrap())
    }
}

/// Reads until `expected` bytes have come, or for ever none.
pub(crate) fn read_all(front: &FrontEnd, expected: Option<usize>) -> Vec<u8> {
    let mut all = Vec::new();
    let ready = ReadyFd::new(front, Ready::READ).unwrap();
    let end = Instant::now() + DEADLINE;
    while expected.is_some_and(|expected| all.len() < expected) && Instant::now() < end {
        ready.clear();
        let mut buf = [0; 333];
        let count = front.read(&mut buf);
        all.extend_from_slice(&buf[..count]);
        if count == 0 && front.next_event().is_none() {
            let mut fds = [rustix::event::PollFd::new(
                &ready,
                rustix::event::PollFlags::IN,
            )];
            let pause = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 200_000_000,
            };
            let _ = rustix::event::poll(&mut fds, Some(&pause));
        }
    }
    all
}

fn split(stream: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    stream.into_iter().partition(u8::is_ascii_uppercase)
}

/// Ends with everything delivered.
fn shut_down(chardevs: &Chardevs) {
    chardevs.block_on(chardevs.shut_down(Duration::from_secs(20)));
}

pub(crate) fn mux(over: &str) -> Options {
    Options::new("mux").with("chardev", text(over))
}

fn hub(over: &[&str]) -> Options {
    let members = over.iter().map(|id| (*id).to_owned()).collect();
    hold("hub").with("chardevs", OptionValue::List(members))
}

#[test]
fn the_chardev_under_a_mux() {
    let chardevs = Chardevs::new().unwrap();
    let mut peers = Peers::new();
    add(&chardevs, "base", &peers.next());
    add(&chardevs, "mux0", &mux("base"));
    let first = Console::start(&chardevs, "mux0", b'A', None);
    // The second one has the focus.
    let second = Console::start(&chardevs, "mux0", b'a', Some(INPUT * (CHANGES + 1)));
    peers.arrived(true);
    for _ in 0..CHANGES {
        let next = peers.next();
        change(&chardevs, "base", &next).unwrap();
        peers.arrived(true);
    }
    let typed = peers.typed;
    let (first_count, _) = first.finish();
    let (second_count, input) = second.finish();
    check("input", b'a', &input, typed);
    shut_down(&chardevs);
    let (upper, lower) = split(peers.received());
    check("the first front end's output", b'A', &upper, first_count);
    check("the second front end's output", b'a', &lower, second_count);
}

#[test]
fn a_mux_with_two_front_ends_to_another_chardev() {
    let chardevs = Chardevs::new().unwrap();
    let mut peers = Peers::new();
    add(&chardevs, "base0", &peers.next());
    add(&chardevs, "mux0", &mux("base0"));
    let first = Console::start(&chardevs, "mux0", b'A', None);
    let second = Console::start(&chardevs, "mux0", b'a', None);
    peers.arrived(false);
    let refused = change(&chardevs, "mux0", &hold("pty")).unwrap_err();
    assert!(
        refused.to_string().contains("1 more front ends"),
        "{refused}"
    );
    for round in 1..=CHANGES {
        let (old, new) = (format!("base{}", round - 1), format!("base{round}"));
        add(&chardevs, &new, &peers.next());
        change(&chardevs, "mux0", &mux(&new)).unwrap();
        peers.arrived(false);
        chardevs.blocking_remove(&old).unwrap();
    }
    let counts = (first.finish().0, second.finish().0);
    shut_down(&chardevs);
    let (upper, lower) = split(peers.received());
    check("the first front end's output", b'A', &upper, counts.0);
    check("the second front end's output", b'a', &lower, counts.1);
}

#[test]
fn a_member_of_a_hub() {
    let chardevs = Chardevs::new().unwrap();
    let (mut changed, mut other) = (Peers::new(), Peers::new());
    add(&chardevs, "m0", &changed.next());
    add(&chardevs, "m1", &other.next());
    add(&chardevs, "hub0", &hub(&["m0", "m1"]));
    changed.arrived(true);
    other.arrived(false);
    let console = Console::start(&chardevs, "hub0", b'A', Some(INPUT * (CHANGES + 1)));
    for _ in 0..CHANGES {
        let next = changed.next();
        change(&chardevs, "m0", &next).unwrap();
        changed.arrived(true);
    }
    let typed = changed.typed;
    let (count, input) = console.finish();
    check("input", b'a', &input, typed);
    shut_down(&chardevs);
    check("the changed member", b'A', &changed.received(), count);
    check("the other member", b'A', &other.received(), count);
}

#[test]
fn a_plain_chardev_into_a_mux_or_a_hub_and_back() {
    let chardevs = Chardevs::new().unwrap();
    let mut peers = Peers::new();
    add(&chardevs, "con0", &peers.next());
    let console = Console::start(&chardevs, "con0", b'A', Some(INPUT * (CHANGES + 1)));
    peers.arrived(true);
    let mut under = None;
    for round in 1..=CHANGES {
        let options = match round % 4 {
            1 | 3 => {
                let below = format!("below{round}");
                add(&chardevs, &below, &peers.next());
                let options = match round % 4 {
                    1 => mux(&below),
                    _ => hub(&[below.as_str()]),
                };
                under.replace(below);
                options
            }
            _ => peers.next(),
        };
        let left = under.take_if(|_| round % 2 == 0);
        change(&chardevs, "con0", &options).unwrap();
        peers.arrived(true);
        // Its input is read by whoever rests on it; only then may it go.
        if let Some(left) = left {
            chardevs.blocking_remove(&left).unwrap();
        }
        let typed = peers.typed;
        let delivered = || chardevs.stats("con0").unwrap().input_delivered as usize;
        if round % 2 == 1 {
            wait_for("the input", || (delivered() == typed).then_some(()));
        }
    }
    let typed = peers.typed;
    let (count, input) = console.finish();
    check("input", b'a', &input, typed);
    shut_down(&chardevs);
    check("output", b'A', &peers.received(), count);
}

#[test]
fn a_hub_whose_members_come_and_go() {
    let chardevs = Chardevs::new().unwrap();
    let (mut first, mut rest) = (Peers::new(), Peers::new());
    add(&chardevs, "m0", &first.next());
    add(&chardevs, "hub0", &hub(&["m0"]));
    first.arrived(false);
    let console = Console::start(&chardevs, "hub0", b'A', None);
    for round in 1..=CHANGES {
        let id = format!("m{round}");
        add(&chardevs, &id, &rest.next());
        if round % 2 == 0 {
            chardevs.hub_add("hub0", &id).unwrap();
            rest.arrived(false);
            chardevs.hub_remove("hub0", &id).unwrap();
        } else {
            change(&chardevs, "hub0", &hub(&["m0", &id])).unwrap();
            rest.arrived(false);
            change(&chardevs, "hub0", &hub(&["m0"])).unwrap();
        }
        chardevs.blocking_remove(&id).unwrap();
    }
    assert_eq!(
        chardevs.hub_remove("hub0", "m1").unwrap_err().to_string(),
        "Chardev 'm1' is not a member of hub 'hub0'"
    );
    let (count, _) = console.finish();
    shut_down(&chardevs);
    check("the member that stayed", b'A', &first.received(), count);
}

#[test]
fn nothing_rests_on_itself() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "a", &common::ring(64));
    add(&chardevs, "m", &mux("a"));
    add(&chardevs, "h", &hub(&["m"]));
    for (id, options) in [
        ("a", mux("a")),
        ("a", mux("m")),
        ("a", hub(&["h"])),
        ("m", hub(&["h"])),
    ] {
        let error = change(&chardevs, id, &options).unwrap_err().to_string();
        assert!(error.contains("cannot be under"), "{error}");
    }
    let error = chardevs.hub_add("h", "h").unwrap_err().to_string();
    assert!(error.contains("cannot be under"), "{error}");
    // Neither rests on the other yet, and both together would.
    add(&chardevs, "x", &common::ring(64));
    add(&chardevs, "y", &common::ring(64));
    let action = |id: &str, options| Action::Change {
        id: id.to_owned(),
        options,
    };
    for actions in [
        [action("x", mux("y")), action("y", mux("x"))],
        [action("x", hub(&["y"])), action("y", mux("x"))],
    ] {
        let refused = chardevs.block_on(chardevs.transaction(&actions));
        let cause = refused.unwrap_err().cause.to_string();
        assert_eq!(cause, "Chardev 'x' change failed: it would create a cycle");
    }
    change(&chardevs, "x", &mux("y")).unwrap();
    change(&chardevs, "x", &common::ring(64)).unwrap();
    assert_eq!(
        chardevs.blocking_remove("m").unwrap_err().to_string(),
        "Chardev 'm' is busy"
    );
    chardevs.blocking_remove("h").unwrap();
    chardevs.blocking_remove("m").unwrap();
    chardevs.blocking_remove("a").unwrap();
}

/// Several threads change chardevs onto each other; whatever is refused, nothing hangs.
#[test]
fn a_storm_of_changes_ends() {
    const IDS: [&str; 4] = ["a", "b", "c", "d"];
    let chardevs = Chardevs::new().unwrap();
    for id in IDS {
        add(&chardevs, id, &common::ring(64));
    }
    let fronts: Vec<_> = IDS[..2]
        .iter()
        .map(|id| chardevs.front_end(id, Arc::new(())).unwrap())
        .collect();
    let storm = |seed: u64| {
        let chardevs = chardevs.clone();
        std::thread::spawn(move || {
            let mut state = seed;
            let mut pick = |count: usize| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as usize % count
            };
            let mut done = 0;
            for _ in 0..500 {
                let mut options = || match pick(4) {
                    0 => common::ring(64),
                    1 => mux(IDS[pick(4)]),
                    2 => hub(&[IDS[pick(4)]]),
                    _ => hub(&[IDS[pick(2)], IDS[2 + pick(2)]]),
                };
                let (first, second) = (options(), options());
                let action = |id: &str, options| Action::Change {
                    id: id.to_owned(),
                    options,
                };
                let at = pick(4);
                let both = [action(IDS[at], first), action(IDS[(at + 1) % 4], second)];
                let actions = &both[..1 + pick(2)];
                let changed = chardevs.block_on(chardevs.transaction(actions));
                done += usize::from(changed.is_ok());
            }
            done
        })
    };
    let storms: Vec<_> = (1..=3).map(storm).collect();
    while storms.iter().any(|storm| !storm.is_finished()) {
        for front in &fronts {
            front.write(b"a line of output\n");
            front.read(&mut [0; 16]);
            while front.next_event().is_some() {}
        }
    }
    let done: Vec<usize> = storms.into_iter().map(|s| s.join().unwrap()).collect();
    assert!(done.iter().all(|count| *count > 0), "{done:?}");
    // A multiplexer that others rest on waits for them, those for others, and all for the moment
    // in which the I/O thread still holds what was replaced.
    wait_for("all of them on their own", || {
        let alone = |id: &str| change(&chardevs, id, &common::ring(64)).is_ok();
        let count = IDS.into_iter().filter(|id| alone(id)).count();
        (count == IDS.len()).then_some(())
    });
    assert!(chardevs.list().iter().all(|info| info.kind == "ringbuf"));
}
