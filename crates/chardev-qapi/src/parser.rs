//! A streaming parser for QEMU's JSON dialect.
//!
//! It reads one value at a time from bytes cut anywhere, without recursion and in linear time.
//! Errors come where QEMU reports them: a bad token at once, bad syntax when the brackets of the
//! whole message are balanced again, a limit at the token that goes over it.

use std::collections::HashSet;

use chardev_core::memory;

use crate::error::JsonError;
use crate::json::{Json, Object};
use crate::lexer::{Lexer, Token};
use crate::literal;
use crate::unicode::decode_lossy;

/// The text of all tokens of a message together.
pub const MAX_MESSAGE_SIZE: usize = 64 << 20;
/// How many tokens a message may have.
pub const MAX_TOKENS: usize = 2 << 20;
/// How deep lists and objects may be nested.
pub const MAX_NESTING: usize = 1024;

/// Bytes are looked at, and memory is asked for, in steps of this.
const STEP: usize = 256 << 10;
/// About how much memory a token takes beside its text.
const TOKEN_MEMORY: usize = 64;
/// Tokens up to this size are read also where there is no memory for the message: its brackets.
const SMALL: usize = 4 << 10;

/// An object with more members than this gets an index of its names while it is read.
const INDEX_FROM: usize = 16;

/// One message, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The value, or what was wrong with it.
    pub value: Result<Json, JsonError>,
    /// How many bytes of token text it had; a measure of the memory it takes.
    pub size: usize,
    /// How many tokens it had.
    pub tokens: usize,
}

impl Message {
    /// The most memory an answer takes that repeats the whole message.
    pub fn echo_memory(&self) -> usize {
        // A byte may be written as six, and a token be indented; the text may be made in a buffer
        // of twice its size, and is then copied to where the output waits.
        3 * (6 * self.size + 2 * TOKEN_MEMORY * self.tokens)
    }
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Parser {
    lexer: Lexer,
    stack: Vec<Frame>,
    value: Option<Json>,
    error: Option<JsonError>,
    braces: isize,
    brackets: isize,
    size: usize,
    tokens: usize,
    /// Up to how much memory there was some for the message when last asked.
    granted: usize,
}

/// A list or an object that is not complete yet.
#[derive(Clone, Debug)]
enum Frame {
    List {
        items: Vec<Json>,
        expect: Expect,
    },
    Members {
        object: Object,
        names: HashSet<String>,
        name: Option<String>,
        expect: Expect,
    },
}

/// What may come next in a [`Frame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// A first element or member, or the end.
    First,
    /// An element or a name.
    Next,
    Colon,
    MemberValue,
    Separator,
}

impl Default for Parser {
    fn default() -> Self {
        Parser::new()
    }
}

impl Parser {
    /// A parser at the start of a message.
    pub fn new() -> Self {
        Parser {
            lexer: Lexer::new(),
            stack: Vec::new(),
            value: None,
            error: None,
            braces: 0,
            brackets: 0,
            size: 0,
            tokens: 0,
            granted: 0,
        }
    }

