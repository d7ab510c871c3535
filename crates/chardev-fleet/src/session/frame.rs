//! What a message of a session says.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::message::{KIND, Malformed, OFFSET, number};

/// The header with the session's name: 32 hexadecimal digits, which nobody guesses.
pub const SESSION: &str = "Chardev-Session";
/// The header that says up to where the sender has what was sent to it.
pub const TAKEN: &str = "Chardev-Taken";
/// The header that says up to where the sender takes more.
pub const CREDIT: &str = "Chardev-Credit";
/// The header with the offset at which the sender's bytes end, once that is known.
pub const END: &str = "Chardev-End";
/// The header that says `1` once the sender has all up to the other one's end.
pub const DONE: &str = "Chardev-Done";
/// The header that says `1` where what follows what was taken is missing.
pub const LOST: &str = "Chardev-Lost";
/// The header that says `1` where its sender wants to hear no more than the other end has by now.
pub const STOP: &str = "Chardev-Stop";
/// The longest reason for a reset, in bytes.
pub const REASON_LIMIT: usize = 512;

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

    /// Its headers.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let kind = match self.kind {
            Kind::Open => "open",
            Kind::Data => "data",
            Kind::Reset(_) => "reset",
        };
        let mut headers = vec![(SESSION, self.session.to_string()), (KIND, kind.to_owned())];
        if let Kind::Reset(_) = self.kind {
            return headers;
        }
        headers.push((OFFSET, self.offset.to_string()));
        headers.push((TAKEN, self.taken.to_string()));
        headers.push((CREDIT, self.credit.to_string()));
        headers.extend(self.end.map(|end| (END, end.to_string())));
        let flags = [(DONE, self.done), (LOST, self.lost), (STOP, self.stop)];
        for (name, is_so) in flags {
            if is_so {
                headers.push((name, "1".to_owned()));
            }
        }
        headers
    }

    /// What it carries.
    pub fn payload(&self) -> Bytes {
        match &self.kind {
            Kind::Reset(why) => why.clone().into(),
            Kind::Open | Kind::Data => self.payload.clone(),
        }
    }

    /// Reads a message by its headers.
    ///
    /// # Errors
    /// What is missing or contradicts itself. Nothing is guessed.
    pub fn parse<'a>(
        header: impl Fn(&str) -> Option<&'a str>,
        payload: Bytes,
    ) -> Result<Frame, Malformed> {
        let session = header(SESSION).ok_or(Malformed(SESSION))?.parse()?;
        let kind = match header(KIND).ok_or(Malformed(KIND))? {
            "open" => Kind::Open,
            "data" => Kind::Data,
            "reset" => {
                let why = std::str::from_utf8(&payload).ok();
                let why = why.filter(|why| why.len() <= REASON_LIMIT);
                return Ok(Frame::reset(session, why.ok_or(Malformed("reason"))?));
            }
            _ => return Err(Malformed(KIND)),
        };
        let count = |name| header(name).and_then(number).ok_or(Malformed(name));
        let flag = |name| match header(name) {
            None => Ok(false),
            Some("1") => Ok(true),
            Some(_) => Err(Malformed(name)),
        };
        let end = header(END).map(|text| number(text).ok_or(Malformed(END)));
        let offset = count(OFFSET)?;
        let to = offset.checked_add(payload.len() as u64);
        Ok(Frame {
            session,
            kind,
            offset: to.map(|_| offset).ok_or(Malformed(OFFSET))?,
            payload,
            taken: count(TAKEN)?,
            credit: count(CREDIT)?,
            end: end.transpose()?,
            done: flag(DONE)?,
            lost: flag(LOST)?,
            stop: flag(STOP)?,
        })
    }
}
