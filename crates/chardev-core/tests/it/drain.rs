//! Draining a replaced back end, look by look, on a clock that the test sets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chardev_core::{
    CARRY_LIMIT, Change, ChardevRef, Closed, DRAIN_LIMIT, Drain, DrainStep, Drainer, FrontEnd,
    Late, Old, PolicyChange, Registry, Stats, Step, commit,
};

use crate::rig::{Peer, everything};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// More than anybody waits.
const HOUR: u64 = 3_600_000;

/// What is left of a back end, as the test has it.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pending: u64,
    progress: u64,
    /// What its peer goes on sending.
    late: VecDeque<Late>,
    /// It sends without end.
    talks: bool,
    /// The kernel refuses what it sends.
    refused: bool,
    rests_on_others: bool,
    /// What it has come to when there is nothing to read.
    breaks: u64,
    room: usize,
    received: Vec<u8>,
    told_to_refuse: bool,
    half_closed: bool,
    reads: usize,
}

/// See [`Rest`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Afterlife(Arc<Mutex<Rest>>);

impl Afterlife {
    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.0.lock().unwrap()
    }

    fn sends(&self, late: &[Late]) {
        self.rest().late.extend(late);
    }
}

impl Drain for Afterlife {
    fn pending(&mut self) -> u64 {
        self.rest().pending
    }

    fn progress(&mut self) -> u64 {
        self.rest().progress
    }

    fn read_late(&mut self, buf: &mut [u8]) -> Late {
        let mut rest = self.rest();
        let late = match rest.talks {
            true => Late::Data(buf.len()),
            false => rest.late.pop_front().unwrap_or(Late::Quiet),
        };
        if let Late::Data(count) = late {
            buf[..count].fill(b'.');
            rest.reads += count;
        }
        late
    }

    fn is_refused(&self) -> bool {
        self.rest().refused
    }

    fn refuse_input(&mut self) {
        self.rest().told_to_refuse = true;
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        let mut rest = self.rest();
        let count = bytes.len().min(rest.room);
        rest.room -= count;
        rest.received.extend(&bytes[..count]);
        count
    }

    fn half_close(&mut self) {
        self.rest().half_closed = true;
    }

    fn take_breaks(&mut self) -> u64 {
        std::mem::take(&mut self.rest().breaks)
    }

    fn rests_on_others(&self) -> bool {
        self.rest().rests_on_others
    }
}

/// A back end that was replaced, on its way out.
struct Replaced {
    chardev: ChardevRef,
    front: FrontEnd,
    old: Afterlife,
    drainer: Drainer,
}

impl Replaced {
    fn new(settles: bool, final_output: &[u8], rest: Rest) -> Self {
        let (peer, old) = (Peer::new(true, 99), Afterlife::default());
        *old.rest() = rest;
        peer.world().drain = Some(old.clone());
        peer.world().settles = settles;
        Replaced::replace(peer.chardev(None), old, final_output)
    }

    fn replace(chardev: ChardevRef, old: Afterlife, final_output: &[u8]) -> Self {
        let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
        let change = Change::begin(&chardev).unwrap();
        let mut new = Peer::new(true, 99).as_new(2);
        new.final_output = final_output.to_vec();
        let offer = change.offer(&mut new).unwrap();
        let step = Step::Change {
            change,
            offer,
            new,
            old: Old::Retire,
        };
        let drainer = commit(vec![step]).unwrap().remove(0);
        Replaced {
            chardev,
            front,
            old,
            drainer,
        }
    }

    /// The pause in milliseconds that a look at this millisecond asks for; `None` at the end.
    fn look(&mut self, at: u64) -> Option<u128> {
        match self.drainer.poll(Duration::from_millis(at)) {
            DrainStep::Again(pause) => Some(pause.as_millis()),
            DrainStep::Done => None,
        }
    }

    fn stats(&self) -> Stats {
        self.chardev.with(|chardev| chardev.stats())
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.old.rest()
    }
}

#[test]
fn input_has_settled_when_nothing_has_come_for_60_ms() {
    let mut one = Replaced::new(true, b"", Rest::default());
    assert_eq!(one.look(1000), Some(2));
    one.old.sends(&[Late::Data(3), Late::Data(2)]);
    assert_eq!(one.look(1050), Some(2));
    assert_eq!(one.look(1109), Some(2));
    assert!(!one.rest().told_to_refuse);
    assert_eq!(one.look(1110), Some(1));
    assert!(one.rest().told_to_refuse);
    assert!(one.rest().half_closed);
    assert!(everything(&one.front).starts_with("<Opened>.....<"));
    assert_eq!(
        (one.stats().input_late, one.stats().input_overflowed),
        (0, 0)
    );
}

