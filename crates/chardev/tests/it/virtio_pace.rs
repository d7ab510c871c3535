//! A guest that pours data into a port of the virtio console: it is asked for few kicks, gets few
//! interrupts, and misses none that it waits for.

#![cfg(feature = "virtio-console")]

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

use crate::common;
use crate::virtio_rig::{DATA, Rig, output_queue, readable};
use chardev::front::virtio_console::{FEATURES, PortConfig};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vm_memory::{Bytes, GuestAddress};

const EVENT_IDX: u64 = 1 << 29;
/// Where the buffers of a chain lie, one place for each in a ring.
const PLACE: u64 = 0x8000;
const BLOCK: usize = 8192;

/// A guest that kicks only if it is asked to, and sees what came back only after an interrupt or
/// when it wants to write.
struct Guest {
    rig: Rig,
    queue: usize,
    peer: UnixStream,
    event_idx: bool,
    kicks: usize,
    sent: u64,
    received: u64,
}

impl Guest {
    fn start(features: u64) -> Self {
        Guest::start_at(features, PortConfig::generic("p"))
    }

    fn start_at(features: u64, port: PortConfig) -> Self {
        let mut rig = Rig::new(2, features);
        let (port, peer) = rig.socket_port("g", port);
        peer.set_nonblocking(true).unwrap();
        rig.start(&[port]);
        Guest {
            rig,
            queue: output_queue(port),
            peer,
            event_idx: features & EVENT_IDX != 0,
            kicks: 0,
            sent: 0,
            received: 0,
        }
    }

    /// Offers chains of `length` bytes and kicks if the device asks for it. How many there was room
    /// for.
    fn write(&mut self, count: usize, length: usize) -> usize {
        let ring = &mut self.rig.driver[self.queue];
        let since = ring.offered();
        for done in 0..count {
            // The ring has no more chains than there are places for them.
            let address = DATA + PLACE * u64::from(ring.offered() % 64);
            if ring.outstanding() == 64 {
                return self.kick(since, done);
            }
            let mem = &self.rig.rings.mem;
            let block = pattern(self.sent, length);
            mem.write_slice(block, GuestAddress(address)).unwrap();
            ring.offer(mem, &[readable(address, length)]).unwrap();
            self.sent += length as u64;
        }
        self.kick(since, count)
    }

    fn kick(&mut self, since: u16, count: usize) -> usize {
        let ring = &self.rig.driver[self.queue];
        if count > 0 && ring.must_kick(&self.rig.rings.mem, since, self.event_idx) {
            self.kicks += 1;
            self.rig.kick(self.queue);
        }
        count
    }

    /// Takes back what was used.
    fn reclaim(&mut self) -> usize {
        let ring = &mut self.rig.driver[self.queue];
        let mut count = 0;
        while ring.take(&self.rig.rings.mem).is_some() {
            count += 1;
        }
        count
    }

    fn interrupts(&self) -> usize {
        self.rig
            .rings
            .notified
            .get(&self.queue)
            .copied()
            .unwrap_or(0)
    }

    /// The peer reads at most `limit` bytes, which must be the next ones.
    fn read(&mut self, limit: usize) {
        let mut buffer = vec![0; limit];
        let Ok(count) = self.peer.read(&mut buffer) else {
            return;
        };
        self.check(&buffer[..count]);
    }

    fn check(&mut self, bytes: &[u8]) {
        for bytes in bytes.chunks(1 << 16) {
            let expected = pattern(self.received, bytes.len());
            assert!(bytes == expected, "behind byte {}", self.received);
            self.received += bytes.len() as u64;
        }
    }

    /// Sleeps until an interrupt after the first `seen`, with a peer that reads.
    fn sleep(&mut self, seen: usize) {
        let queue = self.queue;
        let (mut peer, mut got) = (self.peer.try_clone().unwrap(), Vec::new());
        self.rig.until("an interrupt", |rig| {
            let mut buffer = vec![0; 1 << 16];
            // A socket takes no more before it is nearly empty.
            while let Ok(count) = peer.read(&mut buffer) {
                got.extend_from_slice(&buffer[..count]);
            }
            rig.rings
                .notified
                .get(&queue)
                .is_some_and(|count| *count > seen)
        });
        self.check(&got);
    }

