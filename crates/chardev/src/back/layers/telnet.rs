//! front → chardev → [back] → host: telnet.
//!
//! A server greets as QEMU's does, and asks for the size of the peer's window once that has shown
//! that it speaks telnet. A client wants a connection of eight bits.

mod engine;
mod options;
#[cfg(test)]
mod tests;
mod wire;

use chardev_core::spec::Options;
use chardev_core::{Answer, Answers, BackendEvent, Flow, Layer, Line, TerminalSize};

use super::tn3270::Tn3270;
use super::{LayerKind, LayerSpec, rfc2217};

pub(in crate::back) use self::engine::{Engine, Offer, Said};
pub(in crate::back) use self::options::{
    BINARY, COM_PORT, ECHO, END_OF_RECORD, SUPPRESS_GO_AHEAD, TERMINAL_TYPE, WINDOW_SIZE, Whose,
};
pub(in crate::back) use self::wire::{BREAK, EOR, IAC, SB, SE, doubled, subnegotiate};

/// Telnet and its relatives, of which a socket speaks one.
pub(super) const SPEC: LayerSpec = LayerSpec {
    options: super::options::TELNET,
    wanted: |options, _| Ok(wanted(options)),
};

/// The one that `options` ask for, if they do.
pub fn wanted(options: &Options) -> Option<LayerKind> {
    let on = |name| options.bool_or(name, false);
    let server = options.bool_or("server", true);
    let telnet = on("telnet");
    if rfc2217::is_wanted(options) {
        return None;
    }
    let kind = match (on("tn3270"), server) {
        (true, true) => LayerKind::new("tn3270", || Box::new(Tn3270::server())),
        (true, false) => LayerKind::new("tn3270 client", || Box::new(Tn3270::client())),
        _ if !telnet => return None,
        (false, true) => LayerKind::new("telnet", || Box::new(Telnet::server())),
        (false, false) => LayerKind::new("telnet client", || Box::new(Telnet::client())),
    };
    Some(match telnet {
        true => kind.shown_as("telnet"),
        false => kind,
    })
}

const SERVER: Offer = Offer {
    ours: &[ECHO, SUPPRESS_GO_AHEAD, BINARY],
    theirs: &[SUPPRESS_GO_AHEAD, BINARY, WINDOW_SIZE],
    first: &[
        (Whose::Ours, ECHO),
        (Whose::Ours, SUPPRESS_GO_AHEAD),
        (Whose::Ours, BINARY),
        (Whose::Theirs, BINARY),
    ],
    later: &[(Whose::Theirs, WINDOW_SIZE)],
};

const CLIENT: Offer = Offer {
    ours: &[SUPPRESS_GO_AHEAD, BINARY],
    theirs: &[ECHO, SUPPRESS_GO_AHEAD, BINARY],
    first: &[
        (Whose::Theirs, SUPPRESS_GO_AHEAD),
        (Whose::Ours, BINARY),
        (Whose::Theirs, BINARY),
    ],
    later: &[],
};

/// Telnet, spoken from one side of a connection.
#[derive(Debug)]
pub(super) struct Telnet {
    engine: Engine,
    offer: &'static Offer,
    breaks: Breaks,
}

impl Telnet {
    /// The side that was connected to.
    pub(super) fn server() -> Self {
        Telnet::offering(&SERVER)
    }

    /// The side that connects.
    pub(super) fn client() -> Self {
        Telnet::offering(&CLIENT)
    }

    fn offering(offer: &'static Offer) -> Self {
        Telnet {
            engine: Engine::new(offer),
            offer,
            breaks: Breaks::default(),
        }
    }
}

impl Layer for Telnet {
    fn start(&mut self, flow: &mut Flow<'_>) {
        self.engine.ask(self.offer.first, flow);
    }

    fn receive(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        self.engine.receive(bytes, flow, |said, flow| match said {
            Said::Data(data) => flow.up(data),
            Said::Command(BREAK) => flow.event(BackendEvent::Break),
            Said::Subnegotiation(WINDOW_SIZE, size) => {
                if let Some(size) = window_size(size) {
                    flow.event(BackendEvent::Resized(size));
                }
            }
            Said::Command(_) | Said::Decided(..) | Said::Subnegotiation(..) => {}
        });
    }

    fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        self.engine.send(bytes, flow);
    }

    fn apply(&mut self, line: &Line, answers: &mut Answers, flow: &mut Flow<'_>) {
        if self.breaks.begins(line, answers) {
            self.engine.command(BREAK, flow);
        }
    }
}

/// Breaks that a peer is told of when they begin; their end is not told.
#[derive(Debug, Default)]
pub(in crate::back) struct Breaks(bool);

impl Breaks {
    /// Whether a break begins by this `line`, and the answer to it.
    pub(in crate::back) fn begins(&mut self, line: &Line, answers: &mut Answers) -> bool {
        answers.break_on = match line.break_on {
            true => Answer::Done,
            false => Answer::NotAsked,
        };
        !std::mem::replace(&mut self.0, line.break_on) && line.break_on
    }
}

/// What a terminal says of its size; it may not know one of the two.
fn window_size(said: &[u8]) -> Option<TerminalSize> {
    let [cols_high, cols_low, rows_high, rows_low] = said.try_into().ok()?;
    let size = TerminalSize {
        cols: u16::from_be_bytes([cols_high, cols_low]),
        rows: u16::from_be_bytes([rows_high, rows_low]),
    };
    (size.cols > 0 && size.rows > 0).then_some(size)
}
