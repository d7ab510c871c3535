//! What a message of a session says.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::message::{Malformed, number};

/// The header that says all of a message but its bytes: one, since each costs as much as many words
/// in one.
///
/// ```text
/// SESSION open OFFSET TAKEN CREDIT [end=OFFSET] [done] [lost] [stop]
/// SESSION data OFFSET TAKEN CREDIT [end=OFFSET] [done] [lost] [stop]
/// SESSION reset
/// ```
/// The session's name is 32 hexadecimal digits, which nobody guesses.
pub const SESSION: &str = "Chardev-Session";
/// The longest reason for a reset, in bytes.
pub const REASON_LIMIT: usize = 512;
/// The words that may follow.
const ENDS: &str = "end=";
const DONE: &str = "done";
const LOST: &str = "lost";
const STOP: &str = "stop";

/// Which session it is: a random number of 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u128);

/// What kind of message it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The session is to be opened, or has been: its sender has heard nothing yet. The payload says
    /// what with, if not with the monitor.
    Open,
    /// It goes on.
    Data,
    /// It is over, for this reason; without one, the sender does not know it.
    Reset(String),
}

/// A message of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which one.
    pub session: Id,
    /// What it is.
    pub kind: Kind,
    /// Where the bytes of its payload begin.
    pub offset: u64,
    /// The bytes, if there are any.
    pub payload: Bytes,
    /// Up to where its sender has what was sent to it.
    pub taken: u64,
    /// Up to where its sender takes more.
    pub credit: u64,
    /// Where its sender's bytes end, if that is known.
    pub end: Option<u64>,
    /// Whether its sender has all up to the other one's end.
    pub done: bool,
    /// Whether what follows `taken` is missing.
    pub lost: bool,
    /// Whether its sender wants to hear no more than the other end has by now.
    pub stop: bool,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Id {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_plain = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        let is_one = text.len() == 32 && text.bytes().all(is_plain);
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_one);
        number.map(Id).ok_or(Malformed(SESSION))
    }
}

impl Frame {
    /// One that says that a session is over, and why; without a reason, that it is unknown.
    pub fn reset(session: Id, why: &str) -> Frame {
        let mut length = why.len().min(REASON_LIMIT);
        while !why.is_char_boundary(length) {
            length -= 1;
        }
        Frame {
            session,
            kind: Kind::Reset(why[..length].to_owned()),
            offset: 0,
            payload: Bytes::new(),
            taken: 0,
            credit: 0,
            end: None,
            done: false,
            lost: false,
            stop: false,
        }
    }

    /// Its header.
    pub fn header(&self) -> String {
        let kind = match self.kind {
            Kind::Open => "open",
            Kind::Data => "data",
            Kind::Reset(_) => return format!("{} reset", self.session),
        };
        let Frame {
            session,
            offset,
            taken,
            credit,
            ..
        } = self;
        let mut header = format!("{session} {kind} {offset} {taken} {credit}");
        if let Some(end) = self.end {
            header += &format!(" {ENDS}{end}");
        }
        let flags = [(DONE, self.done), (LOST, self.lost), (STOP, self.stop)];
        for (word, _) in flags.into_iter().filter(|(_, is_so)| *is_so) {
            header.push(' ');
            header.push_str(word);
        }
        header
    }

    /// What it carries.
    pub fn payload(&self) -> Bytes {
        match &self.kind {
            Kind::Reset(why) => why.clone().into(),
            Kind::Open | Kind::Data => self.payload.clone(),
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// What is missing or contradicts itself. Nothing is guessed.
    pub fn parse(header: Option<&str>, payload: Bytes) -> Result<Frame, Malformed> {
        const WRONG: Malformed = Malformed(SESSION);
        let mut words = header.ok_or(WRONG)?.split(' ').peekable();
        let session = words.next().ok_or(WRONG)?.parse()?;
        let kind = match words.next().ok_or(WRONG)? {
            "open" => Kind::Open,
            "data" => Kind::Data,
            "reset" if words.peek().is_none() => {
                let why = std::str::from_utf8(&payload).ok();
                let why = why.filter(|why| why.len() <= REASON_LIMIT);
                return Ok(Frame::reset(session, why.ok_or(Malformed("reason"))?));
            }
            _ => return Err(WRONG),
        };
        let mut count = || words.next().and_then(number).ok_or(WRONG);
        let (offset, taken, credit) = (count()?, count()?, count()?);
        let end = words.next_if(|word| word.starts_with(ENDS));
        let end = end.map(|word| number(&word[ENDS.len()..]).ok_or(WRONG));
        let mut flag = |name: &str| words.next_if(|word| *word == name).is_some();
        let (done, lost, stop) = (flag(DONE), flag(LOST), flag(STOP));
        let to = offset.checked_add(payload.len() as u64);
        if to.is_none() || words.next().is_some() {
            return Err(WRONG);
        }
        Ok(Frame {
            session,
            kind,
            offset,
            payload,
            taken,
            credit,
            end: end.transpose()?,
            done,
            lost,
            stop,
        })
    }
}
