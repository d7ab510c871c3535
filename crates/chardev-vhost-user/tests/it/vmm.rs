//! The virtio console over vhost-user against a VMM and a driver of our own: what QEMU's device
//! cannot be made to do, and what no VMM should.

#[allow(dead_code, reason = "the rig has more than these tests need")]
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::vmm_rig::{DATA, Device, Vmm, until};
use vm_memory::{Bytes, GuestAddress};

const CONTROL_IN: usize = 2;
const CONTROL_OUT: usize = 3;
/// The queues of port 1.
const INPUT: usize = 4;
const OUTPUT: usize = 5;

#[test]
fn bytes_go_both_ways_and_the_configuration_is_read() {
    let (device, mut peer) = Device::start();
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    assert_eq!(vmm.config(0, 12), [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    // What lies behind the space is zero, whatever is asked for.
    assert_eq!(vmm.config(8, 200), vec![0; 200]);
    vmm.write(OUTPUT, b"hello");
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
    vmm.post(INPUT, DATA + 0x8000, 64);
    peer.write_all(b"you").unwrap();
    // A driver that has seen what came back wants no interrupt for it.
    vmm.wait_for_call(INPUT);
    let used = vmm.used(INPUT);
    assert_eq!(used.1, 3);
    let mut got = [0; 3];
    vmm.memory
        .read_slice(&mut got, GuestAddress(DATA + 0x8000))
        .unwrap();
    assert_eq!(&got, b"you");
    device.stop();
}

/// The rest of a chain that a peer took a part of is neither lost nor sent twice, although the next
/// process knows nothing but the rings.
#[test]
fn a_new_device_process_goes_on_where_the_rings_stand() {
    let mut vmm: Option<Vmm> = None;
    let mut got = Vec::new();
    let mut written = 0_u32;
    for round in 0..4 {
        let (device, peer) = Device::start();
        let vmm = match &mut vmm {
            Some(vmm) => {
                vmm.reconnect(&device);
                vmm
            }
            none => {
                let vmm = none.insert(Vmm::connect(&device));
                vmm.start_driver();
                vmm
            }
        };
        // Chains larger than what the peer's kernel takes, so that the first is taken in part.
        for _ in 0..2 {
            let block = written..written + 60_000;
            let block: Vec<u8> = block.flat_map(u32::to_le_bytes).collect();
            written += 60_000;
            vmm.write_block(OUTPUT, &block);
        }
        until("a part is taken", || {
            device.chardevs.stats("g").unwrap().output_accepted > 0
        });
        let last = round == 3;
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            let mut peer = peer;
            peer.read_to_end(&mut all).unwrap();
            all
        });
        until("what is to be taken", || {
            while vmm.driver[OUTPUT].take(&vmm.memory).is_some() {}
            !last || vmm.driver[OUTPUT].outstanding() == 0
        });
        device.stop();
        got.extend(reader.join().unwrap());
        // What the stop finished came back as well.
        while vmm.driver[OUTPUT].take(&vmm.memory).is_some() {}
    }
    let expected: Vec<u8> = (0..written).flat_map(u32::to_le_bytes).collect();
    assert_eq!(got.len(), expected.len());
    assert!(got == expected);
}

/// A VMM looks where the rings stand when the connection ends, and the process may answer a chain
/// after that. What is in the rings counts.
#[test]
fn a_vmm_that_has_missed_the_last_answers_gets_nothing_sent_twice() {
    let (device, mut peer) = Device::start();
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    let mut got = [0; 3];
    for word in [b"one", b"two"] {
        vmm.write(OUTPUT, word);
        vmm.used(OUTPUT);
        peer.read_exact(&mut got).unwrap();
    }
    device.stop();
    let (device, mut peer) = Device::start();
    vmm.unaware = 2;
    vmm.reconnect(&device);
    vmm.write(OUTPUT, b"and");
    vmm.used(OUTPUT);
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"and");
    assert_eq!(vmm.driver[OUTPUT].take(&vmm.memory), None);
    device.stop();
}

/// A process that is killed between giving chains back and saying so leaves a guest that waits.
#[test]
fn a_new_device_process_interrupts_for_what_the_former_gave_back() {
    let (device, _peer) = Device::start();
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    vmm.write(OUTPUT, b"hello");
    vmm.used(OUTPUT);
    device.stop();
    vmm.forget_calls();
    let (device, _peer) = Device::start();
    vmm.reconnect(&device);
    vmm.wait_for_call(OUTPUT);
    device.stop();
}

