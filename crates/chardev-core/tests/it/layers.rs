//! Stacks of layers, without any I/O: what goes in on one side comes out on the other, however it
//! is cut into pieces and however many layers there are.

use std::io::{IoSlice, IoSliceMut};

use crate::escape::{ANSWER, BREAK, END, Escape, HELLO, PAUSE, QUESTION, REFUSAL, RESUME, encode};
use chardev_core::{Answer, Answers, BackendEvent, Flow, Layer, Line, Stack};
use proptest::prelude::*;

fn stack(layers: usize) -> Stack {
    let escape = |_| Box::new(Escape::default()) as Box<dyn Layer>;
    Stack::new((0..layers).map(escape).collect())
}

fn wire(stack: &mut Stack) -> Vec<u8> {
    let all: Vec<u8> = stack.wire().iter().flat_map(|part| part.to_vec()).collect();
    stack.sent(all.len());
    all
}

fn send(stack: &mut Stack, bytes: &[u8]) -> usize {
    stack.send(&[IoSlice::new(bytes)])
}

fn read(stack: &mut Stack) -> Vec<u8> {
    let mut buf = [0; 4096];
    let count = stack.read(&mut [IoSliceMut::new(&mut buf)]);
    buf[..count].to_vec()
}

/// A stack of one layer that is open, its greeting sent.
fn opened() -> Stack {
    let mut stack = stack(1);
    assert_eq!(wire(&mut stack), HELLO);
    assert!(!stack.is_open());
    assert_eq!(send(&mut stack, b"early"), 0);
    stack.receive(HELLO);
    assert!(stack.is_open());
    stack
}

/// Lets two stacks talk until neither has anything to say; `chunk` bytes at a time.
fn settle(one: &mut Stack, other: &mut Stack, chunk: usize) {
    while one.has_wire() || other.has_wire() {
        for bytes in wire(one).chunks(chunk) {
            other.receive(bytes);
        }
        for bytes in wire(other).chunks(chunk) {
            one.receive(bytes);
        }
    }
}

#[test]
fn layers_open_from_below_upwards_and_each_greets_once() {
    let (mut one, mut other) = (stack(3), stack(3));
    assert_eq!(wire(&mut one), HELLO, "only the lowest begins");
    one = stack(3);
    settle(&mut one, &mut other, 1);
    assert!(one.is_open() && other.is_open());
    assert!(!one.has_input() && !other.has_input());
}

#[test]
fn what_comes_with_the_greeting_is_not_lost() {
    let mut stack = stack(1);
    stack.receive(&[HELLO, b"at once"].concat());
    assert_eq!(read(&mut stack), b"at once");
}

#[test]
fn breaks_in_a_row_take_no_more_than_one() {
    let mut stack = opened();
    for _ in 0..1000 {
        stack.receive(BREAK);
    }
    stack.receive(&[b"x", BREAK].concat());
    assert_eq!(stack.events(), 2);
    for _ in 0..1000 {
        assert_eq!(stack.poll_event(), Some(BackendEvent::Break));
    }
    assert_eq!(stack.poll_event(), None);
    assert_eq!(read(&mut stack), b"x");
    assert_eq!(stack.poll_event(), Some(BackendEvent::Break));
    assert!(!stack.has_input());
}

#[test]
fn events_and_the_end_keep_their_places() {
    let mut stack = opened();
    stack.receive(&[b"before", BREAK, b"after", BREAK, END, b"never"].concat());
    assert_eq!(stack.unread(), 11);
    assert!(stack.has_events() && stack.has_end());
    assert_eq!(stack.poll_event(), None);
    assert_eq!(read(&mut stack), b"before");
    assert_eq!(read(&mut stack), b"");
    assert_eq!(stack.poll_event(), Some(BackendEvent::Break));
    assert_eq!(read(&mut stack), b"after");
    assert!(!stack.input_ended());
    assert_eq!(stack.poll_event(), Some(BackendEvent::Break));
    assert!(stack.input_ended() && stack.has_end() && !stack.has_events());
    assert_eq!(read(&mut stack), b"");
}

