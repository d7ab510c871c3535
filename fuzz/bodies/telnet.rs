//! What must hold for telnet and its relatives, whatever a peer sends and however it is cut.

use std::io::{IoSlice, IoSliceMut};

use chardev::back::{self, LayerKind};
use chardev::spec::{OptionValue, Options};
use chardev_core::{Answers, FlowControl, Line, ModemLines, Parity, SerialParams, Stack};

/// Which side of what.
const DRESSES: [fn() -> LayerKind; 6] = [
    || telnet("telnet", true),
    || telnet("telnet", false),
    || telnet("tn3270", true),
    || telnet("tn3270", false),
    || {
        let options = Options::new("socket").with("x-rfc2217", OptionValue::Bool(true));
        back::rfc2217(&options).expect("the option asks for it")
    },
    back::rfc2217_client,
];

/// The first byte says who listens, the second how what follows is cut, the third what the front
/// end wants of the line in the middle of it.
pub(crate) fn run(data: &[u8]) {
    let [dress, cut, line, said @ ..] = data else {
        return;
    };
    let dress = DRESSES[usize::from(*dress) % DRESSES.len()];
    let mut stacks = [stack(dress), stack(dress)];
    let (first, second) = said.split_at(said.len() / 2);
    for half in [first, second] {
        stacks[0].receive(half);
        for piece in half.chunks(usize::from(*cut).max(1)) {
            stacks[1].receive(piece);
        }
        for stack in &mut stacks {
            set_up(stack, *line);
            stack.send(&[IoSlice::new(&[255, 13, 0, 13, 10, 65])]);
        }
    }
    let [mut whole, mut pieces] = stacks;
    let answers = wire(&mut whole);
    // Each byte that came is answered with a bounded number of others.
    assert!(answers.len() <= 512 + 64 * said.len());
    assert_eq!(answers, wire(&mut pieces), "answers depend on the cut");
    let (told, in_pieces) = (told(&mut whole), told(&mut pieces));
    assert_eq!(told.0, in_pieces.0, "what is told depends on the cut");
    assert_eq!(told.1.len(), in_pieces.1.len(), "events depend on the cut");
    assert!(told.0.len() <= 4 * said.len());
}

/// The line as the bits of `wanted` say.
fn set_up(stack: &mut Stack, wanted: u8) {
    let is = |bit: u8| wanted & bit != 0;
    let line = Line {
        serial: is(1).then_some(SerialParams {
            speed: 9600 << (wanted & 1),
            parity: Parity::None,
            data_bits: 8,
            stop_bits: 1,
        }),
        flow: is(2).then_some(FlowControl::RtsCts),
        break_on: is(4),
        modem: is(8).then_some(ModemLines::DTR),
        modem_watched: is(16),
        serial_watched: is(32),
        modem_relayed: is(64).then_some(ModemLines::RI),
        ..Line::default()
    };
    let mut answers = Answers::unsupported(&line, true);
    stack.apply(&line, &mut answers);
}

fn telnet(option: &'static str, server: bool) -> LayerKind {
    let options = Options::new("socket")
        .with(option, OptionValue::Bool(true))
        .with("server", OptionValue::Bool(server));
    back::telnet(&options).expect("the option asks for it")
}

fn stack(dress: fn() -> LayerKind) -> Stack {
    Stack::new(vec![dress().make()])
}

fn wire(stack: &mut Stack) -> Vec<u8> {
    let all: Vec<u8> = stack.wire().iter().flat_map(|part| part.to_vec()).collect();
    stack.sent(all.len());
    all
}

/// The bytes that came up, and the events with their places among them.
fn told(stack: &mut Stack) -> (Vec<u8>, Vec<String>) {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    loop {
        let mut buf = [0; 4096];
        let count = stack.read(&mut [IoSliceMut::new(&mut buf)]);
        bytes.extend_from_slice(&buf[..count]);
        match stack.poll_event() {
            Some(event) => events.push(format!("{event:?} at {}", bytes.len())),
            None if count == 0 => return (bytes, events),
            None => {}
        }
    }
}
