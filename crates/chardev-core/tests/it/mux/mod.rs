//! A multiplexer: whose keys are whose, and what all see of the chardev below.

mod below;
mod moves;

use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use chardev_core::{
    Backend, BackendId, Change, ChardevRef, Closed, FrontEnd, Mux, MuxHost, Old, Ready, Users,
};

use crate::rig::{Peer, Woken, everything, link};

/// A host with a clock that the test sets.
#[derive(Default)]
struct Host {
    now: Mutex<Duration>,
    quit: Mutex<bool>,
}

impl MuxHost for Host {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn quit(&self) {
        *self.quit.lock().unwrap() = true;
    }
}

fn on(slot: Box<dyn Backend>, id: u64) -> ChardevRef {
    ChardevRef::new("mux0", BackendId(id), slot, Closed::Discard, None)
}

/// Two front ends over one peer; the second one has the focus.
struct MuxRig {
    peer: Peer,
    base: ChardevRef,
    host: Arc<Host>,
    users: Users,
    mux: Mux,
    chardevs: [ChardevRef; 2],
    first: FrontEnd,
    second: FrontEnd,
    woken: Arc<Woken>,
}

impl MuxRig {
    fn new() -> Self {
        let peer = Peer::new(true, 9999);
        let base = peer.chardev(None);
        let host = Arc::new(Host::default());
        let (woken, waker) = Woken::new();
        let mux = Mux::new(link(&base), 1, Arc::clone(&host) as _, waker);
        let chardevs = [10, 11].map(|id| on(mux.slot(), id));
        let front = |at: usize| FrontEnd::attach(&chardevs[at], Arc::new(())).unwrap();
        MuxRig {
            first: front(0),
            second: front(1),
            chardevs,
            users: mux.users().clone(),
            peer,
            base,
            host,
            mux,
            woken,
        }
    }

    /// What the I/O thread would do: look at everything until nobody is woken any more.
    fn settle(&self) {
        self.base
            .with(|base| base.handle_ready(BackendId(1), Ready::all()));
        while self.woken.take() {
            self.users.kick();
        }
    }

    fn types(&self, keys: &str) {
        self.peer.send(keys.as_bytes());
        self.settle();
    }
}

#[test]
fn keys_go_to_the_focus_and_the_escape_moves_it() {
    for (keys, first, second) in [
        ("ab", "<Opened><MuxIn><MuxOut>", "<Opened><MuxIn>ab"),
        (
            "a\u{1}cb",
            "<Opened><MuxIn><MuxOut><MuxIn>b",
            "<Opened><MuxIn>a<MuxOut>",
        ),
        (
            "a\u{1}cb\u{1}cd",
            "<Opened><MuxIn><MuxOut><MuxIn>b<MuxOut>",
            "<Opened><MuxIn>a<MuxOut><MuxIn>d",
        ),
        (
            "\u{1}b",
            "<Opened><MuxIn><MuxOut>",
            "<Opened><MuxIn><Break>",
        ),
        (
            "\u{1}\u{1}",
            "<Opened><MuxIn><MuxOut>",
            "<Opened><MuxIn>\u{1}",
        ),
        ("\u{1}zq", "<Opened><MuxIn><MuxOut>", "<Opened><MuxIn>q"),
    ] {
        let rig = MuxRig::new();
        rig.types(keys);
        assert_eq!(everything(&rig.first), first, "{keys:?}");
        assert_eq!(everything(&rig.second), second, "{keys:?}");
    }
}

#[test]
fn a_tower_of_multiplexers_asks_once_for_input() {
    let peer = Peer::new(true, 9999);
    let mut top = peer.chardev(None);
    for id in 10..20 {
        let (host, waker) = (Arc::new(Host::default()), Waker::noop().clone());
        let mux = Mux::new(link(&top), 1, host, waker);
        top = ChardevRef::new("mux0", BackendId(id), mux.slot(), Closed::Discard, None);
    }
    let front = FrontEnd::attach(&top, Arc::new(())).unwrap();
    everything(&front);
    for (sent, came) in [("", ""), ("abc", "abc")] {
        peer.send(sent.as_bytes());
        peer.world().asked = 0;
        let mut buf = [0; 16];
        let count = front.read(&mut buf);
        assert_eq!(&buf[..count], came.as_bytes());
        let asked = peer.world().asked;
        assert_eq!(asked, 1, "{sent:?}");
    }
}

#[test]
fn output_of_all_is_passed_on_and_stamped_when_asked() {
    let rig = MuxRig::new();
    assert_eq!(rig.first.write(b"one\n"), 4);
    assert_eq!(rig.second.write(b"two"), 3);
    rig.types("\u{1}t");
    assert_eq!(rig.first.write(b"!\nthree\n"), 8);
    *rig.host.now.lock().unwrap() = Duration::from_millis(3_723_004);
    assert_eq!(rig.second.write(b"four"), 4);
    assert_eq!(
        rig.peer.received(),
        "one\ntwo!\n[00:00:00.000] three\n[01:02:03.004] four"
    );
    rig.types("\u{1}x");
    assert!(*rig.host.quit.lock().unwrap());
    rig.types("\u{1}h");
    assert!(rig.peer.received().contains("C-a x"));
}

