//! Replays the fuzz bodies of the virtio console with seeded scripts.

#[path = "../../../../fuzz/bodies/virtio_console.rs"]
mod body;

use crate::corpus;

#[test]
fn fuzz_virtio_with_what_is_kept() {
    corpus::replay("virtio_chains", body::run_chains);
    corpus::replay("virtio_control", body::run_control);
}

#[test]
fn fuzz_virtio_chains() {
    replay(0x0076_6972, 8, body::run_chains);
}

#[test]
fn fuzz_virtio_control() {
    replay(0x0074_696f, 9, body::run_control);
}

fn replay(seed: u64, step: usize, run: fn(&[u8])) {
    let mut random = corpus::Random(seed);
    for _ in 0..1_500 {
        let length = step * random.below(200);
        let data: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        run(&data);
    }
}
