//! Relays through which much goes come to I/O threads of their own, and lose nothing on the way.
#![allow(clippy::disallowed_methods, reason = "a test may wait")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use chardev::backends::Unix;

use super::*;

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(60);
/// What goes through each relay, in blocks.
const BLOCKS: usize = 1024;
const BLOCK: usize = 64 << 10;

/// Byte number `at`; neighbouring blocks differ.
fn number(at: usize) -> u8 {
    ((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8
}

fn block(at: usize) -> Vec<u8> {
    (at * BLOCK..(at + 1) * BLOCK).map(number).collect()
}

/// On which thread a relay's chardev is served.
fn thread_of(beside: &Beside) -> String {
    let name = async { std::thread::current().name().map(str::to_owned) };
    let chardevs = &beside.chardevs;
    let name = chardevs.block_on(chardevs.spawn_beside(&[&beside.ids[0]], name));
    name.flatten().unwrap()
}

#[test]
fn relays_of_large_pieces_are_spread_and_others_are_not() {
    let (chardevs, dir) = (Chardevs::new().unwrap(), tempfile::tempdir().unwrap());
    chardevs.set_io_threads(2, 1);
    let relay = |number: usize| {
        let beside = Beside {
            chardevs: chardevs.clone(),
            ids: ["a", "b"].map(|end| format!("{end}{number}")),
        };
        let fronts = beside.ids.each_ref().map(|id| {
            let place = Unix::listen(dir.path().join(id));
            chardevs.blocking_add(id, place).unwrap();
            chardevs.attach(id).unwrap()
        });
        let (stop, state) = (Stop::default(), RunState::default());
        let task = run(fronts, [false; 2], stop, state, beside.clone());
        let task = beside.spawn(task);
        let peers = beside.ids.each_ref().map(|id| {
            let peer = UnixStream::connect(dir.path().join(id)).unwrap();
            peer.set_read_timeout(Some(DEADLINE)).unwrap();
            peer.set_write_timeout(Some(DEADLINE)).unwrap();
            while !chardevs.info(id).unwrap().open {
                std::thread::yield_now();
            }
            peer
        });
        (beside, task, peers)
    };
    let relays = [0, 1, 2].map(relay);
    for (beside, _, _) in &relays {
        assert_eq!(thread_of(beside), "chardev-io");
    }
    std::thread::scope(|scope| {
        for (_, _, [source, target]) in &relays[..2] {
            scope.spawn(move || {
                let mut source = source;
                (0..BLOCKS).for_each(|at| source.write_all(&block(at)).unwrap());
            });
            scope.spawn(move || {
                let mut target = target;
                let mut got = vec![0; BLOCK];
                for at in 0..BLOCKS {
                    target.read_exact(&mut got).unwrap();
                    assert!(got == block(at), "block {at} is not what was sent");
                }
            });
        }
        let (_, _, [source, target]) = &relays[2];
        let (mut source, mut target) = (source, target);
        for _ in 0..200 {
            source.write_all(b"a line\n").unwrap();
            target.read_exact(&mut [0; 7]).unwrap();
        }
    });
    let [one, other, lines] = relays.each_ref().map(|(beside, _, _)| thread_of(beside));
    let mut both = [one, other];
    both.sort();
    assert_eq!(both, ["chardev-io", "chardev-io-2"]);
    assert_eq!(lines, "chardev-io");
    for (_, task, _) in relays {
        task.give_up();
        assert_eq!(chardevs.block_on(task), None);
    }
}
