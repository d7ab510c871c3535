//! The virtio console against a sound driver of our own.

#![cfg(feature = "virtio-console")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::common::{add, change, ring, text, wait_for};
use crate::virtio_driver::Part;
use crate::virtio_rig::{DATA, Rig, SIZE, input_queue, output_queue, readable, writable};
use chardev::TerminalSize;
use chardev::front::virtio_console::{CONTROL_IN, FEATURES, PortConfig, PortError, WhenFull};
use chardev::spec::Options;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress};

const MULTIPORT: u64 = 2;

#[test]
fn the_driver_is_told_of_every_port() {
    let mut rig = Rig::new(4, FEATURES);
    rig.port("c", &ring(4096), PortConfig::console());
    rig.port("g", &ring(4096), PortConfig::generic("org.test.0"));
    rig.post_control(20);
    rig.control(u32::MAX, 0, 1);
    assert_eq!(rig.heard(), [(0, 1, 1, vec![]), (1, 1, 1, vec![])]);
    rig.control(0, 3, 1);
    assert_eq!(rig.heard(), [(0, 4, 1, vec![]), (0, 6, 1, vec![])]);
    rig.control(1, 3, 1);
    let name = b"org.test.0\0".to_vec();
    assert_eq!(rig.heard(), [(1, 7, 1, name), (1, 6, 1, vec![])]);

    assert!(!rig.console.guest_open(1));
    rig.control(1, 6, 1);
    assert!(rig.console.guest_open(1));
    let open = |rig: &Rig| {
        rig.chardevs
            .list()
            .iter()
            .map(|info| info.frontend_open)
            .collect::<Vec<_>>()
    };
    assert_eq!(open(&rig), [true, true]);
    rig.control(1, 6, 0);
    assert_eq!(open(&rig), [true, false]);
    // Messages of ports that are not there, and events that there are not.
    for (port, event) in [(2, 6), (77, 3), (u32::MAX, 6), (1, 9), (1, 4), (0, 1)] {
        rig.control(port, event, 1);
    }
    assert_eq!(rig.heard(), []);
}

#[test]
fn messages_wait_for_room_and_the_last_word_counts() {
    let mut rig = Rig::new(2, FEATURES);
    let (port, peer) = rig.socket_port("g", PortConfig::generic("p"));
    rig.control(u32::MAX, 0, 1);
    rig.control(port, 3, 1);
    for expected in [
        (1, 1, 1, vec![]),
        (1, 7, 1, b"p\0".to_vec()),
        (1, 6, 1, vec![]),
    ] {
        assert_eq!(rig.heard(), []);
        rig.post_control(1);
        rig.kick(CONTROL_IN);
        assert_eq!(rig.heard(), [expected]);
    }
    drop(peer);
    rig.until("the peer's end", |rig| !rig.chardevs.list()[0].open);
    rig.until("the closing", |rig| {
        if rig.driver[CONTROL_IN].outstanding() == 0 {
            rig.post_control(1);
        }
        rig.heard() == [(1, 6, 0, vec![])]
    });
}

#[test]
fn output_goes_out_in_order_whatever_the_chains_look_like() {
    for features in [FEATURES, FEATURES & !(1 << 29)] {
        let mut rig = Rig::new(2, features);
        rig.port("c", &ring(1 << 16), PortConfig::console());
        rig.port("g", &ring(1 << 16), PortConfig::generic("p"));
        rig.start(&[0, 1]);
        let text: Vec<u8> = (0..600u32).flat_map(|n| n.to_le_bytes()).collect();
        rig.rings
            .mem
            .write_slice(&text, GuestAddress(DATA))
            .unwrap();
        for port in [0, 1] {
            let queue = output_queue(port);
            let mem = &rig.rings.mem;
            let driver = &mut rig.driver[queue];
            driver.offer(mem, &[readable(DATA, 100)]).unwrap();
            let parts = [
                readable(DATA + 100, 1),
                readable(DATA + 101, 0),
                writable(DATA, 9),
                readable(DATA + 101, 899),
            ];
            driver.offer(mem, &parts).unwrap();
            driver.offer(mem, &[readable(DATA, 0)]).unwrap();
            driver.offer(mem, &[writable(DATA, 7)]).unwrap();
            let parts: Vec<_> = (0..140)
                .map(|n| readable(DATA + 1000 + 10 * n, 10))
                .collect();
            driver.offer_indirect(mem, DATA + 0x8000, &parts).unwrap();
            rig.kick(queue);
            let mut used = Vec::new();
            while let Some((head, length)) = rig.driver[queue].take(&rig.rings.mem) {
                assert_eq!(length, 0);
                used.push(head);
            }
            assert_eq!(used.len(), 5);
            let id = if port == 0 { "c" } else { "g" };
            assert_eq!(rig.chardevs.ring_read(id, 1 << 16).unwrap(), text);
        }
        assert!(rig.rings.notified[&output_queue(1)] >= 1);
    }
}