#[test]
fn a_peer_that_is_never_silent_has_settled_after_half_a_second() {
    let two = [Late::Data(1), Late::Data(1)];
    for (at, late) in [(500, 0), (501, 1)] {
        let mut one = Replaced::new(true, b"", Rest::default());
        for at in (0..500).step_by(20) {
            one.old.sends(&two);
            assert_eq!(one.look(at), Some(2));
        }
        one.old.sends(&two);
        assert_eq!(one.look(at), Some(1));
        assert!(one.rest().told_to_refuse);
        // From here on it is late.
        assert_eq!(one.stats().input_late, late);
    }
}

#[test]
fn no_more_settles_than_the_kernels_buffers_hold() {
    let mut one = Replaced::new(true, b"", Rest::default());
    one.rest().talks = true;
    one.look(0);
    // One more look at what is late stops after a mebibyte.
    let late = MIB + 4 * KIB;
    assert_eq!(one.rest().reads, 16 * MIB + 2 * late);
    assert_eq!(one.stats().input_late, 2 * late as u64);
}

#[test]
fn what_comes_from_other_drains_is_all_waited_for() {
    let mut one = Replaced::new(true, b"", Rest::default());
    one.rest().rests_on_others = true;
    one.old.sends(&vec![Late::Data(16 * KIB); 1030]);
    assert_eq!(one.look(0), Some(2));
    assert_eq!(one.rest().reads, 1030 * 16 * KIB);
    one.old.sends(&[Late::Data(1), Late::Data(1)]);
    assert_eq!(one.look(HOUR), Some(2));
    assert_eq!(one.look(2 * HOUR), Some(2));
    assert!(!one.rest().told_to_refuse);
    one.old.sends(&[Late::End, Late::Quiet]);
    assert_eq!(one.look(2 * HOUR + 1), Some(1));
    assert!(one.rest().told_to_refuse);
    assert_eq!(one.stats().input_late, 0);
}

#[test]
fn a_refused_peers_input_is_fetched_as_the_front_end_takes_it() {
    let mut one = Replaced::new(true, b"words", Rest::default());
    one.rest().refused = true;
    one.rest().talks = true;
    for looks in 1..=CARRY_LIMIT / MIB {
        assert_eq!(one.look(looks as u64), Some(1));
        assert_eq!(one.rest().reads, looks * MIB);
    }
    // The queue is full, and the pauses grow.
    assert_eq!(one.look(HOUR), Some(2));
    assert_eq!(one.rest().reads, CARRY_LIMIT);
    assert_eq!(one.front.read(&mut [0; 100]), 0);
    assert!(one.front.next_event().is_some());
    assert_eq!(one.front.read(&mut [0; 100]), 100);
    one.rest().room = 3;
    assert_eq!(one.look(2 * HOUR), Some(1));
    assert_eq!(one.rest().reads, CARRY_LIMIT + 100);
    // What the peer is to be told does not wait for that.
    assert_eq!(one.rest().received, b"wor");
    one.rest().talks = false;
    assert_eq!(one.look(2 * HOUR), Some(2));
    assert_eq!(one.front.read(&mut [0; 100]), 100);
    one.old.sends(&[Late::Data(7), Late::End, Late::Data(1)]);
    assert_eq!(one.look(2 * HOUR + 1), Some(1));
    assert!(one.rest().told_to_refuse);
    assert_eq!(one.rest().reads, CARRY_LIMIT + 108);
    assert_eq!(
        (one.stats().input_late, one.stats().input_overflowed),
        (1, 0)
    );
}

#[test]
fn a_break_in_a_refused_peers_input_keeps_its_place() {
    let mut one = Replaced::new(true, b"", Rest::default());
    one.rest().refused = true;
    one.rest().breaks = 1;
    one.old.sends(&[Late::Data(2), Late::Quiet, Late::Data(3)]);
    assert_eq!(one.look(0), Some(1));
    assert_eq!(everything(&one.front), "<Opened>..<Break>...");
}

