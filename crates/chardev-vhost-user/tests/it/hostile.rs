//! The virtio console over vhost-user and VMMs that take back what they gave, or give what is of no
//! use.

#[allow(dead_code, reason = "the rig has more than these tests need")]
use std::io::Read;
use std::os::unix::net::UnixStream;

use crate::virtio_driver::MEMORY;
use crate::vmm_rig::{Device, Vmm, until};
use vmm_sys_util::eventfd::EventFd;

/// The output queue of port 1.
const OUTPUT: usize = 5;

/// The device works: what the guest writes arrives.
fn works(vmm: &mut Vmm, peer: &mut UnixStream) {
    vmm.write(OUTPUT, b"hello");
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
    vmm.used(OUTPUT);
}

#[test]
fn a_vmm_that_takes_memory_away_loses_its_own_device_only() {
    let (device, mut peer) = Device::start();
    let (other, mut other_peer) = Device::start();
    let mut other_vmm = Vmm::connect(&other);
    other_vmm.start_driver();
    for left in [0, MEMORY / 2, 0x4000] {
        let mut vmm = Vmm::connect(&device);
        vmm.start_driver();
        works(&mut vmm, &mut peer);
        vmm.set_memory_size(left);
        vmm.kick(OUTPUT);
        if left > 0 {
            // What the device looks at may still be there.
            vmm.set_memory_size(0);
            vmm.kick(OUTPUT);
        }
        until("its connection ends", || vmm.is_cut_off());
        works(&mut other_vmm, &mut other_peer);
    }
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    works(&mut vmm, &mut peer);
    device.stop();
    other.stop();
}

#[test]
fn memory_that_is_taken_away_while_data_flows_ends_nothing_else() {
    let (device, mut peer) = Device::start();
    for round in 0..20 {
        let mut vmm = Vmm::connect(&device);
        vmm.start_driver();
        let block = vec![round; 0x4_0000];
        for _ in 0..4 {
            vmm.write_block(OUTPUT, &block);
        }
        if round % 2 == 0 {
            let mut some = [0; 1000];
            peer.read_exact(&mut some).unwrap();
        }
        vmm.set_memory_size(0);
        vmm.kick(OUTPUT);
        // The kernel finds a hole where the device did not; whoever stops must not wait for it.
        peer.set_nonblocking(true).unwrap();
        let mut rest = vec![0; 1 << 20];
        until("its connection ends", || {
            let _ = peer.read(&mut rest);
            vmm.kick(OUTPUT);
            vmm.is_cut_off()
        });
        peer.set_nonblocking(false).unwrap();
    }
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    vmm.write(OUTPUT, b"the end");
    let mut all = Vec::new();
    until("the new guest's output arrives", || {
        let mut some = [0; 1 << 16];
        let count = peer.read(&mut some).unwrap();
        assert!(count > 0, "the peer was cut off");
        all.extend_from_slice(&some[..count]);
        all.ends_with(b"the end")
    });
    device.stop();
}

#[test]
fn memory_longer_than_its_file_is_refused() {
    let (device, mut peer) = Device::start();
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    works(&mut vmm, &mut peer);
    vmm.set_memory_size(MEMORY / 2);
    vmm.share_memory().unwrap_err();
    drop(vmm);
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    works(&mut vmm, &mut peer);
    device.stop();
}

#[test]
fn a_full_counter_for_interrupts_holds_up_nothing() {
    let (device, mut peer) = Device::start();
    let mut vmm = Vmm::connect(&device);
    vmm.start_driver();
    let full = EventFd::new(0).unwrap();
    full.write(u64::MAX - 1).unwrap();
    vmm.set_call(OUTPUT, full);
    for _ in 0..100 {
        works(&mut vmm, &mut peer);
    }
    device.stop();
}
