//! front → chardev → [back] → host: telnet's bytes taken apart, wherever they are cut.

use chardev_core::Flow;

pub(in crate::back) const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
pub(in crate::back) const SB: u8 = 250;
pub(in crate::back) const BREAK: u8 = 243;
pub(in crate::back) const SE: u8 = 240;
pub(in crate::back) const EOR: u8 = 239;

/// The longest subnegotiation that is kept; a longer one is left out as a whole.
const SUBNEGOTIATION: usize = 256;

/// What is said of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::back) enum Verb {
    Will,
    Wont,
    Do,
    Dont,
}

/// Something whole.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::back) enum Token<'a> {
    Data(&'a [u8]),
    /// A command of one byte.
    Command(u8),
    Negotiation(Verb, u8),
    /// What was said about an option, without doubled bytes.
    Subnegotiation(u8, &'a [u8]),
}

/// Takes a stream apart. What it keeps of it is bounded, whatever comes.
#[derive(Debug, Default)]
pub(in crate::back) struct Parser {
    state: Within,
    subnegotiation: Vec<u8>,
    too_long: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Data,
    Command,
    Verb(Verb),
    Subnegotiation,
    /// An IAC in a subnegotiation.
    SubnegotiationCommand,
}

impl Verb {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            WILL => Verb::Will,
            WONT => Verb::Wont,
            DO => Verb::Do,
            DONT => Verb::Dont,
            _ => return None,
        })
    }

    fn byte(self) -> u8 {
        match self {
            Verb::Will => WILL,
            Verb::Wont => WONT,
            Verb::Do => DO,
            Verb::Dont => DONT,
        }
    }
}

