//! front → chardev → [back] → host: the frames of websocket, RFC 6455 part 5.

use super::utf8::Utf8;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The most that a control frame carries.
const CONTROL_LIMIT: u64 = 125;
/// What a close frame says when the connection has done its work.
pub(super) const GOING: &[u8] = &1000u16.to_be_bytes();

const PROTOCOL_ERROR: u16 = 1002;
const NOT_TEXT: u16 = 1007;

/// What a peer did that the protocol forbids.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The status that it is told.
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

impl Violation {
    fn protocol(reason: &'static str) -> Self {
        Violation {
            code: PROTOCOL_ERROR,
            reason,
        }
    }

    fn text() -> Self {
        Violation {
            code: NOT_TEXT,
            reason: "the peer sent text that is not UTF-8",
        }
    }
}

/// What came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Nothing,
    /// A piece of a binary message.
    Binary(Masked<'a>),
    /// A piece of a text; the payload is what came of it.
    Text,
    Ping,
    Pong,
    Close,
}

/// Bytes as they were sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Masked<'a> {
    bytes: &'a [u8],
    mask: [u8; 4],
}

impl Masked<'_> {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Fills `buf`, which is not longer than the rest, with what they mean.
    pub(super) fn read(&mut self, buf: &mut [u8]) {
        let (now, later) = self.bytes.split_at(buf.len());
        copy_masked(self.mask, now, buf);
        self.mask.rotate_left(now.len() % 4);
        self.bytes = later;
    }
}

/// Makes payloads of frames, however they are cut.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Frames have to be masked: they come from a client. Those of a server may not be.
    from_client: bool,
    head: Vec<u8>,
    frame: Option<Frame>,
    /// The message that is being sent in fragments: whether it is text.
    message: Option<bool>,
    text: Utf8,
    payload: Vec<u8>,
}

/// A frame whose head has come.
#[derive(Debug)]
struct Frame {
    opcode: u8,
    is_final: bool,
    left: u64,
    /// From its next byte on.
    mask: [u8; 4],
}

impl Decoder {
    /// Of what a client sends, or else a server.
    pub(super) fn new(from_client: bool) -> Self {
        Decoder {
            from_client,
            head: Vec::new(),
            frame: None,
            message: None,
            text: Utf8::default(),
            payload: Vec::new(),
        }
    }

    /// The payload of what was found.
    pub(super) fn take_payload(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.payload)
    }

    /// The payload's buffer, for the next one.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.payload = buffer;
    }

    /// Takes some of `bytes`, which are not empty; returns how many.
    ///
    /// # Errors
    /// The peer does not keep to the protocol. The payload is what was right before that.
    pub(super) fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, Found<'a>), Violation> {
        let taken = match &self.frame {
            None => self.take_head(bytes)?,
            Some(_) => 0,
        };
        let Some(frame) = &mut self.frame else {
            return Ok((taken, Found::Nothing));
        };
        let rest = &bytes[taken..];
        let count = usize::try_from(frame.left).map_or(rest.len(), |left| left.min(rest.len()));
        let mut masked = Masked {
            bytes: &rest[..count],
            mask: frame.mask,
        };
        frame.mask.rotate_left(count % 4);
        frame.left -= count as u64;
        let (opcode, is_final, complete) = (frame.opcode, frame.is_final, frame.left == 0);
        if complete {
            self.frame = None;
        }
        if opcode < CLOSE && self.message == Some(false) {
            if complete && is_final {
                self.message = None;
            }
            return Ok((taken + count, Found::Binary(masked)));
        }
        let begin = self.payload.len();
        self.payload.resize(begin + count, 0);
        masked.read(&mut self.payload[begin..]);
        let found = match opcode {
            CLOSE.. if !complete => Found::Nothing,
            CLOSE => self.close()?,
            PING => Found::Ping,
            PONG => Found::Pong,
            _ => self.text(complete && is_final)?,
        };
        Ok((taken + count, found))
    }

    fn close(&mut self) -> Result<Found<'static>, Violation> {
        let checked = check_close(&self.payload);
        if checked.is_err() {
            self.payload.clear();
        }
        checked.map(|()| Found::Close)
    }

    /// The payload is the next piece of a text, of which only whole characters go on.
    fn text(&mut self, is_end: bool) -> Result<Found<'static>, Violation> {
        if !self.text.filter(&mut self.payload) {
            return Err(Violation::text());
        }
        if is_end {
            self.message = None;
            if !std::mem::take(&mut self.text).is_whole() {
                return Err(Violation::text());
            }
        }
        Ok(Found::Text)
    }

    /// Takes what belongs to the head of a frame.
    fn take_head(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut taken = 0;
        loop {
            let wanted = self.head_length();
            if self.head.len() == wanted {
                break;
            }
            let Some(byte) = bytes.get(taken) else {
                return Ok(taken);
            };
            self.head.push(*byte);
            taken += 1;
            // As soon as it can be seen: nothing of such a frame is waited for.
            self.check_beginning()?;
        }
        let frame = self.read_head()?;
        self.head.clear();
        match frame.opcode {
            TEXT | BINARY => self.message = Some(frame.opcode == TEXT),
            _ => {}
        }
        self.frame = Some(frame);
        Ok(taken)
    }

    /// How long the head is, as far as can be told by now.
    fn head_length(&self) -> usize {
        let Some(second) = self.head.get(1) else {
            return 2;
        };
        let mask = if second & MASKED == 0 { 0 } else { 4 };
        match second & !MASKED {
            126 => 2 + 2 + mask,
            127 => 2 + 8 + mask,
            _ => 2 + mask,
        }
    }

    fn check_beginning(&self) -> Result<(), Violation> {
        let first = self.head[0];
        let opcode = first & 0x0f;
        match self.head[1..] {
            [] => {}
            [second, ..] => return self.check_second(opcode, second),
        }
        if first & 0x70 != 0 {
            return Err(Violation::protocol("the peer set a reserved bit"));
        }
        let is_final = first & FINAL != 0;
        match (opcode, self.message) {
            (CONTINUATION, None) => Err(Violation::protocol(
                "the peer continued a message it had not begun",
            )),
            (TEXT | BINARY, Some(_)) => Err(Violation::protocol(
                "the peer began a message before ending the last one",
            )),
            (CLOSE | PING | PONG, _) if !is_final => Err(Violation::protocol(
                "the peer sent a fragmented control frame",
            )),
            (CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG, _) => Ok(()),
            _ => Err(Violation::protocol(
                "the peer sent a frame with an unknown opcode",
            )),
        }
    }

    fn check_second(&self, opcode: u8, second: u8) -> Result<(), Violation> {
        match (self.from_client, second & MASKED != 0) {
            (true, false) => return Err(Violation::protocol("the client did not mask a frame")),
            (false, true) => return Err(Violation::protocol("the server masked a frame")),
            _ => {}
        }
        match opcode >= CLOSE && u64::from(second & !MASKED) > CONTROL_LIMIT {
            true => Err(Violation::protocol(
                "the peer sent a control frame that is too long",
            )),
            false => Ok(()),
        }
    }

    fn read_head(&self) -> Result<Frame, Violation> {
        let (first, second) = (self.head[0], self.head[1]);
        let rest = &self.head[2..];
        let (length, mask) = match second & !MASKED {
            126 => rest.split_at(2),
            127 => rest.split_at(8),
            _ => (&[second & !MASKED][..], rest),
        };
        let left = length
            .iter()
            .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        if left > i64::MAX as u64 {
            return Err(Violation::protocol("the peer sent a negative length"));
        }
        Ok(Frame {
            opcode: first & 0x0f,
            is_final: first & FINAL != 0,
            left,
            mask: mask.try_into().unwrap_or([0; 4]),
        })
    }
}

