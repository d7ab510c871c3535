//! Tests of the queue as scripts: each word is a step, and what comes out is compared.

use super::fences::TailRead;
use super::{CARRY_LIMIT, ITEMS_LIMIT, InputQueue, Item};
use crate::event::Event;
use crate::line::{
    FlowControl, ModemChange, ModemLines, Parity, SerialParams, SerialRequest, TerminalSize,
};

/// Takes all that comes next for the front end: bytes, `<events>` and `{marks}`.
fn read(queue: &mut InputQueue, out: &mut String) {
    loop {
        let mut buf = [0; 3];
        let count = queue.read(&mut buf);
        if count > 0 {
            out.push_str(&String::from_utf8_lossy(&buf[..count]));
        } else if let Some(mark) = queue.next_mark() {
            out.push_str(&format!("{{{mark}}}"));
        } else if let Some(event) = queue.next_event() {
            out.push_str(&match event {
                Event::Resized(size) => format!("<{}>", size.cols),
                Event::Modem(_) => "<Modem>".to_owned(),
                event => format!("<{event:?}>"),
            });
        } else {
            return;
        }
    }
}

/// Takes all that comes next for a tail, in brackets: at its end with a dot, or with a comma.
fn read_tail(queue: &mut InputQueue, tail: u64, out: &mut String) {
    out.push('[');
    loop {
        let mut buf = [0; 3];
        match queue.read_tail(tail, &mut buf) {
            TailRead::Data(count) => out.push_str(&String::from_utf8_lossy(&buf[..count])),
            TailRead::Break => out.push('!'),
            TailRead::Mark(mark) => out.push_str(&format!("{{{mark}}}")),
            TailRead::Wait => return out.push_str(",]"),
            TailRead::End => return out.push_str(".]"),
        }
    }
}

/// What of the queue's state is so: empty, input, closed, opens, under way, of the back end.
fn state(queue: &InputQueue, out: &mut String) {
    let flags = [
        (queue.is_empty(), 'e'),
        (queue.has_input(), 'i'),
        (queue.has_closed(), 'c'),
        (queue.opens_first() == Some(true), 'o'),
        (queue.opens_first() == Some(false), 'x'),
        (queue.is_under_way(), 'u'),
        (queue.has_fence_later(), 'l'),
    ];
    out.push('=');
    out.extend(
        flags
            .iter()
            .filter_map(|(is_so, flag)| is_so.then_some(flag)),
    );
    out.push(' ');
}

/// `+ab` bytes, `O C I M ~ !` events, `R8` a size, `(` a place that settles, `:ab` what settles
/// there, `)` its end, `|7` a fence, `?7` one later, `^7` its coming, `x7` a tail given up, `m7` a
/// mark, `d7` the settling divided there, `p7` its passing; `r` reads, `t7` reads a tail, `=`
/// looks, `#` counts items.
fn run(script: &str) -> String {
    let mut queue = InputQueue::default();
    let (mut marker, mut out) = (0, String::new());
    for step in script.split_whitespace() {
        let (what, rest) = step.split_at(1);
        let number = || rest.parse::<u64>().unwrap();
        let lost = match what {
            "+" => queue.push_bytes(rest.as_bytes().to_vec()) as u64,
            "O" => queue.push_event(Event::Opened),
            "C" => queue.push_event(Event::Closed),
            "I" => queue.push_event(Event::MuxIn),
            "M" => queue.push_event(Event::MuxOut),
            "!" => queue.push_event(Event::Break),
            "~" => queue.push_event(Event::Modem(ModemChange {
                inputs: ModemLines::CTS,
                changed: ModemLines::CTS,
            })),
            "R" => queue.push_event(Event::Resized(TerminalSize {
                cols: number() as u16,
                rows: 1,
            })),
            "(" => {
                marker = queue.push_settling();
                0
            }
            ":" => queue.settle(marker, rest.as_bytes()) as u64,
            _ => {
                fences(&mut queue, what, rest, marker, &mut out);
                0
            }
        };
        assert_eq!(lost, 0, "{script}");
    }
    out.trim_end().to_owned()
}