impl Parser {
    /// Tells `tell` of everything that is whole by now.
    pub(in crate::back) fn parse(&mut self, bytes: &[u8], mut tell: impl FnMut(Token<'_>)) {
        let mut rest = bytes;
        while let Some((first, others)) = rest.split_first() {
            match self.state {
                Within::Data => {
                    let at = plain(rest);
                    // A doubled one that is all here is the end of the data before it.
                    let doubled = rest.get(at + 1) == Some(&IAC);
                    let (data, behind) = rest.split_at(at + usize::from(doubled));
                    if !data.is_empty() {
                        tell(Token::Data(data));
                    }
                    if !behind.is_empty() && !doubled {
                        self.state = Within::Command;
                    }
                    rest = behind.get(1..).unwrap_or_default();
                    continue;
                }
                Within::Command => self.command(*first, &mut tell),
                Within::Verb(verb) => {
                    self.state = Within::Data;
                    tell(Token::Negotiation(verb, *first));
                }
                Within::Subnegotiation if *first == IAC => {
                    self.state = Within::SubnegotiationCommand;
                }
                Within::Subnegotiation => self.keep(*first),
                Within::SubnegotiationCommand => self.end_or_keep(*first, &mut tell),
            }
            rest = others;
        }
    }

    fn command(&mut self, byte: u8, tell: &mut impl FnMut(Token<'_>)) {
        self.state = Within::Data;
        match (byte, Verb::of(byte)) {
            (_, Some(verb)) => self.state = Within::Verb(verb),
            (SB, _) => self.state = Within::Subnegotiation,
            (IAC, _) => tell(Token::Data(&[IAC])),
            _ => tell(Token::Command(byte)),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.subnegotiation.len() < SUBNEGOTIATION {
            self.subnegotiation.push(byte);
        } else {
            self.too_long = true;
        }
    }

    /// Behind an IAC in a subnegotiation: anything but another IAC ends it, and if that is not what
    /// should end it, it is what comes next.
    fn end_or_keep(&mut self, byte: u8, tell: &mut impl FnMut(Token<'_>)) {
        if byte == IAC {
            self.state = Within::Subnegotiation;
            return self.keep(IAC);
        }
        let whole = std::mem::take(&mut self.subnegotiation);
        let too_long = std::mem::take(&mut self.too_long);
        self.state = Within::Data;
        if byte != SE {
            return self.command(byte, tell);
        }
        if let Some((option, said)) = whole.split_first().filter(|_| !too_long) {
            tell(Token::Subnegotiation(*option, said));
        }
    }
}

/// How many bytes come before the first IAC.
fn plain(bytes: &[u8]) -> usize {
    memchr::memchr(IAC, bytes).unwrap_or(bytes.len())
}

/// Puts `bytes` through `put` with every IAC doubled.
pub(in crate::back) fn doubled(bytes: &[u8], mut put: impl FnMut(&[u8])) {
    let mut rest = bytes;
    loop {
        match plain(rest) {
            all if all == rest.len() => return put(rest),
            at => {
                put(&rest[..=at]);
                put(&[IAC]);
                rest = &rest[at + 1..];
            }
        }
    }
}

/// Says `verb` of `option`.
pub(in crate::back) fn negotiate(verb: Verb, option: u8, flow: &mut Flow<'_>) {
    flow.down(&[IAC, verb.byte(), option]);
}

/// Says `said` about `option`.
pub(in crate::back) fn subnegotiate(option: u8, said: &[u8], flow: &mut Flow<'_>) {
    flow.down(&[IAC, SB, option]);
    doubled(said, |piece| flow.down(piece));
    flow.down(&[IAC, SE]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of `bytes` in pieces of `size`, with adjacent data as one.
    fn parsed(bytes: &[u8], size: usize) -> Vec<String> {
        let mut parser = Parser::default();
        let mut told: Vec<String> = Vec::new();
        let mut data = Vec::new();
        let mut tell = |token: Token<'_>| match token {
            Token::Data(piece) => data.extend_from_slice(piece),
            other => {
                told.push(format!("{:x?}", std::mem::take(&mut data)));
                told.push(format!("{other:?}"));
            }
        };
        for piece in bytes.chunks(size) {
            parser.parse(piece, &mut tell);
        }
        assert!(parser.subnegotiation.capacity() <= 2 * SUBNEGOTIATION);
        told.push(format!("{data:x?}"));
        told
    }

    #[test]
    fn each_thing_that_can_be_said_is_told() {
        let bytes = [
            b"a\xff\xffb".as_slice(),
            &[IAC, BREAK, IAC, DO, 0, IAC, WONT, IAC],
            &[IAC, SB, 31, 0, IAC, IAC, 0, 24, IAC, SE],
            b"c",
        ]
        .concat();
        let expected = [
            "[61, ff, 62]",
            "Command(243)",
            "[]",
            "Negotiation(Do, 0)",
            "[]",
            "Negotiation(Wont, 255)",
            "[]",
            "Subnegotiation(31, [0, 255, 0, 24])",
            "[63]",
        ];
        for size in 1..=bytes.len() {
            assert_eq!(parsed(&bytes, size), expected, "{size}");
        }
    }

    #[test]
    fn a_subnegotiation_is_bounded_and_ends_at_any_command() {
        let long = [&[IAC, SB, 31][..], &[1; 100_000], &[IAC, SE, b'x']].concat();
        assert_eq!(parsed(&long, 4096), ["[78]"]);
        let most = [&[IAC, SB, 31][..], &[1; SUBNEGOTIATION - 1], &[IAC, SE]].concat();
        assert_eq!(parsed(&most, 4096).len(), 3, "one that fits is told");
        let torn = [IAC, SB, 31, 0, IAC, BREAK, b'x'];
        assert_eq!(parsed(&torn, 1), ["[]", "Command(243)", "[78]"]);
        let empty = [IAC, SB, IAC, SE, b'x'];
        assert_eq!(parsed(&empty, 1), ["[78]"]);
    }

    #[test]
    fn what_is_doubled_is_made_single_again() {
        let all: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for bytes in [&all[..], &all[..255], &all[..256], &[IAC; 65], &[]] {
            let mut sent = Vec::new();
            doubled(bytes, |piece| sent.extend_from_slice(piece));
            let iacs = bytes.iter().filter(|byte| **byte == IAC).count();
            assert_eq!(sent.len(), bytes.len() + iacs);
            assert_eq!(parsed(&sent, 7), [format!("{bytes:x?}")]);
        }
    }
}
