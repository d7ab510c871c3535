//! Checks the numbered records that peers send: `<PEER:NUMBER` and a line end, where the first
//! character differs between one peer and the next, so that a record a change cut off is told from a
//! damaged one.

use crate::report::Report;

const OPENERS: [u8; 4] = *b"<[{(";
/// The records that end it, and what is to be done then.
const ENDS: [(&[u8], End); 3] = [
    (b"!stop", End::Stop),
    (b"!reset", End::Reset),
    (b"!fault", End::Fault),
];
const LONGEST: usize = 48;
/// How many peers in a row may have sent nothing.
const LOOK_AHEAD: u64 = 64;

/// What is to be done when the last record has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing more.
    Stop,
    /// To reset the machine.
    Reset,
    /// The same by faults that nobody handles.
    Fault,
}

/// A number as decimal text.
#[derive(Clone, Copy)]
pub struct Decimal {
    text: [u8; 20],
    start: usize,
}

impl Decimal {
    /// 0.
    pub const ZERO: Decimal = Decimal {
        text: [b'0'; 20],
        start: 19,
    };

    /// The text of `number`.
    pub fn new(mut number: u64) -> Self {
        let mut decimal = Decimal::ZERO;
        loop {
            decimal.text[decimal.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
            decimal.start -= 1;
        }
    }

    /// The digits.
    pub fn digits(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

/// A line that ends in a number and counts up in place. A machine that emulates its guest takes long
/// for every instruction, so counting and comparing have to make do with few.
pub struct Line {
    text: [u8; LONGEST],
    /// Where the number begins, and where the line ends.
    digits: usize,
    length: usize,
}

impl Line {
    /// `prefix`, 0 and a line end.
    pub fn new(prefix: &[&[u8]]) -> Self {
        let mut line = Line {
            text: [0; LONGEST],
            digits: 0,
            length: 0,
        };
        for piece in prefix {
            let end = line.digits + piece.len();
            line.text[line.digits..end].copy_from_slice(piece);
            line.digits = end;
        }
        line.text[line.digits..line.digits + 2].copy_from_slice(b"0\n");
        line.length = line.digits + 2;
        line
    }

    /// The line.
    pub fn text(&self) -> &[u8] {
        &self.text[..self.length]
    }

    /// The number alone.
    pub fn number(&self) -> &[u8] {
        &self.text[self.digits..self.length - 1]
    }

    /// Sets the number.
    pub fn set_number(&mut self, number: u64) {
        let number = Decimal::new(number);
        let end = self.digits + number.digits().len();
        self.text[self.digits..end].copy_from_slice(number.digits());
        self.text[end] = b'\n';
        self.length = end + 1;
    }

    /// Counts up by one.
    pub fn increment(&mut self) {
        let mut at = self.length - 2;
        while self.text[at] == b'9' {
            self.text[at] = b'0';
            if at == self.digits {
                self.text[at] = b'1';
                self.text[self.length - 1..=self.length].copy_from_slice(b"0\n");
                self.length += 1;
                return;
            }
            at -= 1;
        }
        self.text[at] += 1;
    }
}

/// What came from one peer.
#[derive(Clone, Copy)]
pub struct Sender {
    peer: u64,
    bytes: u64,
    records: u64,
}

impl Sender {
    /// Prints it as a line.
    pub fn report(&self, to: &Report<'_>) {
        to.print(b"peer", &[self.peer, self.bytes, self.records]);
    }

    /// The record that is expected first.
    fn first_record(peer: u64) -> Line {
        let opener = [OPENERS[(peer % 4) as usize]];
        Line::new(&[&opener, Decimal::new(peer).digits(), b":"])
    }
}

/// The state of the check.
pub struct Records {
    partial: [u8; LONGEST],
    length: usize,
    sender: Option<Sender>,
    /// The sender's next record, and how much of it has come; the rest of this is about records that
    /// are not the next one, or come after one that is cut off.
    next: Line,
    matched: usize,
    lost: u64,
    doubled: u64,
    reordered: u64,
    damaged: u64,
    end: Option<End>,
}

impl Records {
    /// Nothing read yet.
    pub fn new() -> Self {
        Records {
            partial: [0; LONGEST],
            length: 0,
            sender: None,
            next: Line::new(&[]),
            matched: 0,
            lost: 0,
            doubled: 0,
            reordered: 0,
            damaged: 0,
            end: None,
        }
    }

    /// What the record that ends it asked for, once it has come.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Takes in what was read next; `done` gets a sender when the next one's first record comes.
    pub fn push(&mut self, mut bytes: &[u8], done: &mut dyn FnMut(&Sender)) {
        while !bytes.is_empty() {
            let count = self.push_expected(bytes);
            if count == 0 {
                self.push_byte(bytes[0], done);
            }
            bytes = &bytes[count.max(1)..];
        }
    }

    /// Takes in what goes on with the record expected; returns how many bytes that were.
    fn push_expected(&mut self, bytes: &[u8]) -> usize {
        let Some(sender) = self.sender.as_mut().filter(|_| self.length == 0) else {
            return 0;
        };
        let rest = &self.next.text()[self.matched..];
        let count = rest.len().min(bytes.len());
        if rest[..count] != bytes[..count] {
            // What had come of it is the start of something else.
            self.partial[..self.matched].copy_from_slice(&self.next.text()[..self.matched]);
            self.length = core::mem::take(&mut self.matched);
            return 0;
        }
        self.matched += count;
        if self.matched == self.next.text().len() {
            sender.bytes += self.matched as u64;
            sender.records += 1;
            self.next.increment();
            self.matched = 0;
        }
        count
    }

    fn push_byte(&mut self, byte: u8, done: &mut dyn FnMut(&Sender)) {
        let opens = OPENERS.contains(&byte) || byte == b'!';
        if opens && self.length > 0 {
            self.cut_off(done);
        }
        if byte == b'\n' {
            self.take_record(done);
            self.length = 0;
        } else if self.length < LONGEST {
            self.partial[self.length] = byte;
            self.length += 1;
        } else {
            self.damaged += 1;
            self.length = 0;
        }
    }

    /// Nothing more comes.
    pub fn finish(&mut self, done: &mut dyn FnMut(&Sender)) {
        if let Some(sender) = self.sender.take() {
            done(&sender);
        }
    }

    /// Prints what was wrong: lost, doubled, reordered, damaged.
    pub fn report(&self, to: &Report<'_>) {
        let faults = [self.lost, self.doubled, self.reordered, self.damaged];
        to.print(b"faults", &faults);
    }

    fn take_record(&mut self, done: &mut dyn FnMut(&Sender)) {
        let record = &self.partial[..self.length];
        if let Some((_, end)) = ENDS.iter().find(|(text, _)| record == *text) {
            self.end = Some(*end);
            return;
        }
        let Some((peer, number)) = parse(record) else {
            self.damaged += 1;
            return;
        };
        let bytes = self.length as u64 + 1;
        let Some(sender) = self.sender_of(peer, done) else {
            return;
        };
        sender.bytes += bytes;
        let expected = sender.records;
        sender.records = expected.max(number + 1);
        let known = sender.records;
        self.expect(peer, known);
        if number < expected {
            self.doubled += 1;
        } else {
            self.lost += number - expected;
        }
    }

    /// The record under way ended where a change cut its sender off; so far as it goes, it must be
    /// the one expected.
    fn cut_off(&mut self, done: &mut dyn FnMut(&Sender)) {
        let (partial, length) = (self.partial, self.length);
        self.length = 0;
        let part = &partial[..length];
        // It is the sender's next one or, if that one was cut off at the end of a record, the first
        // one of a peer after it.
        let Some(peer) = self.owner_of(part) else {
            self.damaged += 1;
            return;
        };
        if let Some(sender) = self.sender_of(peer, done) {
            sender.bytes += length as u64;
        }
    }

    fn owner_of(&self, part: &[u8]) -> Option<u64> {
        let next = match self.sender {
            Some(sender) if is_prefix(part, sender.peer, sender.records) => {
                return Some(sender.peer);
            }
            Some(sender) => sender.peer + 1,
            None => 0,
        };
        (next..next + LOOK_AHEAD).find(|peer| is_prefix(part, *peer, 0))
    }

    /// The present sender, which is `peer` from now on; `None` for one that was before.
    fn sender_of(&mut self, peer: u64, done: &mut dyn FnMut(&Sender)) -> Option<&mut Sender> {
        match self.sender {
            Some(sender) if sender.peer == peer => {}
            Some(sender) if sender.peer > peer => {
                self.reordered += 1;
                return None;
            }
            former => {
                if let Some(former) = former {
                    done(&former);
                }
                self.sender = Some(Sender {
                    peer,
                    bytes: 0,
                    records: 0,
                });
                self.next = Sender::first_record(peer);
            }
        }
        self.sender.as_mut()
    }

    /// A record came the long way: the next one is `number`.
    fn expect(&mut self, peer: u64, number: u64) {
        let mut next = Sender::first_record(peer);
        next.set_number(number);
        self.next = next;
    }
}

/// Whether `part` begins the record `number` of `peer`.
fn is_prefix(part: &[u8], peer: u64, number: u64) -> bool {
    let opener = [OPENERS[(peer % 4) as usize]];
    let (peer, number) = (Decimal::new(peer), Decimal::new(number));
    let whole = [&opener[..], peer.digits(), b":", number.digits()];
    let mut whole = whole.iter().flat_map(|piece| piece.iter());
    part.iter().all(|byte| whole.next() == Some(byte))
}

fn parse(record: &[u8]) -> Option<(u64, u64)> {
    let (opener, rest) = record.split_first()?;
    let colon = rest.iter().position(|byte| *byte == b':')?;
    let peer = parse_number(&rest[..colon])?;
    let number = parse_number(&rest[colon + 1..])?;
    (*opener == OPENERS[(peer % 4) as usize]).then_some((peer, number))
}

/// The number behind `key` in a command line.
pub fn word_after(line: &[u8], key: &[u8]) -> Option<u64> {
    let mut words = line.split(|byte| *byte == b' ');
    words.find_map(|word| parse_number(word.strip_prefix(key)?))
}

/// A number in its one right spelling.
fn parse_number(digits: &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for digit in digits {
        let value = digit.checked_sub(b'0').filter(|value| *value < 10)?;
        number = number.checked_mul(10)?.checked_add(u64::from(value))?;
    }
    (Decimal::new(number).digits() == digits).then_some(number)
}
