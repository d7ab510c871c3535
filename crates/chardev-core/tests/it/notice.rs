//! What an observer is told of all chardevs, in which order, and how little it can be made to hold.

use std::sync::Arc;
use std::time::Duration;

use chardev_core::{
    BackendId, Change, ChardevRef, DropReason, Epoch, FrontEnd, Notice, Observed, Observer, Old,
    Ready, Registry, Slow, TerminalSize, ViewFrom,
};

use crate::rig::{Peer, Woken};

struct Watched {
    registry: Registry,
    observer: Observer,
    woken: Arc<Woken>,
    waker: std::task::Waker,
    now: Duration,
}

impl Watched {
    fn new() -> Self {
        let registry = Registry::default();
        let observer = registry.observe();
        let (woken, waker) = Woken::new();
        Watched {
            registry,
            observer,
            woken,
            waker,
            now: Duration::ZERO,
        }
    }

    fn chardev(&self, id: &str, peer: &Peer) -> ChardevRef {
        let backend = peer.backend();
        let closed = chardev_core::Closed::Discard;
        let chardev = ChardevRef::new(id, BackendId(1), backend, closed, None);
        self.registry.reserve(id).unwrap().fill(chardev.clone());
        chardev
    }

    fn poll(&mut self) -> Observed {
        self.observer.poll(&self.waker, self.now)
    }

    /// Everything that can be read now, one word each.
    fn all(&mut self) -> String {
        let mut words = Vec::new();
        loop {
            words.push(match self.poll() {
                Observed::Nothing(_) => return words.join(" "),
                Observed::Lost(count) => format!("lost:{count}"),
                Observed::Notice(id, _, notice) => match notice {
                    Notice::Connected { .. } => format!("{id}:in"),
                    Notice::Disconnected { .. } => format!("{id}:out"),
                    Notice::Changed { offset, count, .. } => format!("{id}:{count}x@{offset}"),
                    Notice::Drained { undelivered } => format!("{id}:drained-{undelivered}"),
                    Notice::Resized { size, offset } => {
                        format!("{id}:{}x{}@{offset}", size.cols, size.rows)
                    }
                    Notice::OutOfMemory => format!("{id}:no-memory"),
                    Notice::LogHole { offset, bytes, .. } => match bytes {
                        None => format!("{id}:hole@{offset}"),
                        Some(bytes) => format!("{id}:hole@{offset}+{bytes}"),
                    },
                    Notice::Dropped {
                        reason,
                        bytes,
                        total,
                    } => format!("{id}:{}-{bytes}/{total}", reason.as_str()),
                },
            });
        }
    }
}

fn kick(chardev: &ChardevRef, id: u64) {
    chardev.with(|chardev| chardev.handle_ready(BackendId(id), Ready::empty()));
}

fn change(chardev: &ChardevRef, id: u64, new: &Peer) {
    let change = Change::begin(chardev).unwrap();
    let mut new = new.as_new(id);
    let offer = change.offer(&mut new).unwrap();
    for mut drainer in change.commit(offer, new, Old::Retire).unwrap() {
        drainer.poll(Duration::ZERO);
    }
}

#[test]
fn comings_goings_and_changes_are_told_in_order() {
    let mut watched = Watched::new();
    let (old, new) = (Peer::new(false, 99), Peer::new(false, 99));
    let chardev = watched.chardev("con0", &old);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    assert_eq!(watched.all(), "");
    old.open();
    kick(&chardev, 1);
    assert!(watched.woken.take());
    front.write(b"four");
    change(&chardev, 2, &new);
    new.open();
    kick(&chardev, 2);
    new.close();
    kick(&chardev, 2);
    let told = "con0:in con0:out con0:1x@4 con0:drained-0 con0:in con0:out";
    assert_eq!(watched.all(), told);
    drop(front);
    watched.registry.remove("con0").unwrap();
    assert_eq!(watched.all(), "");
}

/// A serial device has no name for its peer, so that it is there is told to nobody; that it is gone
/// is.
#[test]
fn that_a_nameless_peer_goes_is_told_though_it_was_there_from_the_start() {
    let mut watched = Watched::new();
    let device = Peer::new(true, 99);
    let chardev = watched.chardev("con0", &device);
    assert_eq!(watched.all(), "");
    for _ in 0..2 {
        device.close();
        kick(&chardev, 1);
        assert_eq!(watched.all(), "con0:out");
        device.open();
        kick(&chardev, 1);
        assert_eq!(watched.all(), "con0:in");
    }
}

#[test]
fn drops_are_told_once_in_a_second_for_each_reason_with_their_sum() {
    let mut watched = Watched::new();
    let nobody = Peer::new(false, 0);
    let chardev = watched.chardev("con0", &nobody);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    front.write(b"one");
    assert_eq!(watched.all(), "con0:discarded-3/3");
    front.write(b"four");
    front.write(b"seven");
    let due = Duration::from_secs(1);
    assert_eq!(watched.poll(), Observed::Nothing(Some(due)));
    watched.now = due - Duration::from_nanos(1);
    assert_eq!(watched.all(), "");
    watched.now = due;
    let expected = Notice::Dropped {
        reason: DropReason::Discarded,
        bytes: 9,
        total: 12,
    };
    assert_eq!(
        watched.poll(),
        Observed::Notice("con0".to_owned(), Epoch::new(1), expected)
    );
    assert_eq!(watched.poll(), Observed::Nothing(None));
}

