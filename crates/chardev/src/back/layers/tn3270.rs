//! front → chardev → [back] → host: the telnet of 3270 terminals.
//!
//! As in QEMU the front end has the records as they are on the wire: it reads and writes an `IAC
//! EOR` behind each, and reads what the terminal says of its type. So an IAC within a record is
//! doubled, in both directions.

use chardev_core::{BackendEvent, Flow, Layer};

use super::telnet::{
    BINARY, BREAK, END_OF_RECORD, EOR, Engine, IAC, Offer, SB, SE, Said, TERMINAL_TYPE, Whose,
    doubled, subnegotiate,
};

/// What is said of a terminal's type.
const IS: u8 = 0;
const SEND: u8 = 1;
/// What a client of ours says it is.
const MODEL: &[u8] = b"IBM-3278-2";

const SERVER: Offer = Offer {
    ours: &[END_OF_RECORD, BINARY],
    theirs: &[END_OF_RECORD, BINARY, TERMINAL_TYPE],
    first: &[
        (Whose::Theirs, END_OF_RECORD),
        (Whose::Ours, END_OF_RECORD),
        (Whose::Theirs, BINARY),
        (Whose::Ours, BINARY),
        (Whose::Theirs, TERMINAL_TYPE),
    ],
    later: &[],
};

const CLIENT: Offer = Offer {
    ours: &[END_OF_RECORD, BINARY, TERMINAL_TYPE],
    theirs: &[END_OF_RECORD, BINARY],
    first: &[],
    later: &[],
};

/// One side of a connection with a 3270 terminal.
#[derive(Debug)]
pub(super) struct Tn3270 {
    engine: Engine,
    is_server: bool,
}

impl Tn3270 {
    /// The side that was connected to: the machine.
    pub(super) fn server() -> Self {
        Tn3270 {
            engine: Engine::new(&SERVER),
            is_server: true,
        }
    }

    /// The side that connects: the terminal.
    pub(super) fn client() -> Self {
        Tn3270 {
            engine: Engine::new(&CLIENT),
            is_server: false,
        }
    }
}

impl Layer for Tn3270 {
    fn start(&mut self, flow: &mut Flow<'_>) {
        if self.is_server {
            self.engine.ask(SERVER.first, flow);
            subnegotiate(TERMINAL_TYPE, &[SEND], flow);
        }
    }

    fn receive(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        let is_server = self.is_server;
        self.engine.receive(bytes, flow, |said, flow| match said {
            Said::Data(data) => doubled(data, |piece| flow.up(piece)),
            Said::Command(EOR) => flow.up(&[IAC, EOR]),
            Said::Command(BREAK) => flow.event(BackendEvent::Break),
            Said::Subnegotiation(TERMINAL_TYPE, said) if is_server => {
                flow.up(&[IAC, SB, TERMINAL_TYPE]);
                doubled(said, |piece| flow.up(piece));
                flow.up(&[IAC, SE]);
            }
            Said::Subnegotiation(TERMINAL_TYPE, [SEND]) => {
                let mut answer = vec![IS];
                answer.extend_from_slice(MODEL);
                subnegotiate(TERMINAL_TYPE, &answer, flow);
            }
            Said::Command(_) | Said::Decided(..) | Said::Subnegotiation(..) => {}
        });
    }

    fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        flow.down(bytes);
    }
}
