//! What must hold for telnet and its relatives, whatever a peer sends and however it is cut.

use std::io::{IoSlice, IoSliceMut};

use chardev::spec::{OptionValue, Options};
use chardev_core::Stack;

/// Which options, and whose side.
const DRESSES: [(&str, bool); 4] = [
    ("telnet", true),
    ("telnet", false),
    ("tn3270", true),
    ("tn3270", false),
];

/// The first byte says who listens, the second how what follows is cut.
pub(crate) fn run(data: &[u8]) {
    let [dress, cut, said @ ..] = data else {
        return;
    };
    let dress = DRESSES[usize::from(*dress) % DRESSES.len()];
    let (mut whole, mut pieces) = (stack(dress), stack(dress));
    whole.receive(said);
    for piece in said.chunks(usize::from(*cut).max(1)) {
        pieces.receive(piece);
    }
    let output = [255, 13, 0, 13, 10, 65];
    for stack in [&mut whole, &mut pieces] {
        stack.send(&[IoSlice::new(&output)]);
    }
    let answers = wire(&mut whole);
    // Each byte that came is answered with a bounded number of others.
    assert!(answers.len() <= 256 + 64 * said.len());
    assert_eq!(answers, wire(&mut pieces), "answers depend on the cut");
    let (told, in_pieces) = (told(&mut whole), told(&mut pieces));
    assert_eq!(told, in_pieces, "what is told depends on the cut");
    assert!(told.0.len() <= 4 * said.len());
}

fn stack((option, server): (&'static str, bool)) -> Stack {
    let options = Options::new("socket")
        .with(option, OptionValue::Bool(true))
        .with("server", OptionValue::Bool(server));
    let kind = chardev::back::telnet(&options).expect("the option asks for it");
    Stack::new(vec![kind.make()])
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
