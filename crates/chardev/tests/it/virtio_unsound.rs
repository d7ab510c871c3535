//! The virtio console against drivers that break the rules, or bend them.

#![cfg(feature = "virtio-console")]

use std::io::{Read, Write};
use std::time::Duration;

use crate::virtio_driver::MEMORY;
use crate::virtio_rig::{DATA, Rig, SIZE, input_queue, output_queue, readable, writable};
use chardev::front::virtio_console::{FEATURES, PortConfig};
use chardev::spec::Options;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress};

#[test]
fn unsound_chains_are_given_back_unread_or_ignored() {
    let mut rig = Rig::new(2, FEATURES);
    let (port, mut peer) = rig.socket_port("g", PortConfig::generic("p"));
    rig.start(&[port]);
    let mem = rig.rings.mem.clone();
    mem.write_slice(b"good", GuestAddress(DATA)).unwrap();
    mem.write_slice(b"evil", GuestAddress(DATA + 8)).unwrap();
    let queue = output_queue(port);
    let evil = DATA + 8;
    let end = MEMORY as u64;
    // Each is what descriptors 0 and 1 say, and what lies in the indirect table.
    let unsound: &[[(u64, u32, u16, u16); 2]] = &[
        [(evil, 4, 1, 1), (evil, 4, 1, 0)],       // a loop
        [(evil, 4, 1, 0), (0, 0, 0, 0)],          // a loop of one
        [(evil, 4, 1, 999), (0, 0, 0, 0)],        // next outside of the table
        [(end, 4, 0, 0), (0, 0, 0, 0)],           // behind memory
        [(end - 2, 4, 0, 0), (0, 0, 0, 0)],       // across its end
        [(u64::MAX - 1, 4, 0, 0), (0, 0, 0, 0)],  // wraps around
        [(evil, u32::MAX, 0, 0), (0, 0, 0, 0)],   // longer than memory
        [(evil, 4, 1, 1), (end, u32::MAX, 0, 0)], // sound, then not
        [(evil, 15, 4, 0), (0, 0, 0, 0)],         // an indirect table of a part
        [(end, 32, 4, 0), (0, 0, 0, 0)],          // an indirect table behind memory
        [(evil, 0, 4, 0), (0, 0, 0, 0)],          // an empty one
        [(DATA + 0x100, 16, 4, 0), (0, 0, 0, 0)], // one in itself, see below
    ];
    rig.driver[queue].descriptor(&mem, DATA + 0x100, 0, (DATA + 0x100, 16, 4, 0));
    for (number, descriptors) in unsound.iter().enumerate() {
        // A ring of its own for each, so that nothing of the former is left.
        rig.start_queues(FEATURES);
        let driver = &mut rig.driver[queue];
        for (index, descriptor) in descriptors.iter().enumerate() {
            driver.descriptor(&mem, driver.table, index as u16, *descriptor);
        }
        driver.offer_head(&mem, 0);
        driver.descriptor(&mem, driver.table, 2, (DATA, 4, 0, 0));
        driver.offer_head(&mem, 2);
        rig.kick(queue);
        let used: u16 = mem
            .read_obj(GuestAddress(rig.driver[queue].used + 2))
            .unwrap();
        assert_eq!(used, 2, "case {number}");
        let mut got = [0; 4];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"good", "case {number}");
        assert_eq!(
            rig.console.port_stats(port).unwrap().malformed,
            number as u64 + 1
        );
    }
    // A head outside of the table has no answer; an index far ahead makes the ring unusable.
    rig.start_queues(FEATURES);
    rig.driver[queue].offer_head(&mem, SIZE);
    rig.write(queue, DATA, b"good");
    rig.kick(queue);
    peer.read_exact(&mut [0; 4]).unwrap();
    let index = GuestAddress(rig.driver[queue].avail + 2);
    mem.write_obj(0x7fffu16, index).unwrap();
    for queue in 0..rig.console.queue_count() + 3 {
        rig.kick(queue);
    }
    // Rings at addresses that are none.
    for queue in &mut rig.rings.queues {
        queue.set_avail_ring_address(Some(end as u32), None);
        queue.set_used_ring_address(Some(0xffff_fff0), Some(0xffff_ffff));
    }
    for queue in 0..rig.console.queue_count() {
        rig.kick(queue);
    }
    let mut fresh = Rig::new(1, FEATURES);
    fresh.start(&[]);
}

#[test]
fn unsound_room_gets_no_input() {
    let mut rig = Rig::new(2, FEATURES);
    let (port, mut peer) = rig.socket_port("g", PortConfig::generic("p"));
    rig.start(&[port]);
    let queue = input_queue(port);
    let mem = rig.rings.mem.clone();
    let end = MEMORY as u64;
    for parts in [
        vec![writable(end - 3, 8)],
        vec![writable(DATA, 8), writable(DATA + 4, 8)],
        vec![writable(DATA, 8), writable(end, 8)],
        vec![readable(DATA, 8)],
        vec![writable(DATA, 0)],
    ] {
        rig.driver[queue].offer(&mem, &parts).unwrap();
    }
    rig.driver[queue].offer(&mem, &[writable(DATA, 8)]).unwrap();
    peer.write_all(b"input").unwrap();
    let mut lengths = Vec::new();
    rig.until("the input", |rig| {
        rig.kick(queue);
        lengths.extend(std::iter::from_fn(|| rig.driver[queue].take(&mem)).map(|used| used.1));
        lengths.len() == 6
    });
    assert_eq!(lengths, [0, 0, 0, 0, 0, 5]);
}

#[test]
fn huge_chains_take_their_turns() {
    let mut rig = Rig::new(2, FEATURES);
    rig.port("n", &Options::new("null"), PortConfig::generic("p"));
    rig.start(&[1]);
    let port = 1;
    let queue = output_queue(port);
    // 1,024 times all of memory above the rings.
    let part = readable(DATA, MEMORY - DATA as usize);
    let parts = vec![part; 1024];
    rig.driver[queue]
        .offer_indirect(&rig.rings.mem.clone(), DATA, &parts)
        .unwrap();
    let began = std::time::Instant::now();
    rig.kick(queue);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "one turn took {:?}",
        began.elapsed()
    );
    rig.until("its end", |rig| {
        rig.driver[queue].take(&rig.rings.mem).is_some()
    });
    let stats = rig.console.port_stats(port).unwrap();
    assert_eq!(stats.output, 1024 * u64::from(part.length));
}