#[test]
fn what_nobody_reads_is_merged_bounded_and_counted() {
    let mut watched = Watched::new();
    let (busy, calm) = (Peer::new(false, 0), Peer::new(false, 0));
    let chardev = watched.chardev("busy", &busy);
    let other = watched.chardev("calm", &calm);
    calm.open();
    kick(&other, 1);
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    for _ in 0..1000 {
        front.write(b"x");
        busy.open();
        kick(&chardev, 1);
        busy.close();
        kick(&chardev, 1);
    }
    for id in 2..1002 {
        change(&chardev, id, &Peer::new(false, 0));
    }
    let all = watched.all();
    let words: Vec<&str> = all.split(' ').collect();
    // One chardev has an eighth of the queue, and the other's notice is still there.
    assert!(words.len() <= 34, "{all}");
    assert!(
        words[0].starts_with("lost:") && words[1] == "calm:in",
        "{all}"
    );
    assert!(all.contains("busy:in busy:out"), "{all}");
    assert!(all.contains("busy:discarded-1000/1000"), "{all}");
    assert!(all.ends_with("busy:1000x@1000 busy:drained-0"), "{all}");
    let lost: usize = words[0][5..].parse().unwrap();
    assert!(lost > 1900, "{lost}");

    // Nobody observes: nothing is kept.
    drop(watched.observer);
    watched.observer = watched.registry.observe();
    front.write(b"y");
    assert_eq!(watched.all(), "busy:discarded-1/1001");
}

#[test]
fn each_observer_is_told_everything() {
    let mut watched = Watched::new();
    let mut second = watched.registry.observe();
    let peer = Peer::new(false, 0);
    let chardev = watched.chardev("con0", &peer);
    peer.open();
    kick(&chardev, 1);
    assert_eq!(watched.all(), "con0:in");
    let connected = Notice::Connected { peer: None };
    let told = second.poll(&watched.waker, Duration::ZERO);
    assert_eq!(
        told,
        Observed::Notice("con0".to_owned(), Epoch::new(1), connected)
    );
}

#[test]
fn of_several_sizes_that_were_not_read_in_time_the_last_is_told() {
    let mut watched = Watched::new();
    let peer = Peer::new(false, 0);
    let chardev = watched.chardev("a", &peer);
    watched.all();
    let resize = |cols, rows| {
        let size = chardev_core::TerminalSize { cols, rows };
        chardev.with(|chardev| chardev.resize(size));
    };
    resize(80, 24);
    resize(100, 30);
    assert_eq!(watched.all(), "a:100x30@0");
    resize(81, 25);
    assert_eq!(watched.all(), "a:81x25@0");
    let size = chardev.with(|chardev| chardev.terminal_size());
    assert_eq!(size.map(|size| (size.cols, size.rows)), Some((81, 25)));
}

#[test]
fn each_life_of_a_name_has_an_epoch_of_its_own_and_notices_say_whose_they_are() {
    let mut watched = Watched::new();
    let mut lives = Vec::new();
    for _ in 0..2 {
        let chardev = watched.chardev("con0", &Peer::default());
        let epoch = chardev.with(|chardev| chardev.epoch()).unwrap();
        let history = chardev.history(ViewFrom::Now, 1).unwrap();
        let viewer = chardev.view(ViewFrom::Now, Slow::Skip).unwrap();
        let marked = chardev.with(|chardev| chardev.mark("here", "a test"));
        for said in [history.epoch, viewer.epoch(), marked.epoch] {
            assert_eq!(said, Some(epoch));
        }
        // Both lives end before anybody hears of them: what is merged is of one life.
        chardev.with(|chardev| chardev.resize(TerminalSize { cols: 80, rows: 24 }));
        watched.registry.remove("con0").unwrap();
        lives.push(epoch);
    }
    assert_ne!(lives[0], lives[1]);
    let mut resized = Vec::new();
    loop {
        match watched.poll() {
            Observed::Notice(_, epoch, Notice::Resized { .. }) => resized.push(epoch),
            Observed::Nothing(_) => break,
            _ => {}
        }
    }
    assert_eq!(resized, lives);
}

#[test]
fn epochs_come_from_where_the_program_says() {
    let registry = Registry::with_epochs(|| Epoch::new(7));
    let chardev = ChardevRef::new(
        "con0",
        BackendId(1),
        Peer::default().backend(),
        chardev_core::Closed::Discard,
        None,
    );
    assert_eq!(chardev.with(|chardev| chardev.epoch()), None);
    registry.reserve("con0").unwrap().fill(chardev.clone());
    assert_eq!(chardev.with(|chardev| chardev.epoch()), Some(Epoch::new(7)));
}

#[test]
fn who_follows_all_chardevs_is_woken_for_each_that_is_added() {
    let watched = Watched::new();
    let (mut seen, mut cx) = (0, std::task::Context::from_waker(&watched.waker));
    assert!(watched.registry.poll_added(&mut cx, &mut seen).is_pending());
    let reservation = watched.registry.reserve("con0").unwrap();
    assert_eq!(watched.woken.count(), 0, "it is not there yet");
    drop(reservation);
    watched.chardev("con1", &Peer::default());
    assert_eq!(watched.woken.count(), 1);
    assert!(watched.registry.poll_added(&mut cx, &mut seen).is_ready());
    assert!(watched.registry.poll_added(&mut cx, &mut seen).is_pending());
}