#[test]
fn a_peer_has_its_time_since_it_last_took_something() {
    let rest = Rest {
        pending: 10,
        ..Rest::default()
    };
    let mut one = Replaced::new(false, b"four", rest);
    assert!(one.rest().told_to_refuse);
    let limit = DRAIN_LIMIT.as_millis() as u64;
    assert_eq!(limit, 30_000);
    for (at, pause) in [
        (5, 1),
        (6, 2),
        (8, 4),
        (12, 8),
        (20, 16),
        (36, 32),
        (68, 50),
    ] {
        assert_eq!(one.look(at), Some(pause));
    }
    // Fewer bytes pending, another number, or a part of the answer: each is progress.
    one.rest().pending = 9;
    assert_eq!(one.look(limit), Some(1));
    one.rest().progress = 7;
    assert_eq!(one.look(2 * limit), Some(1));
    one.rest().room = 1;
    assert_eq!(one.look(3 * limit), Some(1));
    assert_eq!(one.look(4 * limit - 1), Some(2));
    assert!(!one.rest().half_closed);
    assert_eq!(one.look(4 * limit), None);
    assert_eq!(one.rest().received, b"f");
    assert_eq!(one.stats().output_undrained, 9 + 3);
}

#[test]
fn a_chardev_may_have_a_limit_of_its_own() {
    let rest = Rest {
        pending: 10,
        ..Rest::default()
    };
    let (peer, old) = (Peer::new(true, 99), Afterlife::default());
    *old.rest() = rest;
    peer.world().drain = Some(old.clone());
    let chardev = peer.chardev(None);
    let limit = PolicyChange {
        drain: Some(Duration::from_secs(3)),
        ..PolicyChange::default()
    };
    chardev.with(|chardev| chardev.set_policy(limit));
    let mut one = Replaced::replace(chardev, old, b"");
    assert!(one.look(0).is_some());
    assert!(one.look(2999).is_some());
    assert_eq!(one.look(3000), None);
    assert_eq!(one.stats().output_undrained, 10);
}

#[test]
fn a_lot_that_waited_goes_at_once_where_there_is_room() {
    let (peer, old, registry) = (
        Peer::new(false, 0),
        Afterlife::default(),
        Registry::default(),
    );
    peer.world().drain = Some(old.clone());
    let history = PolicyChange {
        closed: Some(Closed::History),
        history: Some(4 * MIB),
        ..PolicyChange::default()
    };
    let chardev = peer.chardev(None);
    chardev.with(|chardev| chardev.set_policy(history));
    registry.reserve("con0").unwrap().fill(chardev.clone());
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    for _ in 0..3 {
        assert_eq!(front.write(&vec![b'w'; MIB]), MIB);
    }
    drop(front);
    peer.world().present = true;
    old.rest().room = 3 * MIB;
    let _drainers = registry.remove("con0").unwrap();
    assert_eq!(old.rest().received.len(), 3 * MIB);
}

#[test]
fn who_takes_everything_gets_the_answer_and_then_the_end() {
    let rest = Rest {
        pending: 10,
        ..Rest::default()
    };
    let mut one = Replaced::new(false, b"four", rest);
    assert_eq!(one.look(0), Some(1));
    one.rest().pending = 0;
    one.rest().room = 2;
    assert_eq!(one.look(1), Some(1));
    assert!(!one.rest().half_closed);
    one.rest().room = 2;
    one.old.sends(&[Late::Quiet, Late::End]);
    assert_eq!(one.look(2), None);
    assert!(one.rest().half_closed);
    assert_eq!(one.rest().received, b"four");
    assert_eq!(one.stats().output_undrained, 0);
}

#[test]
fn a_silent_peer_has_a_second_to_close_its_side_and_a_talking_one_two() {
    let mut silent = Replaced::new(false, b"", Rest::default());
    assert_eq!(silent.look(100), Some(1));
    assert_eq!(silent.look(1099), Some(2));
    assert_eq!(silent.look(1100), None);

    let mut talking = Replaced::new(false, b"", Rest::default());
    assert_eq!(talking.look(100), Some(1));
    talking.old.sends(&[Late::Data(5)]);
    assert_eq!(talking.look(600), Some(2));
    assert_eq!(talking.look(1599), Some(4));
    assert_eq!(talking.look(1600), None);
    assert_eq!(talking.stats().input_late, 5);

    let mut tireless = Replaced::new(false, b"", Rest::default());
    assert_eq!(tireless.look(100), Some(1));
    for at in (200..2100).step_by(100) {
        tireless.old.sends(&[Late::Data(1)]);
        assert!(tireless.look(at).is_some());
    }
    tireless.old.sends(&[Late::Data(1)]);
    assert_eq!(tireless.look(2100), None);
}

#[test]
fn a_drainer_that_is_dropped_lets_the_front_end_go_on() {
    let one = Replaced::new(true, b"", Rest::default());
    assert_eq!(everything(&one.front), "<Opened>");
    drop(one.drainer);
    assert!(one.old.rest().told_to_refuse);
    assert_eq!(everything(&one.front), "<Changed>");
}