#[test]
fn input_fills_the_guests_buffers() {
    let mut rig = Rig::new(2, FEATURES);
    let (port, mut peer) = rig.socket_port("g", PortConfig::generic("p"));
    let queue = input_queue(port);
    // Nobody in the guest has it open: input stays where it is.
    peer.write_all(b"early").unwrap();
    let parts = [writable(DATA, 3), writable(DATA + 100, 4)];
    for n in 0..2 {
        let parts = parts.map(|part| Part {
            address: part.address + 1000 * n,
            ..part
        });
        rig.driver[queue].offer(&rig.rings.mem, &parts).unwrap();
    }
    rig.kick(queue);
    assert_eq!(rig.driver[queue].take(&rig.rings.mem), None);
    rig.start(&[port]);
    let mut used = None;
    rig.until("the input", |rig| {
        used = used.or_else(|| rig.driver[queue].take(&rig.rings.mem));
        used.is_some()
    });
    assert_eq!(used.unwrap().1, 5);
    let mut bytes = [0; 5];
    rig.rings
        .mem
        .read_slice(&mut bytes[..3], GuestAddress(DATA))
        .unwrap();
    rig.rings
        .mem
        .read_slice(&mut bytes[3..], GuestAddress(DATA + 100))
        .unwrap();
    assert_eq!(&bytes, b"early");

    // More than there is room for: it waits in the peer's kernel for the next buffers.
    let long: Vec<u8> = (0..200_000u32).map(|n| (n / 7) as u8).collect();
    let sent = long.clone();
    let sender = std::thread::spawn(move || {
        peer.write_all(&sent).unwrap();
        peer
    });
    let mut got = Vec::new();
    rig.until("everything", |rig| {
        while let Some((head, length)) = rig.driver[queue].take(&rig.rings.mem) {
            // The first to come back is the second of the two buffers from before.
            if rig.driver[queue].outstanding() == 0 && got.is_empty() && length <= 7 {
                let mut part = [0; 7];
                rig.rings
                    .mem
                    .read_slice(&mut part[..3], GuestAddress(DATA + 1000))
                    .unwrap();
                rig.rings
                    .mem
                    .read_slice(&mut part[3..], GuestAddress(DATA + 1100))
                    .unwrap();
                got.extend_from_slice(&part[..length as usize]);
                continue;
            }
            let table = rig.driver[queue].table;
            let at = GuestAddress(table + 16 * u64::from(head));
            let address: u64 = rig.rings.mem.read_obj(at).unwrap();
            let mut part = vec![0; length as usize];
            rig.rings
                .mem
                .read_slice(&mut part, GuestAddress(address))
                .unwrap();
            got.extend_from_slice(&part);
        }
        while rig.driver[queue].outstanding() < 8 {
            let slot = u64::from(rig.driver[queue].offered() % SIZE);
            let part = writable(DATA + 0x10000 + 0x1000 * slot, 0x1000);
            rig.driver[queue].offer(&rig.rings.mem, &[part]).unwrap();
        }
        rig.kick(queue);
        got.len() == long.len()
    });
    assert!(got == long);
    sender.join().unwrap();
}