    /// Lets the device look if it has a reason to, and says whether it had within `wait`.
    fn look(&mut self, wait: Timespec) -> bool {
        let mut fds = [PollFd::new(&self.rig.console, PollFlags::IN)];
        let found = poll(&mut fds, Some(&wait)).unwrap();
        if found > 0 {
            self.rig.console.handle_news(&mut self.rig.rings);
        }
        found > 0
    }

    /// Waits until the device rests: it wants to be kicked for the next chain, and nothing wakes
    /// it.
    fn rest(&mut self) {
        let queue = self.queue;
        let mut peer = self.peer.try_clone().unwrap();
        let mut got = Vec::new();
        let event_idx = self.event_idx;
        self.rig.until("rest", |rig| {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count) = peer.read(&mut buffer) {
                got.extend_from_slice(&buffer[..count]);
            }
            let ring = &rig.driver[queue];
            let since = ring.offered().wrapping_sub(1);
            match event_idx {
                true => ring.wants_kick(&rig.rings.mem, ring.offered()),
                false => ring.must_kick(&rig.rings.mem, since, false),
            }
        });
        self.check(&got);
        self.be_left_alone();
    }

    /// Takes the news that may still be on their way, of which there are few; a clock would go on.
    fn be_left_alone(&mut self) {
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: 2_000_000,
        };
        let silent = (0..8).any(|_| !self.look(wait));
        assert!(silent, "an idle device is woken again and again");
    }
}

/// What the guest writes from byte `at` of its output on. It repeats itself after a prime number of
/// bytes.
fn pattern(at: u64, length: usize) -> &'static [u8] {
    const PERIOD: usize = 65_521;
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let words = (0..PERIOD as u32 / 2).flat_map(|word| (word as u16).to_le_bytes());
        words.chain([0xff]).collect::<Vec<u8>>().repeat(3)
    });
    &BYTES[at as usize % PERIOD..][..length]
}

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
const SOON: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

#[test]
fn a_flow_needs_no_kicks_and_few_interrupts_and_ends_in_rest() {
    for features in [FEATURES, FEATURES & !EVENT_IDX] {
        let mut guest = Guest::start(features);
        for _ in 0..500 {
            assert_eq!(guest.write(4, BLOCK), 4);
            assert!(guest.look(SOON), "nobody looks at the ring");
            guest.read(1 << 16);
            guest.reclaim();
        }
        assert_eq!(guest.kicks, 1);
        // One for each half of the ring.
        assert!(guest.interrupts() <= 70, "{}", guest.interrupts());
        guest.rest();
        assert_eq!(guest.received, guest.sent);
    }
}

/// It would wait one pace for each, and gain nothing.
#[test]
fn a_driver_that_waits_for_each_chain_kicks_for_nearly_all() {
    let mut guest = Guest::start(FEATURES);
    for _ in 0..2000 {
        let seen = guest.interrupts();
        assert_eq!(guest.write(1, BLOCK), 1);
        if guest.interrupts() == seen {
            guest.sleep(seen);
        }
        assert_eq!(guest.reclaim(), 1);
        guest.read(1 << 16);
    }
    assert!(guest.kicks > 1950, "{}", guest.kicks);
    guest.rest();
}

/// As Linux's hvc does, which waits in a loop for its buffer and makes no use of the interrupt.
#[test]
fn a_console_that_looks_by_itself_is_interrupted_seldom() {
    for features in [FEATURES, FEATURES & !EVENT_IDX] {
        let mut guest = Guest::start_at(features, PortConfig::console());
        for number in 1..=1000 {
            assert_eq!(guest.write(1, 4096), 1);
            assert_eq!(guest.kicks, number);
            assert_eq!(guest.reclaim(), 1, "it waits for nothing");
            guest.read(1 << 16);
            if number % 10 == 0 {
                guest.look(NOW);
            }
        }
        // One for each look at most, and one for each half of the ring.
        let seen = guest.interrupts();
        assert!(seen <= 100 + 1000 / 32, "{seen}");
        guest.write(1, 80);
        guest.sleep(seen);
        guest.rest();
        assert_eq!(guest.received, guest.sent);
    }
}