#[test]
fn input_is_taken_up_to_the_next_event() {
    let mut stack = opened();
    stack.receive(&[b"abcdef", BREAK, b"ghi", BREAK].concat());
    let mut two = [0; 2];
    assert_eq!(stack.read(&mut [IoSliceMut::new(&mut two)]), 2);
    assert_eq!((&two, stack.unread()), (b"ab", 7));
    assert_eq!(stack.take_input(), b"cdef");
    assert_eq!(stack.take_input(), b"");
    assert_eq!(stack.poll_event(), Some(BackendEvent::Break));
    assert_eq!(stack.take_input(), b"ghi");
    assert_eq!(stack.poll_event(), Some(BackendEvent::Break));
    assert!(!stack.has_input());
}

#[test]
fn answers_go_out_and_a_peer_that_reads_none_is_not_heard_for_ever() {
    let mut stack = opened();
    stack.receive(QUESTION);
    assert_eq!(wire(&mut stack), ANSWER);
    let mut asked = 0;
    while stack.takes_input() {
        stack.receive(&QUESTION.repeat(100));
        asked += 100;
        assert!(asked < 1_000_000);
    }
    assert!(stack.pending() <= (384 << 10) + 200);
    stack.sent(stack.pending());
    assert!(stack.takes_input());
}

#[test]
fn the_wire_is_bounded_and_says_how_much_is_pending() {
    let mut stack = opened();
    let mut taken = 0;
    loop {
        match send(&mut stack, &[b'o'; 50_000]) {
            0 => break,
            count => taken += count,
        }
    }
    assert_eq!(stack.pending(), taken);
    assert!((64 << 10..=192 << 10).contains(&taken), "{taken}");
    // The peer has nothing to do with it: the transport makes room.
    assert!(!stack.waits_for_peer());
    stack.sent(taken - 1);
    assert_eq!(stack.pending(), 1);
    assert_eq!(send(&mut stack, b"more"), 4);
    assert_eq!(wire(&mut stack), b"omore");
}

/// Or two peers that only send would wait for each other.
#[test]
fn output_that_waits_keeps_no_input_out() {
    let mut stack = opened();
    let doubled = vec![0x0b; 1 << 20];
    while send(&mut stack, &doubled[..(64 << 10) - 1]) > 0 {}
    assert!(stack.takes_input(), "{}", stack.pending());
    let mut stack = opened();
    while send(&mut stack, &doubled) > 0 {}
    assert!(stack.takes_input(), "{}", stack.pending());
}

#[test]
fn whoever_reads_is_given_what_has_just_come_behind_what_waits() {
    for layers in 1..3 {
        let mut stack = stack(layers);
        for _ in 0..layers {
            stack.receive(HELLO);
        }
        let mut buf = [0; 4];
        assert_eq!(stack.receive_for(b"abcdef", &mut buf), 4);
        assert_eq!(&buf, b"abcd");
        assert_eq!(stack.receive_for(b"g", &mut buf), 0);
        assert_eq!(read(&mut stack), b"efg");
    }
    let mut stack = opened();
    let mut buf = [0; 4];
    assert_eq!(
        stack.receive_for(&[b"a", BREAK, b"b"].concat(), &mut buf),
        1
    );
    assert_eq!(stack.receive_for(b"c", &mut buf), 0);
    assert_eq!(stack.poll_event(), Some(BackendEvent::Break));
    assert_eq!(read(&mut stack), b"bc");
}

#[test]
fn a_buffer_that_is_lent_comes_back() {
    let mut stack = opened();
    stack.lend(Vec::with_capacity(5000));
    assert_eq!(send(&mut stack, b"out"), 3);
    assert_eq!(stack.take_spare().capacity(), 0);
    stack.sent(2);
    assert_eq!(stack.take_spare().capacity(), 0);
    stack.sent(1);
    assert!(stack.take_spare().capacity() >= 5000);
    assert_eq!(stack.take_spare().capacity(), 0);
}

#[test]
fn a_layer_may_want_nothing_until_its_peer_says_so() {
    let mut stack = opened();
    stack.receive(PAUSE);
    assert_eq!((send(&mut stack, b"no"), stack.waits_for_peer()), (0, true));
    stack.receive(RESUME);
    assert_eq!(
        (send(&mut stack, b"yes"), stack.waits_for_peer()),
        (3, false)
    );
}

#[test]
fn a_failure_lets_out_what_was_said_and_nothing_more() {
    let mut stack = opened();
    stack.receive(b"good\x1b?bad");
    assert!(stack.failure().unwrap().contains("0x3f"));
    stack.receive(b"worse");
    assert_eq!(read(&mut stack), b"good");
    assert_eq!(wire(&mut stack), REFUSAL);
    assert_eq!(send(&mut stack, b"no"), 0);
}

