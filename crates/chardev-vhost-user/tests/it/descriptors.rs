//! Connections over vhost-user leave no descriptors behind. Alone in its process, which it counts.

#[allow(dead_code, reason = "the rig has more than these tests need")]
use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::vmm_rig::{Device, Vmm, until};

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn descriptors_come_back_however_a_vmm_leaves() {
    let (device, _peer) = Device::start();
    let visit = |round: usize| match round % 3 {
        0 => {
            let mut vmm = Vmm::connect(&device);
            vmm.start_driver();
        }
        1 => drop(UnixStream::connect(&device.path).unwrap()),
        _ => {
            // Half of a header.
            let mut stream = UnixStream::connect(&device.path).unwrap();
            stream.write_all(&[1, 0, 0, 0, 1]).unwrap();
        }
    };
    (0..6).for_each(visit);
    until("the first ones have gone", || {
        let before = open();
        std::thread::park_timeout(std::time::Duration::from_millis(50));
        open() == before
    });
    let before = open();
    (0..60).for_each(visit);
    until("their descriptors are closed", || open() <= before);
    device.stop();
}