#[test]
fn a_generic_port_waits_and_a_change_lets_it_go_on() {
    let mut rig = Rig::new(2, FEATURES);
    let (port, mut peer) = rig.socket_port("g", PortConfig::generic("p"));
    rig.start(&[port]);
    let queue = output_queue(port);
    let block: Vec<u8> = (0..60_000u32).map(|n| (n % 251) as u8).collect();
    rig.rings
        .mem
        .write_slice(&block, GuestAddress(DATA))
        .unwrap();
    let mut blocks = 0;
    while rig.driver[queue]
        .offer(&rig.rings.mem, &[readable(DATA, block.len())])
        .is_some()
    {
        blocks += 1;
    }
    rig.kick(queue);
    let mut back = 0;
    while rig.driver[queue].take(&rig.rings.mem).is_some() {
        back += 1;
    }
    assert!(back < blocks, "the peer's kernel took {blocks} blocks");
    assert_eq!(rig.console.backlog(), 0);
    let queued = rig.rings.notified.clone();
    // A stalled port wants no kicks.
    let next = rig.driver[queue].offered();
    assert!(!rig.driver[queue].wants_kick(&rig.rings.mem, next));

    change(&rig.chardevs, "g", &ring(8 << 20)).unwrap();
    rig.until("the rest", |rig| {
        while rig.driver[queue].take(&rig.rings.mem).is_some() {
            back += 1;
        }
        back == blocks
    });
    assert!(rig.rings.notified[&queue] > queued.get(&queue).copied().unwrap_or(0));
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    all.extend(rig.chardevs.ring_read("g", 8 << 20).unwrap());
    assert!(all == block.repeat(blocks), "{} bytes", all.len());
    let stats = rig.console.port_stats(port).unwrap();
    assert_eq!((stats.output, stats.dropped), (all.len() as u64, 0));
}

#[test]
fn who_opens_and_closes_a_port_is_told_under_its_id() {
    let mut rig = Rig::new(4, FEATURES);
    let named = |id: &str, config: PortConfig| PortConfig {
        id: Some(id.to_owned()),
        ..config
    };
    rig.port("c", &ring(4096), named("term", PortConfig::console()));
    rig.port("g", &ring(4096), named("agent", PortConfig::generic("a")));
    rig.port("h", &ring(4096), PortConfig::generic("nobody's"));
    let watch = rig.console.watch();
    let told = || {
        let mut cx = Context::from_waker(Waker::noop());
        let next = || match watch.poll_next(&mut cx) {
            Poll::Ready(change) => Some((change.id, change.open)),
            Poll::Pending => None,
        };
        std::iter::from_fn(next).collect::<Vec<_>>()
    };
    let change = |id: &str, open| (id.to_owned(), open);
    rig.control(u32::MAX, 0, 1);
    for port in [0, 1, 2] {
        rig.control(port, 3, 1);
    }
    assert_eq!(told(), []);
    for (port, open) in [(1, 1), (1, 1), (2, 1), (1, 0), (0, 1)] {
        rig.control(port, 6, open);
    }
    let expected = [("agent", true), ("agent", false), ("term", true)];
    assert_eq!(told(), expected.map(|(id, open)| change(id, open)));
    rig.control(1, 6, 1);
    rig.console.reset();
    let expected = [("agent", true), ("term", false), ("agent", false)];
    assert_eq!(told(), expected.map(|(id, open)| change(id, open)));
    // A driver without control messages has its one port open while it is there.
    rig.console.set_driver_features(FEATURES & !MULTIPORT);
    rig.console.reset();
    let expected = [("term", true), ("term", false)];
    assert_eq!(told(), expected.map(|(id, open)| change(id, open)));
}

#[test]
fn a_console_never_waits_and_counts_what_it_drops() {
    let mut rig = Rig::new(1, FEATURES);
    let config = PortConfig {
        when_full: WhenFull::Drop { buffer: 10_000 },
        ..PortConfig::console()
    };
    let (port, mut peer) = rig.socket_port("c", config);
    rig.start(&[port]);
    let block: Vec<u8> = (0..4096u32).map(|n| (n % 251) as u8).collect();
    rig.rings
        .mem
        .write_slice(&block, GuestAddress(DATA))
        .unwrap();
    for _ in 0..400 {
        rig.driver[1]
            .offer(&rig.rings.mem, &[readable(DATA, block.len())])
            .unwrap();
        rig.kick(1);
        assert!(
            rig.driver[1].take(&rig.rings.mem).is_some(),
            "the guest waits"
        );
    }
    let stats = rig.console.port_stats(port).unwrap();
    assert_eq!(stats.output, 400 * 4096);
    assert!(stats.dropped > 0);
    assert_eq!(
        rig.chardevs.stats("c").unwrap().output_dropped,
        stats.dropped
    );
    assert_eq!(rig.console.backlog(), 10_000);

    let (done, ended) = std::sync::mpsc::channel();
    peer.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let expected = (stats.output - stats.dropped) as usize;
    std::thread::spawn(move || {
        let mut all = vec![0; expected];
        peer.read_exact(&mut all).unwrap();
        done.send(all).unwrap();
    });
    let mut all = None;
    rig.until("what was kept", |_| {
        all = all.take().or_else(|| ended.try_recv().ok());
        all.is_some()
    });
    // What came is a prefix of what was written: only the newest was dropped.
    let written = block.repeat(400);
    assert!(all.unwrap() == written[..expected]);
    assert_eq!(rig.console.backlog(), 0);
}

