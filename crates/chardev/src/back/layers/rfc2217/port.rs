//! front → chardev → [back] → host: a serial line as a client of RFC 2217 knows it.

use std::sync::atomic::{AtomicU64, Ordering};

use chardev_core::{
    BackendEvent, Event, Flow, FlowControl, Line, ModemChange, ModemLines, Purge, PurgeRequest,
    SerialParams, SerialRequest,
};

use super::codes::*;
use crate::back::layers::telnet::{COM_PORT, subnegotiate};

/// Tells each request from all others, whichever connection it comes by.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The most requests of one client that are answered when the front end has answered.
const UNANSWERED: usize = 256;

/// The line as the client knows it.
#[derive(Debug)]
pub(super) struct Port {
    /// The client speaks of it.
    on: bool,
    /// Requests are answered by the front end.
    watched: bool,
    modem_watched: bool,
    params: SerialParams,
    flow: FlowControl,
    /// What the front end has set up, which it is until the client says otherwise.
    own: Option<SerialParams>,
    /// Asked of the front end, and the parts that the client waits to be told of.
    asked: Option<(SerialRequest, Vec<u8>)>,
    /// The same of what is to be purged, and how the client has asked for it.
    purge: Option<(PurgeRequest, Vec<u8>)>,
    /// The client's lines, as seen at the other end of the cable.
    inputs: ModemLines,
    /// What the client sees.
    state: ModemLines,
    break_on: bool,
    line_mask: u8,
    modem_mask: u8,
    suspended: bool,
}

impl Port {
    pub(super) fn new() -> Self {
        Port {
            on: false,
            watched: false,
            modem_watched: false,
            params: SerialParams::USUAL,
            flow: FlowControl::None,
            own: None,
            asked: None,
            purge: None,
            inputs: of_dtr(true) | of_rts(true),
            state: of_dtr(true) | of_rts(true),
            break_on: false,
            line_mask: 0,
            modem_mask: 0xff,
            suspended: false,
        }
    }

