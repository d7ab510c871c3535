//! 1,000 changes of a busy console between every ordered pair of file, unix, tcp, pty, pipe and
//! ringbuf: nothing lost, nothing doubled, nothing reordered, in either direction.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chardev_load::LoadError;
use chardev_load::peers::{Kind, Load};
use chardev_load::random::Random;
use chardev_load::rig::{Programs, Rig};

/// What the pairs are made of; a socket listens in one round and connects in the next.
pub(crate) const NODES: usize = 6;
pub(crate) const UNIX: usize = 1;
pub(crate) const TCP: usize = 2;
/// Four tests of seven rounds with 36 pairs each are 1,008 changes.
const ROUNDS: usize = 7;

pub(crate) fn kind(node: usize, round: usize) -> Kind {
    match (node, round % 2) {
        (0, _) => Kind::File,
        (1, 0) => Kind::UnixServer,
        (1, _) => Kind::UnixClient,
        (2, 0) => Kind::TcpServer,
        (2, _) => Kind::TcpClient,
        (3, _) => Kind::Pty,
        (4, _) => Kind::Pipe,
        _ => Kind::Ringbuf,
    }
}

/// A way from `start` back to it that uses every ordered pair once, in an order from the seed
/// (Hierholzer's: a walk that is stuck is back at its start, and is extended from where it can be).
pub(crate) fn circuit(start: usize, random: &mut Random) -> Vec<usize> {
    let mut unused: Vec<Vec<usize>> = (0..NODES).map(|_| (0..NODES).collect()).collect();
    let mut walk = vec![start];
    let mut way = Vec::new();
    while let Some(&node) = walk.last() {
        let choices = unused[node].len();
        if choices == 0 {
            way.extend(walk.pop());
        } else {
            let next = unused[node].swap_remove(random.below(choices));
            walk.push(next);
        }
    }
    way.reverse();
    way
}

fn change_between_all_pairs(seed: u64) {
    let programs = Programs {
        daemon: PathBuf::from(env!("CARGO_BIN_EXE_chardevd")),
        client: PathBuf::from(env!("CARGO_BIN_EXE_chardevctl")),
    };
    let mut random = Random::new(seed);
    let load = |kind| Load { kind, slow: false };
    let failed = |error: LoadError| -> String { panic!("seed {seed}: {error}") };
    let mut rig = Rig::start(&programs, load(Kind::UnixServer))
        .map_err(failed)
        .unwrap();
    let mut pairs = BTreeMap::new();
    for round in 0..ROUNDS {
        let way = circuit(UNIX, &mut random);
        for pair in way.windows(2) {
            rig.wait_for_load().map_err(failed).unwrap();
            let slow = random.one_in(16);
            let kind = kind(pair[1], round);
            rig.change(Load { kind, slow }).map_err(failed).unwrap();
            *pairs.entry((pair[0], pair[1])).or_insert(0) += 1;
        }
    }
    rig.wait_for_load().map_err(failed).unwrap();
    let report = rig.finish().map_err(failed).unwrap();
    assert!(report.is_clean(), "seed {seed}: {report:#?}");
    assert_eq!(report.changes.len(), ROUNDS * NODES * NODES);
    assert_eq!(pairs.len(), NODES * NODES);
    assert!(pairs.values().all(|count| *count == ROUNDS), "{pairs:?}");
}

#[test]
fn every_pair_first_quarter() {
    change_between_all_pairs(1);
}

#[test]
fn every_pair_second_quarter() {
    change_between_all_pairs(2);
}

#[test]
fn every_pair_third_quarter() {
    change_between_all_pairs(3);
}

#[test]
fn every_pair_last_quarter() {
    change_between_all_pairs(4);
}
