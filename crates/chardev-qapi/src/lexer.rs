//! The tokens of QEMU's JSON dialect, from bytes that may be cut anywhere.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    OpenBrace,
    CloseBrace,
    OpenBracket,
    CloseBracket,
    Colon,
    Comma,
    Integer,
    Float,
    Keyword,
    Text,
    /// Bytes that are no token; the lexer then skips to where one may start again.
    Stray,
    /// A token over the budget; its text is not kept and the rest of it is skipped.
    TooBig,
}

/// Where in a token the lexer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Start,
    /// After a stray token: skipping.
    Recovery,
    Text(u8),
    Escape(u8),
    Sign,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    Keyword,
}

/// What to do with the next byte.
enum Move {
    /// It is part of the token, or is skipped.
    Take(Within),
    /// It ends the token and is part of it.
    End(Token),
    /// It is not part of the token, which ends before it.
    EndBefore(Token),
    /// Look at it again as the first byte of a token.
    Restart,
}

/// Cuts bytes into tokens.
#[derive(Clone, Debug)]
pub(crate) struct Lexer {
    state: Within,
    text: Vec<u8>,
    /// The token went over the budget: its remaining bytes are looked at but not stored.
    skipping: bool,
}

/// A buffer larger than this is given back after its token.
const KEEP_CAPACITY: usize = 4096;

impl Lexer {
    pub(crate) fn new() -> Self {
        Lexer {
            state: Within::Start,
            text: Vec::new(),
            skipping: false,
        }
    }

    /// The bytes of the token that [`next`](Lexer::next) has just returned.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Reads up to the end of one token and returns how many bytes that took.
    ///
    /// No token means that all of `bytes` was taken. A token longer than `budget` comes out as
    /// [`Token::TooBig`] as soon as that is known.
    pub(crate) fn next(&mut self, bytes: &[u8], budget: usize) -> (usize, Option<Token>) {
        if self.state == Within::Start || self.state == Within::Recovery {
            self.clear();
        }
        let mut at = 0;
        while at < bytes.len() {
            let run = self.plain_run(&bytes[at..]);
            if run > 0 {
                let over = self.store(&bytes[at..at + run], budget);
                at += run;
                if over {
                    return (at, Some(Token::TooBig));
                }
                continue;
            }
            match self.step(bytes[at]) {
                Move::Restart => self.state = Within::Start,
                Move::EndBefore(token) => {
                    self.state = Within::Start;
                    if !std::mem::take(&mut self.skipping) {
                        return (at, Some(token));
                    }
                }
                Move::Take(state) => {
                    at += 1;
                    self.state = state;
                    let stored = !matches!(state, Within::Start | Within::Recovery);
                    if stored && self.store(&bytes[at - 1..at], budget) {
                        return (at, Some(Token::TooBig));
                    }
                }
                Move::End(token) => {
                    at += 1;
                    let token = self.end(bytes[at - 1], token, budget);
                    if let Some(token) = token {
                        return (at, Some(token));
                    }
                }
            }
        }
        (at, None)
    }

    /// Ends a token with its last byte.
    fn end(&mut self, byte: u8, token: Token, budget: usize) -> Option<Token> {
        self.state = if token == Token::Stray {
            Within::Recovery
        } else {
            Within::Start
        };
        if std::mem::take(&mut self.skipping) {
            // The caller knows already; only what ended it badly is news.
            self.clear();
            if token != Token::Stray {
                return None;
            }
            self.text.push(byte);
            return Some(token);
        }
        let over = self.store(&[byte], budget);
        self.skipping = false;
        Some(if over && token != Token::Stray {
            Token::TooBig
        } else {
            token
        })
    }

    /// How many bytes at the start of `bytes` are ordinary content of the text being read.
    fn plain_run(&self, bytes: &[u8]) -> usize {
        let Within::Text(quote) = self.state else {
            return 0;
        };
        bytes
            .iter()
            .position(|&b| b == quote || b == b'\\' || !(0x20..0xfe).contains(&b))
            .unwrap_or(bytes.len())
    }

    /// Adds to the token's text; true when this made it too big.
    fn store(&mut self, bytes: &[u8], budget: usize) -> bool {
        if self.skipping {
            return false;
        }
        if self.text.len() + bytes.len() >= budget {
            self.text = Vec::new();
            self.skipping = true;
            return true;
        }
        self.text.extend_from_slice(bytes);
        false
    }

    fn clear(&mut self) {
        if self.text.capacity() > KEEP_CAPACITY {
            self.text = Vec::new();
        }
        self.text.clear();
    }

    fn step(&self, byte: u8) -> Move {
        use Move::{End, EndBefore, Take};
        match (self.state, byte) {
            (Within::Start, _) => start(byte),
            (Within::Recovery, 0x00..=0x1f | 0xfe.. | b'{' | b'}' | b'[' | b']' | b':' | b',') => {
                Move::Restart
            }
            (Within::Recovery, _) => Take(Within::Recovery),

            (Within::Text(quote), b) if b == quote => End(Token::Text),
            (Within::Text(quote), b'\\') => Take(Within::Escape(quote)),
            (Within::Text(quote) | Within::Escape(quote), 0x20..=0xfd) => Take(Within::Text(quote)),

            (Within::Sign, b'0') => Take(Within::Zero),
            (Within::Sign, b'1'..=b'9') => Take(Within::Digits),
            (Within::Digits, b'0'..=b'9') => Take(Within::Digits),
            (Within::Zero | Within::Digits, b'.') => Take(Within::Point),
            (Within::Zero | Within::Digits | Within::Fraction, b'e' | b'E') => {
                Take(Within::Exponent)
            }
            (Within::Zero, b'0'..=b'9') => End(Token::Stray),
            (Within::Zero | Within::Digits, _) => EndBefore(Token::Integer),
            (Within::Point | Within::Fraction, b'0'..=b'9') => Take(Within::Fraction),
            (Within::Exponent, b'+' | b'-') => Take(Within::ExponentSign),
            (Within::Exponent | Within::ExponentSign | Within::ExponentDigits, b'0'..=b'9') => {
                Take(Within::ExponentDigits)
            }
            (Within::Fraction | Within::ExponentDigits, _) => EndBefore(Token::Float),

            (Within::Keyword, b'a'..=b'z') => Take(Within::Keyword),
            (Within::Keyword, _) => EndBefore(Token::Keyword),
            _ => End(Token::Stray),
        }
    }
}

/// The first byte of a token.
fn start(byte: u8) -> Move {
    match byte {
        b' ' | b'\t' | b'\r' | b'\n' => Move::Take(Within::Start),
        b'"' | b'\'' => Move::Take(Within::Text(byte)),
        b'0' => Move::Take(Within::Zero),
        b'1'..=b'9' => Move::Take(Within::Digits),
        b'-' => Move::Take(Within::Sign),
        b'a'..=b'z' => Move::Take(Within::Keyword),
        b'{' => Move::End(Token::OpenBrace),
        b'}' => Move::End(Token::CloseBrace),
        b'[' => Move::End(Token::OpenBracket),
        b']' => Move::End(Token::CloseBracket),
        b':' => Move::End(Token::Colon),
        b',' => Move::End(Token::Comma),
        _ => Move::End(Token::Stray),
    }
}
