//! front → chardev → [back] → host: one telnet connection, whatever is said over it.

use chardev_core::Flow;

use super::options::{BINARY, Options, Whose};
use super::wire::{IAC, Parser, Token, doubled, negotiate};

/// What the peer has said, options and all that concerns only the bytes left out.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::back) enum Said<'a> {
    Data(&'a [u8]),
    Command(u8),
    /// An option is on or off from here on, or is not to be had.
    Decided(Whose, u8, bool),
    Subnegotiation(u8, &'a [u8]),
}

/// The state of a connection.
#[derive(Debug)]
pub(in crate::back) struct Engine {
    parser: Parser,
    options: Options,
    /// Whether theirs says that they are binary, which is asked for each piece of data.
    is_binary: bool,
    /// To be asked for once the peer has shown that it speaks telnet.
    later: &'static [(Whose, u8)],
    /// The last byte of data was a carriage return, in either direction.
    received_return: bool,
    sent_return: bool,
}

/// What a side of a connection offers.
#[derive(Clone, Copy, Debug)]
pub(in crate::back) struct Offer {
    /// What may be on at our end, and at theirs.
    pub(in crate::back) ours: &'static [u8],
    pub(in crate::back) theirs: &'static [u8],
    /// What is asked for at once, in this order.
    pub(in crate::back) first: &'static [(Whose, u8)],
    /// What is asked for of a peer that has said anything about options.
    pub(in crate::back) later: &'static [(Whose, u8)],
}

impl Engine {
    pub(in crate::back) fn new(offer: &Offer) -> Self {
        Engine {
            parser: Parser::default(),
            options: Options::new(offer.ours, offer.theirs),
            is_binary: false,
            later: offer.later,
            received_return: false,
            sent_return: false,
        }
    }

    /// Asks for these options.
    pub(in crate::back) fn ask(&mut self, wanted: &[(Whose, u8)], flow: &mut Flow<'_>) {
        for (whose, option) in wanted {
            if let Some(verb) = self.options.ask(*whose, *option) {
                negotiate(verb, *option, flow);
            }
        }
    }

    /// Takes what came, and tells `tell` what was said.
    pub(in crate::back) fn receive(
        &mut self,
        bytes: &[u8],
        flow: &mut Flow<'_>,
        mut tell: impl FnMut(Said<'_>, &mut Flow<'_>),
    ) {
        let mut parser = std::mem::take(&mut self.parser);
        parser.parse(bytes, |token| match token {
            Token::Data(data) => self.take_data(data, |data| tell(Said::Data(data), flow)),
            Token::Command(command) => tell(Said::Command(command), flow),
            Token::Subnegotiation(option, said) => tell(Said::Subnegotiation(option, said), flow),
            Token::Negotiation(verb, option) => {
                let outcome = self.options.told(verb, option);
                self.is_binary = self.options.is_on(Whose::Theirs, BINARY);
                if let Some(answer) = outcome.answer {
                    negotiate(answer, option, flow);
                }
                let later = std::mem::take(&mut self.later);
                self.ask(later, flow);
                if let Some((whose, on)) = outcome.change {
                    tell(Said::Decided(whose, option, on), flow);
                }
            }
        });
        self.parser = parser;
    }

    /// A network virtual terminal, which a peer is until it is binary, sends a NUL behind each
    /// carriage return that does not begin a new line.
    #[inline]
    fn take_data(&mut self, data: &[u8], mut take: impl FnMut(&[u8])) {
        if self.is_binary {
            self.received_return = false;
            return take(data);
        }
        let mut rest = data;
        if std::mem::take(&mut self.received_return) && rest.first() == Some(&0) {
            rest = &rest[1..];
        }
        while let Some(at) = filled_return(rest) {
            take(&rest[..=at]);
            rest = &rest[at + 2..];
        }
        if !rest.is_empty() {
            self.received_return = rest.ends_with(b"\r");
            take(rest);
        }
    }

    /// Sends `bytes` as they are, doubled where they would say something. Those of a peer that has
    /// not refused our being binary: from the moment on when it agrees it takes us for that,
    /// although we have not heard of it yet.
    pub(in crate::back) fn send(&mut self, bytes: &[u8], flow: &mut Flow<'_>) {
        if self.options.is_hoped_for(Whose::Ours, BINARY) {
            self.sent_return = false;
            return doubled(bytes, |piece| flow.down(piece));
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\r') {
            if std::mem::take(&mut self.sent_return) && piece[0] != b'\n' {
                flow.down(&[0]);
            }
            doubled(piece, |piece| flow.down(piece));
            self.sent_return = piece.ends_with(b"\r");
        }
    }

    /// Sends a command of one byte.
    pub(in crate::back) fn command(&self, command: u8, flow: &mut Flow<'_>) {
        flow.down(&[IAC, command]);
    }
}

/// Where the first carriage return is that has a NUL behind it.
fn filled_return(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\r', bytes).find(|at| bytes.get(at + 1) == Some(&0))
}
