//! Two ends of TLS that talk through a wire which cuts the stream anywhere and perhaps spoils a
//! byte: cut, everything arrives and ends as it should; spoilt, what arrives is the beginning of
//! what was sent, and nobody panics. Or one end that hears nothing but noise.
//!
//! The first byte says which, the next two which byte is spoilt, the rest is how the wire cuts, or
//! the noise.

use std::io::{IoSlice, IoSliceMut};

use chardev::back::LayerKind;
use chardev_core::Stack;

/// The most that an end may have to say at once: the flight of a handshake.
const FLIGHT: usize = 32 << 10;

/// Checks one wire between an end made by each of `ends`: the server and the client.
pub(crate) fn run(data: &[u8], ends: &[LayerKind; 2]) {
    let [mode, high, low, rest @ ..] = data else {
        return;
    };
    if mode & 3 == 3 {
        return hear_noise(rest, &ends[usize::from(mode >> 7)]);
    }
    let spoilt = (mode & 3 == 2).then(|| usize::from(*high) << 8 | usize::from(*low));
    let mut wire = Wire {
        cuts: rest.iter().cycle(),
        spoilt,
        passed: 0,
    };
    let mut stacks = [0, 1].map(|end| Stack::new(vec![ends[end].make()]));
    let mut heard = [Vec::new(), Vec::new()];
    wire.settle(&mut stacks, &mut heard);
    let said: Vec<u8> = (0..5000u32).map(|at| (at * 7 + at / 256) as u8).collect();
    for (end, stack) in stacks.iter_mut().enumerate() {
        let taken = stack.send(&[IoSlice::new(&said)]);
        assert!(
            spoilt.is_some() || taken == said.len(),
            "end {end} is not open"
        );
    }
    wire.settle(&mut stacks, &mut heard);
    stacks.iter_mut().for_each(Stack::send_end);
    wire.settle(&mut stacks, &mut heard);
    for (stack, heard) in stacks.iter().zip(&heard) {
        assert!(said.starts_with(heard), "something was made up");
        if spoilt.is_none() {
            assert_eq!((heard.len(), stack.failure()), (said.len(), None));
            assert!(stack.has_end(), "the end was not told");
        }
    }
}

fn hear_noise(noise: &[u8], end: &LayerKind) {
    let mut stack = Stack::new(vec![end.make()]);
    for piece in noise.chunks(97) {
        stack.receive(piece);
        assert!(!stack.is_open() && stack.pending() < FLIGHT);
    }
}

struct Wire<'a, I: Iterator<Item = &'a u8>> {
    cuts: I,
    spoilt: Option<usize>,
    passed: usize,
}

impl<'a, I: Iterator<Item = &'a u8>> Wire<'a, I> {
    /// Lets both talk until neither has anything to say.
    fn settle(&mut self, stacks: &mut [Stack; 2], heard: &mut [Vec<u8>; 2]) {
        while stacks.iter().any(Stack::has_wire) {
            for from in [0, 1] {
                let mut bytes: Vec<u8> = stacks[from]
                    .wire()
                    .iter()
                    .flat_map(|part| part.to_vec())
                    .collect();
                stacks[from].sent(bytes.len());
                assert!(bytes.len() < FLIGHT);
                if let Some(at) = self.spoilt.and_then(|at| at.checked_sub(self.passed)) {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 0x55;
                    }
                }
                self.passed += bytes.len();
                self.pass(&bytes, &mut stacks[1 - from], &mut heard[1 - from]);
            }
        }
    }

    fn pass(&mut self, mut bytes: &[u8], to: &mut Stack, heard: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let cut = self
                .cuts
                .next()
                .map_or(bytes.len(), |cut| usize::from(*cut) * 4 + 1);
            let (piece, rest) = bytes.split_at(cut.min(bytes.len()));
            to.receive(piece);
            bytes = rest;
            let mut buf = [0; 1024];
            loop {
                match to.read(&mut [IoSliceMut::new(&mut buf)]) {
                    0 => break,
                    count => heard.extend_from_slice(&buf[..count]),
                }
            }
        }
    }
}