    /// Whether the client speaks of it.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.suspended
    }

    pub(super) fn inputs(&self) -> ModemLines {
        self.inputs
    }

    /// Tells of a break, unless the client does not want to know by this way.
    pub(super) fn tell_break(&self, flow: &mut Flow<'_>) -> bool {
        let wanted = self.on && self.line_mask & LINE_BREAK != 0;
        if wanted {
            tell(NOTIFY_LINESTATE, &[LINE_BREAK | LINE_IDLE], flow);
        }
        wanted
    }

    /// From here on the client speaks of the line, or does not any more.
    pub(super) fn turn(&mut self, on: bool, flow: &mut Flow<'_>) {
        if !std::mem::replace(&mut self.on, on) && on {
            self.tell_modem(ModemLines::empty(), flow);
        }
    }

    /// The client has said `value` by `code`. What is not as in the RFC is left out.
    pub(super) fn take(&mut self, code: u8, value: &[u8], flow: &mut Flow<'_>) {
        match (code, value) {
            (SIGNATURE, []) => tell(SIGNATURE, NAME, flow),
            (SET_BAUDRATE, value) => {
                if let Ok(speed) = value.try_into().map(u32::from_be_bytes) {
                    self.set(code, flow, |wanted| {
                        wanted.params.speed = speed;
                        speed > 0
                    });
                }
            }
            (SET_DATASIZE, [bits]) => self.set(code, flow, |wanted| {
                wanted.params.data_bits = *bits;
                (5..=8).contains(bits)
            }),
            (SET_PARITY, [parity]) => self.set(code, flow, |wanted| {
                let parity = parity_of(*parity);
                wanted.params.parity = parity.unwrap_or(wanted.params.parity);
                parity.is_some()
            }),
            (SET_STOPSIZE, [bits]) => self.set(code, flow, |wanted| {
                wanted.params.stop_bits = *bits;
                (1..=2).contains(bits)
            }),
            (SET_CONTROL, [control]) => self.control(*control, flow),
            (NOTIFY_LINESTATE, []) => tell(code, &[LINE_IDLE], flow),
            (NOTIFY_MODEMSTATE, []) => self.tell_modem(ModemLines::empty(), flow),
            (SUSPEND, []) => self.suspended = true,
            (RESUME, []) => self.suspended = false,
            (SET_LINESTATE_MASK, [mask]) => {
                self.line_mask = *mask;
                tell(code, value, flow);
            }
            (SET_MODEMSTATE_MASK, [mask]) => {
                self.modem_mask = *mask;
                tell(code, value, flow);
                self.tell_modem(ModemLines::empty(), flow);
            }
            (PURGE_DATA, [which @ 1..=3]) => self.purge(*which, flow),
            _ => {}
        }
    }

    fn control(&mut self, control: u8, flow: &mut Flow<'_>) {
        match control {
            ASK_FLOW | 1..=3 => self.set(SET_CONTROL, flow, |wanted| {
                let known = flow_of(control);
                wanted.flow = known.unwrap_or(wanted.flow);
                known.is_some()
            }),
            BREAK_ON | BREAK_OFF => {
                let begins = control == BREAK_ON && !self.break_on;
                self.break_on = control == BREAK_ON;
                if begins {
                    flow.event(BackendEvent::Break);
                }
                tell(SET_CONTROL, &[control], flow);
            }
            ASK_BREAK => {
                let state = if self.break_on { BREAK_ON } else { BREAK_OFF };
                tell(SET_CONTROL, &[state], flow);
            }
            DTR_ON | DTR_OFF => self.set_line(of_dtr(true), control == DTR_ON, control, flow),
            RTS_ON | RTS_OFF => self.set_line(of_rts(true), control == RTS_ON, control, flow),
            ASK_DTR => {
                let on = self.inputs.contains(of_dtr(true));
                tell(SET_CONTROL, &[if on { DTR_ON } else { DTR_OFF }], flow);
            }
            ASK_RTS => {
                let on = self.inputs.contains(of_rts(true));
                tell(SET_CONTROL, &[if on { RTS_ON } else { RTS_OFF }], flow);
            }
            // Both directions have the same, and no others are known.
            _ => tell(SET_CONTROL, &[of_inbound_flow(self.flow)], flow),
        }
    }

    fn set_line(&mut self, lines: ModemLines, on: bool, control: u8, flow: &mut Flow<'_>) {
        let former = self.inputs;
        self.inputs.set(lines, on);
        let changed = former ^ self.inputs;
        if self.modem_watched && !changed.is_empty() {
            let inputs = self.inputs;
            let change = Event::Modem(ModemChange { inputs, changed });
            flow.event(BackendEvent::Tell(change));
        }
        tell(SET_CONTROL, &[control], flow);
    }

    /// Has `part` of the line set as `change` says; `false` from that means that it is not to be,
    /// or was only a question.
    fn set(
        &mut self,
        part: u8,
        flow: &mut Flow<'_>,
        change: impl FnOnce(&mut SerialRequest) -> bool,
    ) {
        let (former, mut waiting) = match &self.asked {
            Some((request, waiting)) => (*request, waiting.clone()),
            None => (self.known(), Vec::new()),
        };
        let mut wanted = former;
        if !change(&mut wanted) {
            return tell(part, &said(part, &self.params, self.flow), flow);
        }
        // Clients count the answers.
        if waiting.len() < UNANSWERED {
            waiting.push(part);
        }
        wanted.number = NUMBERS.fetch_add(1, Ordering::Relaxed) + 1;
        self.asked = Some((wanted, waiting));
        match self.watched {
            true => flow.event(BackendEvent::Tell(Event::SerialAsked(wanted))),
            false => self.answer(wanted, flow),
        }
    }

    /// The client wants the line purged. What it has sent before has been read by the time this is
    /// told. Where no other line is set up there is nothing else.
    fn purge(&mut self, code: u8, flow: &mut Flow<'_>) {
        if !self.watched {
            return tell(PURGE_DATA, &[code], flow);
        }
        let later = PurgeRequest {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed) + 1,
            which: Purge::from_bits_truncate(code),
        };
        let (request, mut waiting) = match self.purge.take() {
            Some((earlier, waiting)) => (earlier.and(later), waiting),
            None => (later, Vec::new()),
        };
        // Clients count the answers.
        if waiting.len() < UNANSWERED {
            waiting.push(code);
        }
        self.purge = Some((request, waiting));
        flow.event(BackendEvent::Tell(Event::PurgeAsked(request)));
    }

    /// All up to the request `number` have been carried out.
    fn purged(&mut self, number: u64, flow: &mut Flow<'_>) {
        let done = |(request, _): &mut (PurgeRequest, Vec<u8>)| request.number <= number;
        let waiting = self.purge.take_if(done).map(|(_, waiting)| waiting);
        for code in waiting.into_iter().flatten() {
            tell(PURGE_DATA, &[code], flow);
        }
    }

    fn known(&self) -> SerialRequest {
        SerialRequest {
            number: 0,
            params: self.params,
            flow: self.flow,
        }
    }

    /// The line is like that; whoever waits to know is told.
    fn answer(&mut self, answer: SerialRequest, flow: &mut Flow<'_>) {
        (self.params, self.flow) = (answer.params, answer.flow);
        let waiting = self.asked.take().map(|(_, waiting)| waiting);
        for part in waiting.into_iter().flatten() {
            tell(part, &said(part, &self.params, self.flow), flow);
        }
    }

    pub(super) fn apply(&mut self, line: &Line, flow: &mut Flow<'_>) {
        self.watched = line.serial_watched;
        self.modem_watched = line.modem_watched;
        if line.serial != self.own {
            self.own = line.serial;
            self.params = line.serial.unwrap_or(self.params);
        }
        if let Some((wanted, _)) = self.asked {
            let answer = line.serial_answer.filter(|it| it.number == wanted.number);
            let granted = (!self.watched).then_some(wanted);
            if let Some(answer) = answer.or(granted) {
                self.answer(answer, flow);
            }
        }
        self.purged(if self.watched { line.purged } else { u64::MAX }, flow);
        let cable = line.modem.map_or(of_dtr(true) | of_rts(true), |outputs| {
            let dtr = outputs.contains(ModemLines::DTR);
            of_dtr(dtr) | of_rts(outputs.contains(ModemLines::RTS))
        });
        let state = line.modem_relayed.unwrap_or(cable);
        let changed = std::mem::replace(&mut self.state, state) ^ state;
        if self.on && of_modem(ModemLines::empty(), changed) << 4 & self.modem_mask != 0 {
            self.tell_modem(changed, flow);
        }
    }

    fn tell_modem(&self, changed: ModemLines, flow: &mut Flow<'_>) {
        let state = of_modem(self.state, changed) & self.modem_mask;
        tell(NOTIFY_MODEMSTATE, &[state], flow);
    }
}

/// How a DTR or RTS is seen at the other end of a cable.
fn of_dtr(on: bool) -> ModemLines {
    match on {
        true => ModemLines::DSR | ModemLines::CAR,
        false => ModemLines::empty(),
    }
}

fn of_rts(on: bool) -> ModemLines {
    match on {
        true => ModemLines::CTS,
        false => ModemLines::empty(),
    }
}

fn tell(code: u8, value: &[u8], flow: &mut Flow<'_>) {
    let mut said = vec![code + ANSWER];
    said.extend_from_slice(value);
    subnegotiate(COM_PORT, &said, flow);
}
