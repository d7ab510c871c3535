//! Answers to a line that come later than the asking.

use std::sync::Arc;
use std::task::Waker;

use chardev_core::{
    Answer, Answers, BackendEvent, BackendId, ChardevRef, Closed, Event, FlowControl, FrontEnd,
    Hub, ModemLines, Mux, Parity, Ready, SerialParams, SerialRequest,
};

use crate::rig::{Peer, link};
use crate::turn::{Host, change};

const PARAMS: SerialParams = SerialParams {
    speed: 115_200,
    parity: Parity::None,
    data_bits: 8,
    stop_bits: 1,
};

fn serial(serial: Answer) -> Answers {
    Answers {
        serial,
        open: true,
        ..Answers::default()
    }
}

/// A chardev over a peer that gives this answer at first.
fn base(label: &str, first: Answer) -> (Peer, ChardevRef) {
    let peer = Peer::new(true, 1000);
    peer.world().answers = Some(serial(first));
    let backend = peer.backend();
    let chardev = ChardevRef::new(label, BackendId(1), backend, Closed::Discard, None);
    (peer, chardev)
}

fn attach(chardev: &ChardevRef) -> FrontEnd {
    FrontEnd::attach(chardev, Arc::new(())).unwrap()
}

fn answer((peer, chardev): &(Peer, ChardevRef), later: Answer) {
    let event = BackendEvent::Tell(Event::LineAnswered(serial(later)));
    peer.world().events.push_back(event);
    let id = chardev.with(|chardev| chardev.backend_id());
    chardev.with(|chardev| chardev.handle_ready(id, Ready::empty()));
}

/// What the front end is told of the serial parameters.
fn told(front: &FrontEnd) -> Vec<Answer> {
    let mut told = Vec::new();
    loop {
        assert_eq!(front.read(&mut [0; 8]), 0);
        match front.next_event() {
            Some(Event::Changed(answers) | Event::LineAnswered(answers)) => {
                told.push(answers.serial);
            }
            Some(_) => {}
            None => return told,
        }
    }
}

#[test]
fn a_change_to_a_slow_line_is_answered_behind_the_change() {
    let old = base("con0", Answer::Done);
    let chardev = &old.1;
    let front = attach(chardev);
    assert_eq!(front.set_serial(PARAMS), Answer::Done);
    let peer = Peer::new(true, 1000);
    peer.world().answers = Some(serial(Answer::Pending));
    chardev_core::commit(vec![change(chardev, peer.as_new(2))]).unwrap();
    answer(&(peer, chardev.clone()), Answer::Failed);
    assert_eq!(told(&front), [Answer::Pending, Answer::Failed]);
}

#[test]
fn of_answers_that_nobody_takes_the_last_counts() {
    let slow = base("con0", Answer::Pending);
    let front = attach(&slow.1);
    assert_eq!(front.set_serial(PARAMS), Answer::Pending);
    for _ in 0..10_000 {
        answer(&slow, Answer::Failed);
        slow.0.world().events.push_back(BackendEvent::Break);
    }
    answer(&slow, Answer::Done);
    let told = told(&front);
    assert!(told.len() < 5_000, "{}", told.len());
    assert_eq!(told.last(), Some(&Answer::Done));
}

#[test]
fn a_multiplexer_passes_an_answer_on() {
    let slow = base("base", Answer::Pending);
    let mux = Mux::new(link(&slow.1), 1, Arc::new(Host), Waker::noop().clone());
    let chardev = ChardevRef::new("mux", BackendId(2), mux.slot(), Closed::Discard, None);
    let front = attach(&chardev);
    assert_eq!(front.set_serial(PARAMS), Answer::Pending);
    answer(&slow, Answer::Done);
    mux.users().kick();
    assert_eq!(told(&front), [Answer::Done]);
}

/// What one member can do the hub can do, so it knows only when all have answered.
#[test]
fn a_hub_answers_for_its_members() {
    for (first, second, at_first, later, at_last) in [
        (
            Answer::Pending,
            Answer::Unsupported,
            Answer::Pending,
            Answer::Done,
            Answer::Done,
        ),
        (
            Answer::Pending,
            Answer::Unsupported,
            Answer::Pending,
            Answer::Failed,
            Answer::Failed,
        ),
        (
            Answer::Pending,
            Answer::Failed,
            Answer::Pending,
            Answer::Unsupported,
            Answer::Failed,
        ),
        (
            Answer::Pending,
            Answer::Done,
            Answer::Done,
            Answer::Failed,
            Answer::Done,
        ),
    ] {
        let slow = base("slow", first);
        let other = base("other", second);
        let links = vec![link(&slow.1), link(&other.1)];
        let hub = Hub::new(links, Waker::noop().clone());
        let chardev = ChardevRef::new("hub", BackendId(2), hub.backend(), Closed::Discard, None);
        let front = attach(&chardev);
        assert_eq!(front.set_serial(PARAMS), at_first);
        answer(&slow, later);
        hub.users().kick();
        assert_eq!(told(&front), [at_last]);
    }
}

#[test]
fn what_a_peer_wants_comes_through_a_mux_or_hub_and_the_answer_goes_back() {
    let wish = |number| SerialRequest {
        number,
        params: PARAMS,
        flow: FlowControl::RtsCts,
    };
    for through in ["nothing", "mux", "hub"] {
        let (peer, below) = &base("slow", Answer::Unsupported);
        let waker = || Waker::noop().clone();
        let mux = (through == "mux").then(|| Mux::new(link(below), 1, Arc::new(Host), waker()));
        let hub = (through == "hub").then(|| Hub::new(vec![link(below)], waker()));
        let backend = match (&mux, &hub) {
            (Some(mux), _) => Some(mux.slot()),
            (_, Some(hub)) => Some(hub.backend()),
            _ => None,
        };
        let chardev = backend.map_or(below.clone(), |backend| {
            ChardevRef::new("top", BackendId(2), backend, Closed::Discard, None)
        });
        let front = attach(&chardev);
        told(&front);
        front.watch_serial(true);
        assert!(peer.world().line.serial_watched, "{through}");
        for number in 1..=3 {
            let asked = BackendEvent::Tell(Event::SerialAsked(wish(number)));
            peer.world().events.push_back(asked);
        }
        let id = below.with(|chardev| chardev.backend_id());
        below.with(|chardev| chardev.handle_ready(id, Ready::empty()));
        mux.iter().for_each(|mux| mux.users().kick());
        hub.iter().for_each(|hub| hub.users().kick());
        assert_eq!(front.next_event(), Some(Event::SerialAsked(wish(3))));
        assert_eq!(front.next_event(), None, "the last counts");
        front.answer_serial(wish(3));
        assert_eq!(peer.world().line.serial_answer, Some(wish(3)), "{through}");
        front.relay_modem(ModemLines::all(), Some(ModemLines::RI));
        front.set_serial_flow(PARAMS, FlowControl::XonXoff);
        let line = peer.world().line.clone();
        let outputs = ModemLines::DTR | ModemLines::RTS;
        assert_eq!(
            (line.modem, line.modem_relayed),
            (Some(outputs), Some(ModemLines::RI))
        );
        let set = (Some(PARAMS), Some(FlowControl::XonXoff));
        assert_eq!((line.serial, line.flow), set);
        drop(front);
        let line = peer.world().line.clone();
        let left = (line.serial_watched, line.serial_answer, line.modem_relayed);
        assert_eq!(left, (false, None, None), "{through}");
    }
}