#[test]
fn comings_and_goings_reach_all_and_a_chardev_below_may_change() {
    let rig = MuxRig::new();
    everything(&rig.first);
    everything(&rig.second);
    rig.peer.send(b"last words");
    rig.peer.close();
    rig.settle();
    // Somebody is there until what they left has been read.
    assert!(rig.second.is_open());
    assert_eq!(everything(&rig.first), "<Closed>");
    assert_eq!(everything(&rig.second), "last words<Closed>");
    assert!(!rig.first.is_open() && !rig.second.is_open());

    let next = Peer::new(true, 99);
    let change = Change::begin(&rig.base).unwrap();
    let mut new = next.as_new(2);
    let offer = change.offer(&mut new).unwrap();
    change.commit(offer, new, Old::Retire).unwrap();
    rig.settle();
    assert_eq!(everything(&rig.first), "<Changed><Opened>");
    assert_eq!(everything(&rig.second), "<Changed><Opened>");
    assert!(rig.first.is_open() && rig.second.is_open());
    assert_eq!(rig.second.write(b"hello"), 5);
    assert_eq!(next.received(), "hello");
}

#[test]
fn when_the_focused_one_leaves_another_has_the_focus() {
    let rig = MuxRig::new();
    assert_eq!(rig.mux.attached(), 2);
    everything(&rig.first);
    drop(rig.second);
    rig.peer.send(b"to whoever is left");
    rig.users.kick();
    assert_eq!(everything(&rig.first), "<MuxIn>to whoever is left");
    assert_eq!(rig.mux.attached(), 1);
}

#[test]
fn a_slow_front_end_holds_its_peer_back() {
    let rig = MuxRig::new();
    rig.peer.send(&[b'#'; 100_000]);
    rig.settle();
    assert!(rig.peer.world().to_read.len() > 90_000);
    assert_eq!(everything(&rig.second).matches('#').count(), 100_000);
}

#[test]
fn a_large_read_is_one_read_below() {
    let rig = MuxRig::new();
    everything(&rig.second);
    rig.peer.send(&[b'#'; 200_000]);
    rig.peer.world().asked = 0;
    let count = rig.second.read(&mut [0; 200_000]);
    assert_eq!((count, rig.peer.world().asked), (64 << 10, 1));
}

#[test]
fn what_waits_for_the_focus_comes_before_what_is_below() {
    let rig = MuxRig::new();
    everything(&rig.second);
    rig.types("waits ");
    rig.peer.send(b"below");
    assert_eq!(everything(&rig.second), "waits below");
}

#[test]
fn a_command_may_come_in_pieces() {
    for pieces in [
        &["a\u{1}cb"] as &[&str],
        &["a", "\u{1}", "c", "b"],
        &["a\u{1}", "cb"],
        &["a", "\u{1}c", "b"],
    ] {
        // Whether they come to a reader, or are looked at because something is there.
        for reads in [false, true] {
            let rig = MuxRig::new();
            let (mut first, mut second) = (everything(&rig.first), everything(&rig.second));
            for piece in pieces {
                match reads {
                    true => rig.peer.send(piece.as_bytes()),
                    false => rig.types(piece),
                }
                second += &everything(&rig.second);
                first += &everything(&rig.first);
            }
            assert_eq!(second, "<Opened><MuxIn>a<MuxOut>", "{pieces:?}");
            assert_eq!(first, "<Opened><MuxIn><MuxOut><MuxIn>b", "{pieces:?}");
        }
    }
}

#[test]
fn a_command_of_somebody_who_has_left_is_not_completed_by_the_next_one() {
    let rig = MuxRig::new();
    everything(&rig.second);
    rig.types("\u{1}");
    rig.peer.close();
    rig.peer.open();
    rig.types("c");
    assert_eq!(everything(&rig.second), "<Closed><Opened>c");
}

#[test]
fn whoever_gets_the_keys_behind_those_of_another_is_woken_when_they_have_been_read() {
    let rig = MuxRig::new();
    everything(&rig.first);
    everything(&rig.second);
    let (woken, waker) = Woken::new();
    rig.first.set_waker(Ready::READ, &waker);
    rig.types(&("#".repeat(4096) + "\u{1}cmine"));
    woken.take();
    let mut buf = [0; 5000];
    assert_eq!(rig.second.read(&mut buf[..4096]), 4096);
    while rig.woken.take() {
        rig.users.kick();
    }
    assert!(woken.take());
    assert_eq!(everything(&rig.first), "<MuxIn>mine");
}

#[test]
fn its_own_text_waits_for_room_but_no_more_of_it_than_a_page() {
    let rig = MuxRig::new();
    rig.types("\u{1}h");
    let help = rig.peer.received();
    rig.peer.world().room = 0;
    rig.types(&"\u{1}h".repeat(100));
    assert_eq!(rig.second.write(b"behind it"), 0);
    rig.peer.world().room = 99_999;
    rig.settle();
    assert_eq!(rig.second.write(b"behind it"), 9);
    let kept = 4096 / help.len();
    assert_eq!(
        rig.peer.received(),
        help.repeat(1 + kept) + "behind it",
        "{kept}"
    );
}

#[test]
fn output_is_stamped_alike_however_slowly_it_is_taken() {
    let text = "one\ntwo\n\nthree";
    for step in [1, 2, 3, 7, 20, 999] {
        let rig = MuxRig::new();
        rig.types("\u{1}t");
        assert_eq!(rig.first.write(b"begins now\n"), 11);
        let (mut written, mut tries) = (0, 0);
        while written < text.len() {
            rig.peer.world().room = step;
            written += rig.first.write(&text.as_bytes()[written..]);
            tries += 1;
            assert!(tries < 1000, "{written} of {}", text.len());
        }
        let stamp = "[00:00:00.000] ";
        assert_eq!(
            rig.peer.received(),
            format!("begins now\n{stamp}one\n{stamp}two\n{stamp}\n{stamp}three"),
            "{step} bytes at a time"
        );
    }
}
