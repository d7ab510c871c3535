//! What must hold for telnet and its relatives, whatever a peer sends and however it is cut.

use std::io::{IoSlice, IoSliceMut};

use chardev::back::{self, LayerKind};
use chardev::spec::{OptionValue, Options};
use chardev_core::{
    Answers, BackendEvent, Event, FlowControl, Line, ModemLines, Parity, Purge, SerialParams, Stack,
};

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

/// The first byte says who listens and what the front end purges, the second how what follows is
/// cut, the third what the front end wants of the line in the middle of it.
pub(crate) fn run(data: &[u8]) {
    let [dress, cut, line, said @ ..] = data else {
        return;
    };
    let purged = Purge::from_bits_truncate(*dress / DRESSES.len() as u8);
    let dress = DRESSES[usize::from(*dress) % DRESSES.len()];
    let mut stacks = [stack(dress), stack(dress)];
    let mut told = [Told::default(), Told::default()];
    let (first, second) = said.split_at(said.len() / 2);
    for half in [first, second] {
        stacks[0].receive(half);
        for piece in half.chunks(usize::from(*cut).max(1)) {
            stacks[1].receive(piece);
        }
        for (stack, told) in stacks.iter_mut().zip(&mut told) {
            told.hear(stack);
            set_up(stack, *line, told);
            if !purged.is_empty() {
                stack.purge(purged);
            }
            stack.send(&[IoSlice::new(&[255, 13, 0, 13, 10, 65])]);
        }
    }
    let [mut whole, mut pieces] = stacks;
    let answers = wire(&mut whole);
    // Each byte that came is answered with a bounded number of others.
    assert!(answers.len() <= 512 + 64 * said.len());
    assert_eq!(answers, wire(&mut pieces), "answers depend on the cut");
    let [mut told, mut in_pieces] = told;
    told.hear(&mut whole);
    in_pieces.hear(&mut pieces);
    assert_eq!(
        told.bytes, in_pieces.bytes,
        "what is told depends on the cut"
    );
    assert_eq!(told.events, in_pieces.events, "events depend on the cut");
    assert!(told.bytes.len() <= 4 * said.len());
}

/// The line as the bits of `wanted` say, the last of them whether what was asked for is done.
fn set_up(stack: &mut Stack, wanted: u8, told: &Told) {
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
        purged: if is(128) { told.purge } else { 0 },
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

/// The bytes that came up, and how many events.
#[derive(Default)]
struct Told {
    bytes: Vec<u8>,
    events: usize,
    /// The last purge that was asked for.
    purge: u64,
}

impl Told {
    fn hear(&mut self, stack: &mut Stack) {
        loop {
            let mut buf = [0; 4096];
            let count = stack.read(&mut [IoSliceMut::new(&mut buf)]);
            self.bytes.extend_from_slice(&buf[..count]);
            match stack.poll_event() {
                Some(event) => {
                    self.events += 1;
                    if let BackendEvent::Tell(Event::PurgeAsked(request)) = event {
                        self.purge = request.number;
                    }
                }
                None if count == 0 => return,
                None => {}
            }
        }
    }
}