/// Makes of `from` what it is with `mask`, or was without; `to` is as long.
fn copy_masked(mask: [u8; 4], from: &[u8], to: &mut [u8]) {
    if mask == [0; 4] {
        return to.copy_from_slice(from);
    }
    // As many bytes at once as a machine has in a wide register.
    let wide: [u8; 32] = std::array::from_fn(|at| mask[at % 4]);
    let mut pieces = to.chunks_exact_mut(wide.len());
    let mut wholes = from.chunks_exact(wide.len());
    for (to, from) in (&mut pieces).zip(&mut wholes) {
        for ((to, from), mask) in to.iter_mut().zip(from).zip(wide) {
            *to = from ^ mask;
        }
    }
    let rest = pieces.into_remainder().iter_mut();
    for ((to, from), mask) in rest.zip(wholes.remainder()).zip(wide) {
        *to = from ^ mask;
    }
}

/// A close frame is empty or holds a status and a reason.
fn check_close(payload: &[u8]) -> Result<(), Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(()),
            _ => Err(Violation::protocol(
                "the peer closed with a truncated status",
            )),
        };
    };
    match u16::from_be_bytes(*code) {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => {
            return Err(Violation::protocol(
                "the peer closed with an invalid status",
            ));
        }
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(()),
        Err(_) => Err(Violation::text()),
    }
}

/// Adds a frame with output to `out`.
pub(super) fn data_frame(payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    frame(BINARY, payload, mask, out);
}

/// Adds the answer to a ping to `out`.
pub(super) fn pong_frame(payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    frame(PONG, payload, mask, out);
}

/// Adds a frame that ends the connection to `out`; behind a status only its two bytes count.
pub(super) fn close_frame(payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    frame(CLOSE, &payload[..payload.len().min(2)], mask, out);
}

fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    out.reserve(14 + payload.len());
    out.push(FINAL | opcode);
    let masked = if mask.is_some() { MASKED } else { 0 };
    match payload.len() {
        short @ 0..=125 => out.push(masked | short as u8),
        middle @ 126..=0xffff => {
            out.push(masked | 126);
            out.extend((middle as u16).to_be_bytes());
        }
        long => {
            out.push(masked | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend(mask.iter().flatten());
    match mask {
        None => out.extend_from_slice(payload),
        Some(mask) => {
            let begin = out.len();
            out.resize(begin + payload.len(), 0);
            copy_masked(mask, payload, &mut out[begin..]);
        }
    }
}
