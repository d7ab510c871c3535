//! Replays the fuzz body of TLS with seeded wires.

#[path = "../../../../fuzz/bodies/tls.rs"]
mod body;

use crate::corpus;
use crate::tls_ends::ends;

#[test]
fn fuzz_tls_with_what_is_kept() {
    let ends = ends();
    corpus::replay("tls", |input| body::run(input, &ends));
}

#[test]
fn fuzz_tls() {
    let ends = ends();
    let mut random = corpus::Random(0x8446);
    for round in 0..300 {
        let mut wire = vec![[0, 2, 2, 3, 0x83][round % 5]];
        // The handshake is a few thousand bytes long, and so is what is said.
        wire.extend((random.below(14_000) as u16).to_be_bytes());
        let most = [1, 2, 40, 256][random.below(4)];
        let length = 1 + random.below(600);
        wire.extend((0..length).map(|_| random.below(most) as u8));
        if wire[0] & 3 == 3 {
            // A record that could be one.
            wire.splice(3..3, [22, 3, 1, 0, random.below(256) as u8, 1, 0, 0]);
        }
        body::run(&wire, &ends);
    }
}