/// Says something of its own whenever something rises.
struct Talker;

impl Layer for Talker {
    fn receive(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        flow.up(bytes);
        flow.down(b"heard");
    }

    fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        flow.down(bytes);
    }
}

#[test]
fn layers_above_one_that_failed_are_heard_no_more() {
    let mut stack = Stack::new(vec![Box::new(Talker), Box::new(Escape::default())]);
    stack.receive(&[HELLO, b"good\x1b?"].concat());
    assert_eq!(read(&mut stack), b"good");
    assert_eq!(wire(&mut stack), [HELLO, REFUSAL].concat());
    stack.send_end();
    assert!(!stack.has_wire());
}

#[test]
fn the_end_is_told_once_behind_all_output() {
    let mut stack = opened();
    assert_eq!(send(&mut stack, b"last"), 4);
    stack.send_end();
    stack.send_end();
    assert_eq!(send(&mut stack, b"too late"), 0);
    assert_eq!(wire(&mut stack), [b"last", END].concat());
}

#[test]
fn a_line_is_set_up_once_all_are_open() {
    let line = Line {
        break_on: true,
        ..Line::default()
    };
    let mut answers = Answers::default();
    let mut stack = stack(1);
    stack.apply(&line, &mut answers);
    assert_eq!(answers.break_on, Answer::NotAsked);
    stack.receive(HELLO);
    stack.apply(&line, &mut answers);
    stack.apply(&line, &mut answers);
    assert_eq!(answers.break_on, Answer::Done);
    assert_eq!(
        wire(&mut stack),
        [HELLO, BREAK].concat(),
        "set up twice, said once"
    );
}

#[test]
fn without_layers_a_stack_changes_nothing() {
    let mut stack = stack(0);
    assert!(stack.is_open());
    assert_eq!(send(&mut stack, b"\x1bout"), 4);
    stack.receive(b"\x1bin");
    assert_eq!(
        (wire(&mut stack), read(&mut stack)),
        (b"\x1bout".to_vec(), b"\x1bin".to_vec())
    );
    stack.receive_end();
    assert!(stack.input_ended());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Two stacks at the ends of a stream that is cut anywhere give each other exactly what they
    /// were given, and never hold more than they say.
    #[test]
    fn both_directions_are_exact(
        layers in 0..4_usize,
        chunk in 1..40_usize,
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..30),
    ) {
        let (mut one, mut other) = (stack(layers), stack(layers));
        settle(&mut one, &mut other, chunk);
        let (mut there, mut back) = <((Vec<u8>, Vec<u8>), (Vec<u8>, Vec<u8>))>::default();
        for (forth, piece) in pieces {
            let (from, to, said) = match forth {
                true => (&mut one, &mut other, &mut there),
                false => (&mut other, &mut one, &mut back),
            };
            prop_assert_eq!(send(from, &piece), piece.len());
            prop_assert!(from.pending() >= piece.len());
            said.0.extend(&piece);
            settle(from, to, chunk);
            prop_assert_eq!(from.pending() + to.pending(), 0);
            said.1.extend(to.take_input());
        }
        prop_assert_eq!(there.0, there.1);
        prop_assert_eq!(back.0, back.1);
        one.send_end();
        settle(&mut one, &mut other, chunk);
        prop_assert!(layers == 0 || other.input_ended());
    }

    /// Bytes that are read in any pieces, with breaks anywhere among them, come in their order.
    #[test]
    fn breaks_and_bytes_come_in_order(
        said in prop::collection::vec(prop::option::of(any::<u8>()), 0..200),
        chunk in 1..40_usize,
        room in 1..20_usize,
    ) {
        let mut stack = opened();
        let wire: Vec<u8> = said
            .iter()
            .flat_map(|what| what.map_or(BREAK.to_vec(), |byte| encode(&[byte])))
            .collect();
        wire.chunks(chunk).for_each(|bytes| stack.receive(bytes));
        let mut heard = Vec::new();
        while stack.has_input() {
            let mut buf = vec![0; room];
            let count = stack.read(&mut [IoSliceMut::new(&mut buf)]);
            heard.extend(buf[..count].iter().copied().map(Some));
            heard.extend(stack.poll_event().map(|_| None));
        }
        prop_assert_eq!(heard, said);
    }
}