#[test]
fn a_console_that_waits_for_interrupts_gets_nearly_all_at_once() {
    let mut guest = Guest::start_at(FEATURES, PortConfig::console());
    let mut late = 0;
    for _ in 0..2000 {
        let seen = guest.interrupts();
        assert_eq!(guest.write(1, 4096), 1);
        if guest.interrupts() == seen {
            late += 1;
            guest.sleep(seen);
        }
        assert_eq!(guest.reclaim(), 1);
        guest.read(1 << 16);
    }
    assert!((1..=60).contains(&late), "{late}");
    guest.rest();
}

#[test]
fn little_output_is_no_flow() {
    let mut guest = Guest::start(FEATURES);
    guest.be_left_alone();
    for number in 1..=100 {
        guest.write(1, 80);
        guest.reclaim();
        assert_eq!(guest.kicks, number);
        assert!(!guest.look(NOW));
    }
}

/// Whoever stops the queue, or the next process, finds a ring that asks for kicks, and a guest that
/// knows what it has back.
#[test]
fn a_flow_that_is_stopped_owes_nothing() {
    let mut guest = Guest::start(FEATURES);
    guest.write(4, BLOCK);
    guest.reclaim();
    guest.write(4, BLOCK);
    assert!(guest.look(SOON));
    let seen = guest.interrupts();
    guest
        .rig
        .console
        .stop_queue(guest.queue, &mut guest.rig.rings);
    assert_eq!(guest.interrupts(), seen + 1);
    assert_eq!(guest.reclaim(), 4);
    let ring = &guest.rig.driver[guest.queue];
    assert!(ring.wants_kick(&guest.rig.rings.mem, ring.offered()));
}

#[test]
fn a_port_in_the_place_of_one_in_a_flow_is_kicked_for() {
    let mut guest = Guest::start(FEATURES);
    guest.write(4, BLOCK);
    guest.reclaim();
    guest.rig.console.remove_port(1).unwrap();
    assert!(guest.look(SOON));
    let config = PortConfig::generic("q");
    let port = guest.rig.port("h", &common::ring(1 << 16), config);
    assert_eq!(output_queue(port), guest.queue);
    guest.rest();
    guest.rig.start(&[port]);
    assert_eq!(guest.write(1, 80), 1);
    assert_eq!(guest.kicks, 2);
    let printed = guest.rig.chardevs.ring_read("h", 1 << 16).unwrap();
    assert_eq!(printed.len(), 80);
}

/// Whatever the sizes, the peer's pace and the guest's: nobody sleeps for ever, no byte is lost.
#[test]
fn no_wake_up_is_lost() {
    for seed in 1..=40_u64 {
        println!("seed {seed}");
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut guest = Guest::start(if seed % 4 == 0 {
            FEATURES & !EVENT_IDX
        } else {
            FEATURES
        });
        for _ in 0..150 {
            let length = [80, 3000, BLOCK, 20_000][random(4) as usize];
            let count = [1, 2, 7, 64][random(4) as usize];
            guest.reclaim();
            let mut written = guest.write(count, length);
            while written < count {
                if guest.reclaim() == 0 {
                    guest.sleep(guest.interrupts());
                }
                written += guest.write(count - written, length);
            }
            match random(4) {
                0 => guest.read(1 << random(17)),
                1 => drop(guest.look(NOW)),
                2 => drop(guest.look(Timespec {
                    tv_sec: 0,
                    tv_nsec: 100_000,
                })),
                _ => {}
            }
            if random(30) == 0 {
                guest.rest();
                guest.reclaim();
                assert_eq!(guest.rig.driver[guest.queue].outstanding(), 0);
            }
        }
        guest.rest();
        while guest.received < guest.sent {
            guest.read(1 << 16);
        }
    }
}
