//! front → chardev → [back] → host: the side of RFC 2217 that wants a serial line of a server's.

use chardev_core::{
    Answer, Answers, BackendEvent, Event, Flow, FlowControl, Layer, Line, ModemChange, ModemLines,
    Purge, SerialParams,
};

use super::codes::*;
use crate::back::layers::telnet::{
    BINARY, BREAK, COM_PORT, ECHO, Engine, Offer, SUPPRESS_GO_AHEAD, Said, Whose, subnegotiate,
};

const OFFER: Offer = Offer {
    ours: &[SUPPRESS_GO_AHEAD, BINARY, COM_PORT],
    theirs: &[ECHO, SUPPRESS_GO_AHEAD, BINARY, COM_PORT],
    first: &[
        (Whose::Theirs, SUPPRESS_GO_AHEAD),
        (Whose::Ours, BINARY),
        (Whose::Theirs, BINARY),
        (Whose::Ours, COM_PORT),
    ],
    later: &[],
};

/// The most requests whose answers are waited for.
const UNANSWERED: usize = 64;

/// The parts of a line's parameters.
const PARTS: [u8; 5] = [
    SET_BAUDRATE,
    SET_DATASIZE,
    SET_PARITY,
    SET_STOPSIZE,
    SET_CONTROL,
];

/// One connection. It is open once the server has agreed to speak of its line.
#[derive(Debug)]
pub(super) struct Client {
    engine: Engine,
    remote: Remote,
}

/// The line as the server tells of it.
#[derive(Debug, Default)]
struct Remote {
    on: bool,
    refused: bool,
    /// What was asked for last.
    wanted: Option<(SerialParams, Option<FlowControl>)>,
    /// Parts that have not been answered, as often as they were asked for, and whether one was
    /// answered with something else.
    waiting: Vec<u8>,
    failed: bool,
    /// The last answers that had something pending.
    answers: Answers,
    break_on: bool,
    outputs: Option<ModemLines>,
    inputs: ModemLines,
    watched: bool,
    suspended: bool,
    /// Purges that have not been answered.
    purges: usize,
}

impl Client {
    pub(super) fn new() -> Self {
        Client {
            engine: Engine::new(&OFFER),
            remote: Remote::default(),
        }
    }
}

impl Layer for Client {
    fn start(&mut self, flow: &mut Flow<'_>) {
        self.engine.ask(OFFER.first, flow);
    }

    fn is_open(&self) -> bool {
        self.remote.on
    }

    fn receive(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        let remote = &mut self.remote;
        self.engine.receive(bytes, flow, |said, flow| match said {
            Said::Data(data) => flow.up(data),
            Said::Command(BREAK) => flow.event(BackendEvent::Break),
            Said::Decided(_, COM_PORT, true) => remote.begin(flow),
            Said::Decided(_, COM_PORT, false) => remote.refuse(flow),
            Said::Subnegotiation(COM_PORT, [code, value @ ..]) => {
                remote.told(code.wrapping_sub(ANSWER), value, flow);
            }
            Said::Command(_) | Said::Decided(..) | Said::Subnegotiation(..) => {}
        });
    }

    fn room(&self) -> usize {
        match self.remote.suspended {
            true => 0,
            false => usize::MAX,
        }
    }

    fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        self.engine.send(bytes, flow);
    }

    fn apply(&mut self, line: &Line, answers: &mut Answers, flow: &mut Flow<'_>) {
        self.remote.apply(line, answers, flow);
    }

    fn purge(&mut self, which: Purge, flow: &mut Flow<'_>) -> Answer {
        self.remote.purge(which, flow)
    }

    fn modem_inputs(&self) -> Option<ModemLines> {
        Some(self.remote.inputs)
    }
}

impl Remote {
    /// The server will speak of its line: what it is to tell.
    fn begin(&mut self, flow: &mut Flow<'_>) {
        if !self.refused && !std::mem::replace(&mut self.on, true) {
            say(SET_LINESTATE_MASK, &[LINE_BREAK], flow);
            say(SET_MODEMSTATE_MASK, &[0xff], flow);
        }
    }

    fn refuse(&mut self, flow: &mut Flow<'_>) {
        if !self.on {
            self.refused = true;
            flow.fail("the server does not speak RFC 2217");
        }
    }