fn fences(queue: &mut InputQueue, what: &str, rest: &str, marker: u64, out: &mut String) {
    let number = || rest.parse().unwrap();
    match what {
        ")" => queue.settled(marker),
        "|" => queue.push_fence(number()),
        "?" => queue.fence_later(number()),
        "^" => queue.fence_comes(number()),
        "x" => queue.end_tail(number()),
        "m" => queue.push_mark(number()),
        "d" => queue.divide_settling(marker, &[number()]),
        "p" => queue.settling_passes(marker, number()),
        "r" => read(queue, out),
        "t" => read_tail(queue, number(), out),
        "=" => state(queue, out),
        "#" => out.push_str(&format!("{} ", queue.items.len())),
        _ => panic!("what is {what}?"),
    }
}

#[test]
fn each_script_comes_out_as_it_should() {
    for (script, expected) in [
        // How things stand.
        ("=", "=e"),
        ("+a =", "=i"),
        ("( =", "=iu"),
        ("O =", "=o"),
        ("C =", "=cx"),
        ("I = r =", "= <MuxIn>=e"),
        ("! =", "="),
        ("O +a C =", "=ico"),
        ("C +a O =", "=icx"),
        // What stands side by side is one.
        ("R8 R9 # r", "1 <9>"),
        ("R8 ! R9 # r", "3 <8><Break><9>"),
        ("! ! ! # r", "1 <Break><Break><Break>"),
        ("O C # +a O C # r", "0 1 a"),
        ("+a ( :b ) +c # r", "1 abc"),
        ("( :a ) # r", "1 a"),
        ("( ) # =", "0 =e"),
        // A tail reads up to its fence, and others from there on.
        ("+ab |7 +cd t7 r =", "[ab.]cd=e"),
        ("+ab |7 +cd r t7 r", "cd[ab.]"),
        ("+a |7 +b |8 +c r t8 t7 =", "c[b.][a.]=e"),
        ("+a ! +b |7 ! +c t7 r", "[a!b.]<Break>c"),
        ("+a O +b |7 +c = r t7 =", "=io <Opened>c[ab.]=e"),
        ("+a |7 = t7 =", "=e [a.]=e"),
        ("|7 +a |8 = x7 = x8 = r =", "=e =e =i a=e"),
        ("+a |7 +b |8 +c x8 t7 r", "[a.]bc"),
        ("+a |7 +b x7 # r", "1 ab"),
        // A fence that is still on its way keeps everything back from who comes later.
        ("?7 = +a r t7 +b ^7 +c = r t7 =", "=ul [a,]=i c[b.]=e"),
        ("?7 ?8 +a t8 t7 ^7 +b t8 ^8 t7 t8 =", "[,][a,][b,][.][.]=e"),
        ("?7 x7 = +a r", "=e a"),
        ("?7 ! r t7", "[!,]"),
        ("?7 +a |8 t7 t8 =", "[a.][.]=e"),
        ("+z |7 O +a |8 t8 t7 r", "[a.][z.]<Opened>"),
        ("t7", "[.]"),
        // Marks are told at their places.
        ("+a m7 +b = r =", "=iu a{7}b=e"),
        ("+a m7 +b |8 = t8 =", "=e [a{7}b.]=e"),
        ("?8 m7 r t8 =", "[{7},]=ul"),
        ("O |8 m7 r", "<Opened>{7}"),
        // What settles on both sides of a fence, and of a mark.
        ("( :a d7 :b p7 :c ) = r =", "=iu ab{7}c=e"),
        ("( :ab d7 d8 p8 :c ) r", "ab{7}{8}c"),
        ("( ?3 d7 :a p3 :b p7 :c t3 r ) r =", "[a.]b{7}c=e"),
    ] {
        assert_eq!(run(script), expected, "{script}");
    }
}

#[test]
fn settling_input_has_room_beside_what_a_change_may_carry() {
    let mut queue = InputQueue::default();
    queue.push_bytes(vec![0; 2 * CARRY_LIMIT]);
    let marker = queue.push_settling();
    assert_eq!(queue.settle(marker, &vec![0; CARRY_LIMIT + 5]), 5);
    assert_eq!(queue.bytes(), 3 * CARRY_LIMIT);
}

#[test]
fn numbers_of_tails_and_places_are_never_used_twice() {
    let mut queue = InputQueue::default();
    let all = [
        queue.new_number(),
        queue.push_settling(),
        queue.new_number(),
    ];
    assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
}

/// `count` items that cannot be joined, all of them breaks between bytes.
fn filled(count: usize) -> InputQueue {
    let mut queue = InputQueue::default();
    for number in 0..count {
        match number % 2 {
            0 => assert_eq!(queue.push_event(Event::Break), 0, "{number}"),
            _ => assert_eq!(queue.push_bytes(b"x".to_vec()), 0),
        }
    }
    assert_eq!(queue.items.len(), count);
    queue
}

