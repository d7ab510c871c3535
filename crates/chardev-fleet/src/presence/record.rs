//! What a host says of itself and of its consoles, as JSON, which is read strictly: members that
//! are known have to be right, and nothing may be longer than what a host writes. Names of consoles
//! are written as in subjects, since JSON in QEMU's dialect does not carry every character.

use chardev::Epoch;
use chardev_qapi::{Json, Object};

use crate::subject::{self, escape, unescape};

/// How many consoles a page has at most.
pub const PAGE: usize = 100;
/// How many pages a host has at most.
pub(crate) const PAGES: usize = 10_000;
/// The longest value, in bytes: a page of the longest names.
pub(crate) const LONGEST: usize = 256 << 10;
/// The longest of all other texts, in bytes.
const LONGEST_TEXT: usize = 64;

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Which run of its part in the fleet it is: a random number.
    pub run: Epoch,
    /// The program that runs there.
    pub version: String,
    /// When that was started, in seconds since 1970 by the host's clock.
    pub started: u64,
    /// On how many pages its consoles are.
    pub pages: usize,
    /// How many consoles it has.
    pub consoles: u64,
    /// What others may do there over the fleet at most: a role; `None` if that is nothing.
    pub qmp: Option<String>,
}

/// What a host says of a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// What the host calls it.
    pub name: String,
    /// Which life of it this is.
    pub epoch: Epoch,
    /// What is on its near side, if that is known.
    pub front: Option<String>,
    /// The kind of its back end.
    pub back: String,
    /// How many bytes it had printed when this was written.
    pub offset: u64,
    /// Whether the back end is [open](chardev::FrontEnd::is_open).
    pub is_connected: bool,
    /// Since when that is so, in seconds since 1970 by the host's clock.
    pub since: u64,
}

/// Some of a host's consoles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The run that has written it.
    pub run: Epoch,
    /// They.
    pub consoles: Vec<Console>,
}

/// A value that no host writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotARecord(String);

impl std::fmt::Display for NotARecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not what a host writes: {}", self.0)
    }
}

impl std::error::Error for NotARecord {}

impl Host {
    /// As JSON. Texts are cut to what may be read.
    pub fn write(&self) -> String {
        let mut all = Object::new()
            .with("run", self.run.to_string())
            .with("version", cut(&self.version))
            .with("started", self.started)
            .with("pages", self.pages as u64)
            .with("consoles", self.consoles);
        if let Some(role) = &self.qmp {
            all.insert("qmp", cut(role));
        }
        Json::Object(all).to_string()
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(value: &[u8]) -> Result<Host, NotARecord> {
        let all = parse(value)?;
        let pages = usize::try_from(number(&all, "pages")?).unwrap_or(usize::MAX);
        if pages > PAGES {
            return Err(wrong("pages"));
        }
        Ok(Host {
            run: epoch(&all, "run")?,
            version: text(&all, "version", LONGEST_TEXT)?,
            started: number(&all, "started")?,
            pages,
            consoles: number(&all, "consoles")?,
            qmp: optional(&all, "qmp")?,
        })
    }
}

impl Page {
    /// As JSON.
    pub fn write(&self) -> String {
        let consoles = self.consoles.iter().map(|it| it.describe().into());
        let all = Object::new()
            .with("run", self.run.to_string())
            .with("consoles", Json::Array(consoles.collect()));
        Json::Object(all).to_string()
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(value: &[u8]) -> Result<Page, NotARecord> {
        let all = parse(value)?;
        let consoles = all.get("consoles").and_then(Json::as_array);
        let consoles = consoles.filter(|it| it.len() <= PAGE);
        let consoles = consoles.ok_or_else(|| wrong("consoles"))?.iter();
        Ok(Page {
            run: epoch(&all, "run")?,
            consoles: consoles.map(Console::read).collect::<Result<_, _>>()?,
        })
    }
}

impl Console {
    fn describe(&self) -> Object {
        let mut all = Object::new()
            .with("name", escape(&self.name))
            .with("epoch", self.epoch.to_string());
        if let Some(front) = &self.front {
            all.insert("front-end", cut(front));
        }
        all.with("back-end", cut(&self.back))
            .with("output-offset", self.offset)
            .with("connected", self.is_connected)
            .with("since", self.since)
    }

    fn read(all: &Json) -> Result<Console, NotARecord> {
        let connected = all.get("connected").and_then(Json::as_bool);
        let name = text(all, "name", subject::LONGEST)?;
        Ok(Console {
            name: unescape(&name).ok_or_else(|| wrong("name"))?,
            epoch: epoch(all, "epoch")?,
            front: optional(all, "front-end")?,
            back: text(all, "back-end", LONGEST_TEXT)?,
            offset: number(all, "output-offset")?,
            is_connected: connected.ok_or_else(|| wrong("connected"))?,
            since: number(all, "since")?,
        })
    }
}

fn parse(value: &[u8]) -> Result<Json, NotARecord> {
    if value.len() > LONGEST {
        return Err(NotARecord("too long".to_owned()));
    }
    let text = std::str::from_utf8(value).map_err(|error| NotARecord(error.to_string()))?;
    Json::parse(text).map_err(|error| NotARecord(error.to_string()))
}

fn text(all: &Json, name: &str, most: usize) -> Result<String, NotARecord> {
    let text = all.get(name).and_then(Json::as_str);
    let text = text.filter(|it| it.len() <= most).map(str::to_owned);
    text.ok_or_else(|| wrong(name))
}

fn optional(all: &Json, name: &str) -> Result<Option<String>, NotARecord> {
    match all.get(name) {
        None => Ok(None),
        Some(_) => text(all, name, LONGEST_TEXT).map(Some),
    }
}

fn number(all: &Json, name: &str) -> Result<u64, NotARecord> {
    let number = all.get(name).and_then(Json::as_u64);
    number.ok_or_else(|| wrong(name))
}

fn epoch(all: &Json, name: &str) -> Result<Epoch, NotARecord> {
    let text = all.get(name).and_then(Json::as_str);
    let epoch = text.and_then(|it| it.parse().ok());
    epoch.ok_or_else(|| wrong(name))
}

fn wrong(name: &str) -> NotARecord {
    NotARecord(format!("'{name}'"))
}

/// As much of a text as may be read.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