    /// The server has said `value` in answer to `code`, or unasked.
    fn told(&mut self, code: u8, value: &[u8], flow: &mut Flow<'_>) {
        match (code, value) {
            (SIGNATURE, []) => say(SIGNATURE, NAME, flow),
            (NOTIFY_LINESTATE, [state]) if state & LINE_BREAK != 0 => {
                flow.event(BackendEvent::Break);
            }
            (NOTIFY_MODEMSTATE, [state]) => self.see(modem_of(*state), flow),
            (SUSPEND, []) => self.suspended = true,
            (RESUME, []) => self.suspended = false,
            (PURGE_DATA, [_]) if self.purges > 0 => {
                self.purges -= 1;
                if self.purges == 0 {
                    // Only the server knows how much it was.
                    let (input, output) = (0, 0);
                    flow.event(BackendEvent::Purged { input, output });
                }
            }
            // Of all controls flow's numbers alone are these.
            (SET_CONTROL, [control]) if flow_of(*control).is_none() => {}
            (part, value) => self.answered(part, value, flow),
        }
    }

    fn see(&mut self, inputs: ModemLines, flow: &mut Flow<'_>) {
        let changed = std::mem::replace(&mut self.inputs, inputs) ^ inputs;
        if self.watched && !changed.is_empty() {
            let change = Event::Modem(ModemChange { inputs, changed });
            flow.event(BackendEvent::Tell(change));
        }
    }

    /// A part of the line is like `value`.
    fn answered(&mut self, part: u8, value: &[u8], flow: &mut Flow<'_>) {
        let Some((params, wanted_flow)) = self.wanted else {
            return;
        };
        let Some(at) = self.waiting.iter().position(|waiting| *waiting == part) else {
            return;
        };
        self.waiting.remove(at);
        // Only the last answer is about what was asked for last.
        if self.waiting.contains(&part) {
            return;
        }
        self.failed |= value != said(part, &params, wanted_flow.unwrap_or_default());
        if self.waiting.is_empty() {
            self.answers.serial = self.outcome();
            self.answers.modem_inputs = Some(self.inputs);
            let answered = Event::LineAnswered(self.answers);
            flow.event(BackendEvent::Tell(answered));
        }
    }

    fn outcome(&self) -> Answer {
        match (self.waiting.is_empty(), self.failed) {
            (false, _) => Answer::Pending,
            (true, false) => Answer::Done,
            (true, true) => Answer::Failed,
        }
    }

    fn apply(&mut self, line: &Line, answers: &mut Answers, flow: &mut Flow<'_>) {
        if let Some(params) = line.serial {
            self.set_up(params, line.flow, flow);
            answers.serial = self.outcome();
        }
        if let Some(outputs) = line.modem {
            self.set_outputs(outputs, flow);
            answers.modem = Answer::Done;
        }
        if line.break_on != self.break_on {
            self.break_on = line.break_on;
            let control = if line.break_on { BREAK_ON } else { BREAK_OFF };
            say(SET_CONTROL, &[control], flow);
        }
        answers.break_on = match line.break_on {
            true => Answer::Done,
            false => Answer::NotAsked,
        };
        answers.modem_inputs = Some(self.inputs);
        self.watched = line.modem_watched;
        self.answers = *answers;
    }

    /// Asks for what was not asked for last.
    fn set_up(
        &mut self,
        params: SerialParams,
        wanted_flow: Option<FlowControl>,
        flow: &mut Flow<'_>,
    ) {
        let wanted = (params, wanted_flow);
        if self.wanted == Some(wanted) {
            return;
        }
        self.wanted = Some(wanted);
        self.failed = false;
        if self.waiting.len() > UNANSWERED {
            // Such a server does not answer.
            self.waiting.clear();
        }
        for part in PARTS {
            if part == SET_CONTROL && wanted_flow.is_none() {
                continue;
            }
            self.waiting.push(part);
            say(
                part,
                &said(part, &params, wanted_flow.unwrap_or_default()),
                flow,
            );
        }
    }

    /// What has come meanwhile stands before the answer, so whoever waits for that can drop it.
    fn purge(&mut self, which: Purge, flow: &mut Flow<'_>) -> Answer {
        if which.is_empty() || !self.on {
            return Answer::Done;
        }
        if self.purges > UNANSWERED {
            // Such a server does not answer.
            self.purges = 0;
        }
        self.purges += 1;
        say(PURGE_DATA, &[which.bits()], flow);
        Answer::Pending
    }

    fn set_outputs(&mut self, outputs: ModemLines, flow: &mut Flow<'_>) {
        let former = self.outputs.replace(outputs);
        for (line, on, off) in [
            (ModemLines::DTR, DTR_ON, DTR_OFF),
            (ModemLines::RTS, RTS_ON, RTS_OFF),
        ] {
            let is_on = outputs.contains(line);
            if former.is_none_or(|former| former.contains(line) != is_on) {
                say(SET_CONTROL, &[if is_on { on } else { off }], flow);
            }
        }
    }
}

fn say(code: u8, value: &[u8], flow: &mut Flow<'_>) {
    let mut said = vec![code];
    said.extend_from_slice(value);
    subnegotiate(COM_PORT, &said, flow);
}