#[test]
fn a_reset_forgets_the_driver_and_keeps_the_peers() {
    let mut rig = Rig::new(2, FEATURES);
    let (port, mut peer) = rig.socket_port("g", PortConfig::generic("p"));
    for _ in 0..3 {
        rig.start(&[port]);
        let queue = output_queue(port);
        rig.write(queue, DATA, b"boot");
        rig.kick(queue);
        let mut got = [0; 4];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"boot");
        rig.console.reset();
        assert!(!rig.console.guest_open(port));
        rig.console.set_driver_features(FEATURES);
        rig.start_queues(FEATURES);
    }
    peer.write_all(b"x").unwrap();
    let info = &rig.chardevs.list()[0];
    assert!(info.open && !info.frontend_open);
}

#[test]
fn a_stopped_queue_leaves_nothing_half_done() {
    let mut rig = Rig::new(2, FEATURES);
    let (port, mut peer) = rig.socket_port("g", PortConfig::generic("p"));
    rig.start(&[port]);
    let queue = output_queue(port);
    let block: Vec<u8> = (0..600_000u32).map(|n| (n % 251) as u8).collect();
    rig.rings
        .mem
        .write_slice(&block, GuestAddress(DATA))
        .unwrap();
    for _ in 0..4 {
        rig.driver[queue]
            .offer(&rig.rings.mem, &[readable(DATA, block.len())])
            .unwrap();
    }
    rig.kick(queue);
    rig.console.stop_queue(queue, &mut rig.rings);
    let next = rig.rings.queues[queue].next_avail();
    let used = std::iter::from_fn(|| rig.driver[queue].take(&rig.rings.mem)).count();
    assert_eq!(usize::from(next), used);
    assert!((1..4).contains(&used), "{used} blocks were taken");
    let expected = block.repeat(used);
    assert_eq!(
        rig.console.port_stats(port).unwrap().output,
        expected.len() as u64
    );
    // The queue is gone; what is in hand still goes out.
    rig.rings.queues[queue].set_ready(false);
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; expected.len()];
        peer.read_exact(&mut all).unwrap();
        assert!(all == expected);
    });
    rig.until("what is in hand", |rig| {
        rig.console.flush();
        rig.console.backlog() == 0
    });
    reader.join().unwrap();
}

#[test]
fn a_driver_without_multiport_has_port_0_only() {
    let mut rig = Rig::new(2, FEATURES & !MULTIPORT);
    let (_, mut peer) = rig.socket_port("c", PortConfig::console());
    rig.write(1, DATA, b"hello");
    rig.kick(1);
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    let part = writable(DATA + 64, 16);
    rig.driver[0].offer(&rig.rings.mem, &[part]).unwrap();
    peer.write_all(b"you").unwrap();
    rig.until("the input", |rig| {
        rig.driver[0].take(&rig.rings.mem) == Some((0, 3))
    });
    for queue in 2..6 {
        rig.kick(queue);
    }
}