#[test]
fn a_reset_and_another_vmm_find_the_peer_connected() {
    let (device, mut peer) = Device::start();
    let mut got = [0; 4];
    for _ in 0..3 {
        let mut vmm = Vmm::connect(&device);
        for _ in 0..3 {
            vmm.start_driver();
            vmm.write(OUTPUT, b"boot");
            peer.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"boot");
            vmm.stop_queues();
            vmm.start_queues(false);
        }
    }
    device.stop();
}

/// QEMU does this whenever a guest masks the interrupt or takes it up again.
#[test]
fn an_interrupt_is_repeated_on_the_descriptor_that_replaces_its_own() {
    let (device, _peer) = Device::start();
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    vmm.write(OUTPUT, b"hello");
    vmm.wait_for_call(OUTPUT);
    for _ in 0..2 {
        vmm.replace_call(OUTPUT);
        vmm.wait_for_call(OUTPUT);
    }
    device.stop();
}

/// What is typed while a guest starts again is for the next one, which has to open the port first.
#[test]
fn input_waits_for_the_driver_that_begins() {
    let (device, mut peer) = Device::start();
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    vmm.stop_queues();
    vmm.start_queues(false);
    peer.write_all(b"early").unwrap();
    // A driver offers room before anybody opens the port.
    vmm.post(INPUT, DATA + 0x8000, 64);
    vmm.write(OUTPUT, b"boot");
    vmm.used(OUTPUT);
    assert_eq!(vmm.driver[INPUT].take(&vmm.memory), None);
    vmm.start_driver();
    assert_eq!(vmm.used(INPUT).1, 5);
    device.stop();
}

/// News of a peer's that come while no queue runs.
#[test]
fn a_guest_that_is_stopped_costs_nothing() {
    let (device, mut peer) = Device::start();
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    vmm.post(INPUT, DATA + 0x8000, 64);
    // A flow, so that there is a clock to stop.
    for _ in 0..4 {
        vmm.write_block(OUTPUT, &[b'x'; 8192]);
    }
    vmm.stop_queues();
    peer.write_all(b"early").unwrap();
    // The news are on their way at first, so one look at a sleeping worker says nothing.
    let mut asleep = 0;
    until("the worker sleeps on", || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let mut stats =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        let running = stats.any(|stat| stat.contains("(vring_worker) R"));
        asleep = if running { 0 } else { asleep + 1 };
        asleep == 1000
    });
    vmm.start_queues(true);
    assert_eq!(vmm.used(INPUT).1, 5);
    device.stop();
}

#[test]
fn a_vmm_that_breaks_the_rules_only_hurts_itself() {
    let (device, mut peer) = Device::start();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..60 {
        let mut vmm = Vmm::connect(&device);
        if round % 2 == 0 {
            vmm.start_driver();
        }
        // Noise in all rings, with sound-looking indices so that it is looked at.
        for queue in 0..vmm.driver.len() {
            for index in 0..64 {
                let address = random() % (6 << 20);
                let length = [16, 64, 0, u32::MAX, random() as u32][(random() % 5) as usize];
                let what = (
                    address,
                    length,
                    (random() % 8) as u16,
                    (random() % 70) as u16,
                );
                let driver = &vmm.driver[queue];
                driver.descriptor(&vmm.memory, driver.table, index, what);
            }
            for _ in 0..(random() % 64) {
                vmm.driver[queue].offer_head(&vmm.memory, (random() % 66) as u16);
            }
            vmm.kick(queue);
        }
        vmm.config(0, 12);
        vmm.kick(CONTROL_IN);
        vmm.kick(CONTROL_OUT);
    }
    // Bytes that are no message at all.
    let mut stranger = UnixStream::connect(&device.path).unwrap();
    stranger.write_all(&[0xff; 64]).unwrap();
    drop(stranger);
    // What the noise sent is the guest's affair; the device still serves the next one.
    peer.set_nonblocking(true).unwrap();
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    vmm.write(OUTPUT, b"=sound=");
    let mut all = Vec::new();
    until("the sound guest", || {
        let mut buffer = [0; 65536];
        if let Ok(count) = peer.read(&mut buffer) {
            all.extend_from_slice(&buffer[..count]);
        }
        all.ends_with(b"=sound=")
    });
    device.stop();
}