    /// Reads up to the end of one message and returns how many bytes that took.
    ///
    /// No message means that all of `bytes` was taken and more are needed. A number or keyword at
    /// top level is complete only with the byte after it, which is not taken.
    pub fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Message>) {
        let mut at = 0;
        loop {
            let piece = &bytes[at..bytes.len().min(at + STEP)];
            let room = MAX_MESSAGE_SIZE - self.size;
            let is_starved = !self.has_memory(piece.len());
            let budget = if is_starved { room.min(SMALL) } else { room };
            let (used, token) = self.lexer.next(piece, budget);
            at += used;
            let message = match token {
                None if at == bytes.len() => return (at, None),
                None => None,
                Some(Token::TooBig) if budget < room => self.starve(),
                Some(token) => self.token(token),
            };
            if message.is_some() {
                return (at, message);
            }
        }
    }

    /// Whether there is memory for `more` bytes of the message.
    fn has_memory(&mut self, more: usize) -> bool {
        let needed = self.size + self.lexer.text().len() + TOKEN_MEMORY * self.tokens + more;
        // What grows is copied to where it is larger, and a text to where it is decoded.
        if needed > self.granted.max(STEP) && memory::is_available(2 * needed) {
            self.granted = needed + STEP;
        }
        needed <= self.granted.max(STEP)
    }

    /// Gives the message up; like one with an error, it is read to its end.
    fn starve(&mut self) -> Option<Message> {
        if self.braces > 0 || self.brackets > 0 {
            self.error.get_or_insert(JsonError::NoMemory);
            self.stack = Vec::new();
            return None;
        }
        Some(self.finish(Err(JsonError::NoMemory)))
    }

    fn token(&mut self, token: Token) -> Option<Message> {
        match token {
            Token::OpenBrace => self.braces += 1,
            Token::CloseBrace => self.braces -= 1,
            Token::OpenBracket => self.brackets += 1,
            Token::CloseBracket => self.brackets -= 1,
            Token::Stray => {
                let text = decode_lossy(self.lexer.text());
                let why = JsonError::syntax(format!("stray '{text}'"));
                return Some(self.finish(Err(why)));
            }
            Token::TooBig => return Some(self.limit("token size")),
            _ => {}
        }
        if self.tokens + 1 > MAX_TOKENS {
            return Some(self.limit("token count"));
        }
        if self.braces + self.brackets > MAX_NESTING as isize {
            return Some(self.limit("nesting depth"));
        }
        self.size += self.lexer.text().len();
        self.tokens += 1;
        if self.error.is_none() && !self.has_memory(0) {
            self.starve();
        }
        if self.error.is_none() {
            if let Err(error) = self.accept(token) {
                self.error = Some(error);
                // What was built is of no use any more; only the brackets are still counted.
                self.stack = Vec::new();
            }
        }
        let open = self.braces > 0 || self.brackets > 0;
        if open && self.braces >= 0 && self.brackets >= 0 {
            return None;
        }
        let value = match (self.error.take(), self.value.take()) {
            (None, Some(value)) => Ok(value),
            (Some(error), _) => Err(error),
            (None, None) => Err(JsonError::syntax("expecting value")),
        };
        Some(self.finish(value))
    }

    fn limit(&mut self, what: &'static str) -> Message {
        self.finish(Err(JsonError::Limit(what)))
    }

    fn finish(&mut self, value: Result<Json, JsonError>) -> Message {
        let (size, tokens) = (self.size, self.tokens);
        self.stack = Vec::new();
        self.value = None;
        self.error = None;
        (self.braces, self.brackets, self.size, self.tokens) = (0, 0, 0, 0);
        self.granted = 0;
        Message {
            value,
            size,
            tokens,
        }
    }

    /// Puts one token where it belongs.
    fn accept(&mut self, token: Token) -> Result<(), JsonError> {
        let Some(frame) = self.stack.last_mut() else {
            return self.begin_value(token);
        };
        match frame {
            Frame::List { expect, .. } => match (*expect, token) {
                (Expect::First | Expect::Separator, Token::CloseBracket) => self.close(),
                (Expect::Separator, Token::Comma) => {
                    *expect = Expect::Next;
                    Ok(())
                }
                (Expect::Separator, _) => Err(JsonError::syntax("expected separator in list")),
                _ => self.begin_value(token),
            },
            Frame::Members { expect, .. } => match (*expect, token) {
                (Expect::First | Expect::Separator, Token::CloseBrace) => self.close(),
                (Expect::Separator, Token::Comma) => {
                    *expect = Expect::Next;
                    Ok(())
                }
                (Expect::Separator, _) => Err(JsonError::syntax("expected separator in dict")),
                (Expect::Colon, Token::Colon) => {
                    *expect = Expect::MemberValue;
                    Ok(())
                }
                (Expect::Colon, _) => Err(JsonError::syntax("missing : in object pair")),
                _ => self.begin_value(token),
            },
        }
    }

    fn begin_value(&mut self, token: Token) -> Result<(), JsonError> {
        let text = self.lexer.text();
        let value = match token {
            Token::OpenBracket => {
                self.stack.push(Frame::List {
                    items: Vec::new(),
                    expect: Expect::First,
                });
                return Ok(());
            }
            Token::OpenBrace => {
                self.stack.push(Frame::Members {
                    object: Object::new(),
                    names: HashSet::new(),
                    name: None,
                    expect: Expect::First,
                });
                return Ok(());
            }
            Token::Integer | Token::Float => literal::number(text, token == Token::Float),
            Token::Keyword => literal::keyword(text)?,
            Token::Text => Json::Str(literal::text(text)?),
            _ => return Err(JsonError::syntax("expecting value")),
        };
        self.complete(value)
    }

    fn close(&mut self) -> Result<(), JsonError> {
        let value = match self.stack.pop() {
            Some(Frame::List { items, .. }) => Json::Array(items),
            Some(Frame::Members { object, .. }) => Json::Object(object),
            None => return Err(JsonError::syntax("expecting value")),
        };
        self.complete(value)
    }

    /// Hands a complete value to the list or object it is in.
    fn complete(&mut self, value: Json) -> Result<(), JsonError> {
        match self.stack.last_mut() {
            None => self.value = Some(value),
            Some(Frame::List { items, expect }) => {
                items.push(value);
                *expect = Expect::Separator;
            }
            Some(Frame::Members {
                object,
                names,
                name,
                expect,
            }) => match name.take() {
                None => {
                    let Json::Str(text) = value else {
                        return Err(JsonError::syntax("key is not a string in object"));
                    };
                    *name = Some(text);
                    *expect = Expect::Colon;
                }
                Some(text) => {
                    if !is_new(object, names, &text) {
                        return Err(JsonError::syntax("duplicate key"));
                    }
                    object.push_new(text, value);
                    *expect = Expect::Separator;
                }
            },
        }
        Ok(())
    }
}

/// Parses all of `bytes` as exactly one value.
pub(crate) fn parse_one(bytes: &[u8]) -> Result<Json, JsonError> {
    let mut parser = Parser::new();
    let (used, first) = parser.feed(bytes);
    // A newline completes a number or keyword at the end.
    let first = first.or_else(|| parser.feed(b"\n").1);
    let value = first
        .ok_or_else(|| JsonError::syntax("premature end of input"))?
        .value?;
    let rest = &bytes[used..];
    match rest.iter().all(u8::is_ascii_whitespace) {
        true => Ok(value),
        false => Err(JsonError::syntax("expecting end of input")),
    }
}

/// Whether `object` has no member `name` yet; large objects are looked up in `names`.
fn is_new(object: &Object, names: &mut HashSet<String>, name: &str) -> bool {
    if object.len() < INDEX_FROM {
        return object.get(name).is_none();
    }
    if names.is_empty() {
        names.extend(object.iter().map(|(name, _)| name.to_owned()));
    }
    names.insert(name.to_owned())
}
