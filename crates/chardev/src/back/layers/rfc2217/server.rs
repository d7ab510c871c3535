//! front → chardev → [back] → host: the side of RFC 2217 that has the serial line.
//!
//! What the client sets is asked of the front end, if that sets up another line, and answered when
//! that has; else it is granted. The client's DTR and RTS are at the front end's DSR, CD and CTS,
//! as over a null modem; the client sees the modem inputs of the front end's other line, or those
//! of such a cable.

use chardev_core::{Answer, Answers, BackendEvent, Flow, Layer, Line, ModemLines};

use super::port::Port;
use crate::back::layers::telnet::{
    BINARY, BREAK, Breaks, COM_PORT, ECHO, Engine, Offer, SUPPRESS_GO_AHEAD, Said, Whose,
};

const OFFER: Offer = Offer {
    ours: &[ECHO, SUPPRESS_GO_AHEAD, BINARY, COM_PORT],
    theirs: &[SUPPRESS_GO_AHEAD, BINARY, COM_PORT],
    first: &[
        (Whose::Ours, ECHO),
        (Whose::Ours, SUPPRESS_GO_AHEAD),
        (Whose::Ours, BINARY),
        (Whose::Theirs, BINARY),
        (Whose::Theirs, COM_PORT),
    ],
    later: &[],
};

/// One connection.
#[derive(Debug)]
pub(super) struct Server {
    engine: Engine,
    breaks: Breaks,
    port: Port,
}

impl Server {
    pub(super) fn new() -> Self {
        Server {
            engine: Engine::new(&OFFER),
            breaks: Breaks::default(),
            port: Port::new(),
        }
    }
}

impl Layer for Server {
    fn start(&mut self, flow: &mut Flow<'_>) {
        self.engine.ask(OFFER.first, flow);
    }

    fn receive(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        let port = &mut self.port;
        self.engine.receive(bytes, flow, |said, flow| match said {
            Said::Data(data) => flow.up(data),
            Said::Command(BREAK) => flow.event(BackendEvent::Break),
            Said::Decided(_, COM_PORT, on) => port.turn(on, flow),
            Said::Subnegotiation(COM_PORT, [code, value @ ..]) if port.is_on() => {
                port.take(*code, value, flow);
            }
            Said::Command(_) | Said::Decided(..) | Said::Subnegotiation(..) => {}
        });
    }

    fn room(&self) -> usize {
        match self.port.is_suspended() {
            true => 0,
            false => usize::MAX,
        }
    }

    fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        self.engine.send(bytes, flow);
    }

    fn apply(&mut self, line: &Line, answers: &mut Answers, flow: &mut Flow<'_>) {
        if self.breaks.begins(line, answers) {
            if !self.port.tell_break(flow) {
                self.engine.command(BREAK, flow);
            }
        }
        if line.modem.is_some() {
            answers.modem = Answer::Done;
        }
        self.port.apply(line, flow);
    }

    fn modem_inputs(&self) -> Option<ModemLines> {
        Some(self.port.inputs())
    }
}
