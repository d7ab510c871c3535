//! What a message of the output stream says: which bytes of which life of a console these are.

use std::fmt;

use bytes::Bytes;
use chardev::Epoch;

/// The header with the epoch, 16 hexadecimal digits.
pub const EPOCH: &str = "Chardev-Epoch";
/// The header with the offset of the first byte.
pub const OFFSET: &str = "Chardev-Offset";
/// The header that says what kind of message it is: `output`, `gap` or `end`.
pub const KIND: &str = "Chardev-Kind";
/// The header of a gap: `FROM..TO`.
pub const GAP: &str = "Chardev-Gap";

/// A message of a console's output subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which life of the console it is about.
    pub epoch: Epoch,
    /// The offset of its first byte.
    pub offset: u64,
    /// What it says of it.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// These bytes were printed; there is at least one.
    Output(Bytes),
    /// What was printed from the message's offset up to `to` is not known: it was overwritten
    /// before it could be read.
    Gap {
        /// The offset of the first byte after it, which is above the message's.
        to: u64,
    },
    /// The console was removed: nothing comes after that offset.
    End,
}

/// What a message tells of its console without what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which life it is about.
    pub epoch: Epoch,
    /// The offset of what comes after it.
    pub end: u64,
    /// Whether that life is over.
    pub is_last: bool,
}

/// Why a message is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the message has no {} as it should be", self.0)
    }
}

impl std::error::Error for Malformed {}

impl Message {
    /// The offset of what comes after it.
    pub fn end(&self) -> u64 {
        match &self.body {
            Body::Output(bytes) => self.offset + bytes.len() as u64,
            Body::Gap { to } => *to,
            Body::End => self.offset,
        }
    }

    /// By which a server knows it again. It has the end, too: a daemon whose fleet was begun anew
    /// may cut the same output at other places, and what is longer is not the same.
    pub fn id(&self) -> String {
        let (epoch, from, to) = (self.epoch, self.offset, self.end());
        match self.body {
            Body::Output(_) => format!("{epoch}:{from}-{to}"),
            Body::Gap { .. } => format!("{epoch}:{from}..{to}"),
            Body::End => format!("{epoch}:{from}."),
        }
    }

    /// Its headers, but for its id.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let kind = match self.body {
            Body::Output(_) => "output",
            Body::Gap { .. } => "gap",
            Body::End => "end",
        };
        let mut headers = vec![
            (EPOCH, self.epoch.to_string()),
            (OFFSET, self.offset.to_string()),
            (KIND, kind.to_owned()),
        ];
        if let Body::Gap { to } = self.body {
            headers.push((GAP, format!("{}..{to}", self.offset)));
        }
        headers
    }

    /// The bytes it carries.
    pub fn payload(&self) -> Bytes {
        match &self.body {
            Body::Output(bytes) => bytes.clone(),
            Body::Gap { .. } | Body::End => Bytes::new(),
        }
    }

    /// Reads a message by its headers.
    ///
    /// # Errors
    /// What is missing or contradicts itself. Nothing is guessed.
    pub fn parse<'a>(
        header: impl Fn(&str) -> Option<&'a str>,
        payload: Bytes,
    ) -> Result<Message, Malformed> {
        let epoch = header(EPOCH).and_then(|text| text.parse().ok());
        let epoch = epoch.ok_or(Malformed(EPOCH))?;
        let offset = header(OFFSET).and_then(number).ok_or(Malformed(OFFSET))?;
        let gap = header(GAP);
        let body = match header(KIND).ok_or(Malformed(KIND))? {
            "output" if gap.is_none() => {
                let is_possible = offset.checked_add(payload.len() as u64).is_some();
                if payload.is_empty() || !is_possible {
                    return Err(Malformed("output"));
                }
                Body::Output(payload)
            }
            "gap" if payload.is_empty() => {
                let numbers = gap.and_then(|text| text.split_once(".."));
                let numbers = numbers.and_then(|(from, to)| Some((number(from)?, number(to)?)));
                match numbers {
                    Some((from, to)) if from == offset && to > from => Body::Gap { to },
                    _ => return Err(Malformed(GAP)),
                }
            }
            "end" if payload.is_empty() && gap.is_none() => Body::End,
            _ => return Err(Malformed(KIND)),
        };
        Ok(Message {
            epoch,
            offset,
            body,
        })
    }
}

impl Head {
    /// Reads a message by its headers, of which it is known how many bytes it carries.
    ///
    /// # Errors
    /// What is missing or contradicts itself.
    pub fn parse<'a>(
        header: impl Fn(&str) -> Option<&'a str>,
        length: u64,
    ) -> Result<Head, Malformed> {
        let is_output = header(KIND) == Some("output");
        // A byte stands for those that are counted.
        let payload = match is_output && length > 0 {
            true => Bytes::from_static(b"\0"),
            false => Bytes::new(),
        };
        let message = Message::parse(header, payload)?;
        let end = match message.body {
            Body::Output(_) => message.offset.checked_add(length),
            _ => Some(message.end()),
        };
        Ok(Head {
            epoch: message.epoch,
            end: end.ok_or(Malformed(OFFSET))?,
            is_last: message.body == Body::End,
        })
    }
}

/// A number as we write it, and no other spelling of it.
pub(crate) fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|c| c.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain && is_short)
}