#[test]
fn breaks_are_left_out_oldest_first_and_counted() {
    let mut queue = filled(ITEMS_LIMIT);
    // Two at once at the oldest place.
    assert!(matches!(queue.items[0], Item::Breaks(1)));
    queue.items[0] = Item::Breaks(2);
    assert_eq!(queue.items.len(), ITEMS_LIMIT);
    // One more than may wait: half of the items have to go, and bytes stand side by side then.
    let places = ITEMS_LIMIT as u64 / 2 + 1;
    assert_eq!(queue.push_event(Event::Break), places + 1);
    let mut out = String::new();
    read(&mut queue, &mut out);
    assert_eq!(out.matches('x').count(), ITEMS_LIMIT / 2);
    assert!(out.starts_with("xxx"), "{out}");
}

#[test]
fn of_what_nobody_takes_the_last_size_and_all_modem_changes_are_kept() {
    let mut queue = filled(ITEMS_LIMIT - 8);
    let change = |inputs, changed| Event::Modem(ModemChange { inputs, changed });
    let size = |cols| Event::Resized(TerminalSize { cols, rows: 1 });
    let asked = |number| {
        let params = SerialParams {
            speed: 9600,
            parity: Parity::None,
            data_bits: 8,
            stop_bits: 1,
        };
        let flow = FlowControl::None;
        Event::SerialAsked(SerialRequest {
            number,
            params,
            flow,
        })
    };
    let (cts, ring) = (ModemLines::CTS, ModemLines::RI);
    for event in [
        asked(1),
        asked(2),
        size(1),
        asked(3),
        change(cts, cts),
        size(2),
        change(ring, ring),
        size(3),
        Event::MuxOut,
        Event::MuxIn,
    ] {
        queue.push_event(event);
    }
    let left = |wanted: &dyn Fn(Event) -> bool| {
        let is_it = |item: &&Item| matches!(item, Item::Event(event) if wanted(*event));
        queue.items.iter().filter(is_it).count()
    };
    assert_eq!(left(&|event| event == size(3)), 1);
    assert_eq!(left(&|event| event == asked(3)), 1);
    assert_eq!(left(&|event| matches!(event, Event::SerialAsked(_))), 1);
    assert_eq!(left(&|event| matches!(event, Event::Resized(_))), 1);
    assert_eq!(left(&|event| event == change(ring, cts | ring)), 1);
    assert_eq!(left(&|event| matches!(event, Event::Modem(_))), 1);
    assert_eq!(
        left(&|event| matches!(event, Event::MuxOut | Event::MuxIn)),
        0
    );
}

#[test]
fn no_more_is_left_out_than_has_to_be() {
    // A peer that came and went between bytes: half of the places have to go.
    let mut queue = InputQueue::default();
    while queue.items.len() < ITEMS_LIMIT - 2 {
        queue.push_bytes(b"x".to_vec());
        queue.push_event(Event::Closed);
        queue.push_event(Event::Opened);
    }
    let bytes = queue.bytes();
    queue.push_bytes(b"x".to_vec());
    queue.push_event(Event::Closed);
    queue.push_event(Event::Opened);
    assert_eq!(queue.items.len(), 63);
    assert_eq!(queue.bytes(), bytes + 1);

    // Where that is not enough, as many breaks go as are too many.
    let mut queue = InputQueue::default();
    for _ in 0..40 {
        queue.push_bytes(b"x".to_vec());
        queue.push_event(Event::Closed);
        queue.push_event(Event::Opened);
    }
    for number in 0..68 {
        assert_eq!(queue.push_event(Event::Break), 0, "{number}");
        assert_eq!(queue.push_event(Event::MuxIn), 0, "{number}");
    }
    assert_eq!(queue.push_event(Event::Break), 10);
}

#[test]
fn breaks_that_come_to_stand_side_by_side_are_all_kept() {
    let mut queue = InputQueue::default();
    for _ in 0..86 {
        for event in [Event::Break, Event::Closed, Event::Opened] {
            assert_eq!(queue.push_event(event), 0);
        }
    }
    assert!(queue.items.len() < ITEMS_LIMIT);
    let mut out = String::new();
    read(&mut queue, &mut out);
    assert_eq!(out.matches("<Break>").count(), 86);
}