#[test]
fn ports_come_and_go_while_the_guest_runs() {
    let mut rig = Rig::new(3, FEATURES);
    rig.start(&[]);
    rig.port("a", &ring(64), PortConfig::generic("one"));
    rig.until("the port", |rig| rig.heard() == [(1, 1, 1, vec![])]);
    rig.control(1, 3, 1);
    rig.heard();
    for (number, config, error) in [
        (Some(1), PortConfig::generic("x"), PortError::NumberTaken(1)),
        (
            Some(0),
            PortConfig::generic("x"),
            PortError::ZeroIsForConsoles,
        ),
        (Some(3), PortConfig::generic("x"), PortError::OutOfRange(2)),
        (
            Some(u32::MAX),
            PortConfig::console(),
            PortError::OutOfRange(2),
        ),
        (
            None,
            PortConfig::generic("one"),
            PortError::NameTaken("one".to_owned()),
        ),
        (None, PortConfig::generic("a\0"), PortError::BadName),
        (
            None,
            PortConfig::generic(&"n".repeat(256)),
            PortError::BadName,
        ),
    ] {
        add(&rig.chardevs, "tmp", &ring(64));
        let front = rig.chardevs.front_end("tmp", Arc::new(())).unwrap();
        assert_eq!(rig.console.add_port(number, front, config), Err(error));
        rig.chardevs.blocking_remove("tmp").unwrap();
    }
    let front = rig.console.remove_port(1).unwrap();
    rig.until("the farewell", |rig| rig.heard() == [(1, 2, 1, vec![])]);
    // Gone and back before the guest could be told: it hears both, in order.
    assert_eq!(
        rig.console
            .add_port(Some(1), front, PortConfig::generic("two")),
        Ok(1)
    );
    let front = rig.console.remove_port(1).unwrap();
    assert_eq!(
        rig.console
            .add_port(Some(1), front, PortConfig::generic("two")),
        Ok(1)
    );
    rig.until("the second", |rig| rig.heard() == [(1, 1, 1, vec![])]);
    let front = rig.console.remove_port(1).unwrap();
    assert_eq!(
        rig.console
            .add_port(Some(1), front, PortConfig::generic("two")),
        Ok(1)
    );
    rig.until("the third", |rig| {
        rig.heard() == [(1, 2, 1, vec![]), (1, 1, 1, vec![])]
    });
    assert!(rig.console.remove_port(2).is_none());
    assert!(rig.console.remove_port(99).is_none());
}

#[test]
fn a_terminals_size_reaches_the_console() {
    let mut rig = Rig::new(1, FEATURES);
    rig.port("c", &ring(64), PortConfig::console());
    rig.start(&[0]);
    let size = TerminalSize {
        cols: 132,
        rows: 43,
    };
    rig.chardevs.resize("c", size);
    rig.until("the size", |rig| {
        rig.heard() == [(0, 5, 1, vec![132, 0, 43, 0])]
    });
    let mut config = [0xaa; 16];
    rig.console.read_config(0, &mut config);
    assert_eq!(config, [132, 0, 43, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    rig.console.read_config(u64::MAX, &mut config);
    assert_eq!(config, [0; 16]);
    // A driver that starts later hears it too.
    rig.console.reset();
    rig.console.set_driver_features(FEATURES);
    rig.start_queues(FEATURES);
    rig.post_control(8);
    rig.control(0, 0, 1);
    rig.control(0, 3, 1);
    let heard: Vec<_> = rig.heard().into_iter().map(|message| message.1).collect();
    assert_eq!(heard, [1, 4, 5, 6]);
}

#[test]
fn the_emergency_register_prints_without_a_driver() {
    let mut rig = Rig::new(1, 0);
    rig.port("c", &ring(64), PortConfig::console());
    for byte in b"oops" {
        rig.console.write_config(8, &[*byte, 0, 0, 0]);
    }
    rig.console.write_config(0, &[1, 2, 3, 4]);
    rig.console.write_config(8, &[]);
    assert_eq!(rig.chardevs.ring_read("c", 64).unwrap(), b"oops");
}

#[test]
fn a_thousand_changes_under_load_lose_nothing() {
    let mut rig = Rig::new(2, FEATURES);
    rig.port("g", &ring(1 << 20), PortConfig::generic("p"));
    rig.start(&[1]);
    let dir = tempfile::tempdir().unwrap();
    let path = |n: usize| dir.path().join(format!("f{n}"));
    let queue = output_queue(1);
    let mut line = 0u32;
    for number in 0..1000 {
        let options = match number % 2 {
            0 => Options::new("file").with("out", text(path(number))),
            _ => ring(1 << 20),
        };
        change(&rig.chardevs, "g", &options).unwrap();
        for _ in 0..3 {
            rig.write(queue, DATA, format!("{line:07}\n").as_bytes());
            line += 1;
            rig.kick(queue);
            rig.until("the buffer", |rig| {
                rig.driver[queue].take(&rig.rings.mem).is_some()
            });
        }
    }
    change(
        &rig.chardevs,
        "g",
        &Options::new("file").with("out", text(path(1000))),
    )
    .unwrap();
    let expected: String = (0..line).map(|line| format!("{line:07}\n")).collect();
    let all = wait_for("everything", || {
        let parts = (0..=1000)
            .step_by(2)
            .map(|n| std::fs::read_to_string(path(n)).unwrap());
        let all: String = parts.collect();
        (all.len() == expected.len()).then_some(all)
    });
    assert!(all == expected);
    let _ = rig.console.as_fd();
}
