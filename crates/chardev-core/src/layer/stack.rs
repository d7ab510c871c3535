//! front → chardev → [back end] → host: layers stacked on each other, and what waits above and
//! below them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};

use super::rising::{Piece, Reader, Rising};
use super::{Ending, Flow, Layer};
use crate::backend::BackendEvent;
use crate::line::{Answer, Answers, Line, ModemLines, Purge};

/// The most that is taken from above at once.
const PIECE: usize = 128 << 10;
/// From this much on the wire no output is taken.
const WIRE_LIMIT: usize = 64 << 10;
/// With this much on the wire no input is taken either: the peer does not even read its answers.
/// Output alone never comes to that, even if every byte is doubled, or two peers that send could
/// wait for each other.
const ANSWERS_LIMIT: usize = 2 * WIRE_LIMIT + 2 * PIECE;

/// A reader where nobody reads.
macro_rules! nobody {
    () => {
        Reader {
            buf: &mut [],
            filled: &mut 0,
        }
    };
}

/// Layers between a chardev and a byte stream.
///
/// What a stack has taken from above and has not given to the transport waits in it: on the *wire*,
/// or held by a layer. What has come up and nobody has read waits at the top, with events in their
/// places.
pub struct Stack {
    /// From the top to the bottom.
    layers: Vec<Box<dyn Layer>>,
    /// How many have been started, from the bottom.
    started: usize,
    top: Rising,
    wire: VecDeque<u8>,
    /// Room for the wire that is [lent](Stack::lend).
    spare: Vec<u8>,
    failure: Option<Failure>,
    send_ended: bool,
    /// What could not be set up yet.
    late: Option<Line>,
}

/// The layer that can let nothing through any more, and why.
struct Failure {
    at: usize,
    ending: Ending,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("layers", &self.layers.len())
            .field("open", &self.is_open())
            .field("wire", &self.wire.len())
            .field("failure", &self.failure())
            .finish_non_exhaustive()
    }
}

impl Stack {
    /// A stack of `layers`, the one next to the chardev first, over a stream that has just been
    /// connected.
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Self {
        let mut stack = Stack {
            layers,
            started: 0,
            top: Rising::default(),
            wire: VecDeque::new(),
            spare: Vec::new(),
            failure: None,
            send_ended: false,
            late: None,
        };
        stack.start_opened();
        stack
    }

    /// Whether all layers are open.
    pub fn is_open(&self) -> bool {
        self.started == self.layers.len() && self.layers.iter().all(|layer| layer.is_open())
    }

    /// Why nothing can go through any more.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| match &failure.ending {
            Ending::Closed => "the peer closed it",
            Ending::Failed(reason) => reason.as_str(),
        })
    }

    /// Whether nothing can go through because the peer has said so, as it should.
    pub fn is_closed(&self) -> bool {
        let ending = self.failure.as_ref().map(|failure| &failure.ending);
        matches!(ending, Some(Ending::Closed))
    }

    /// Whether input is to be fetched for [`Stack::receive`].
    pub fn takes_input(&self) -> bool {
        self.wire.len() < ANSWERS_LIMIT && self.failure.is_none()
    }

    /// Takes what the transport received.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.receive_for(bytes, &mut []);
    }

    /// The same for somebody who reads: fills `buf` with the input that comes of it, up to the next
    /// event, if none waits before that. Returns how many bytes those are.
    pub fn receive_for(&mut self, bytes: &[u8], buf: &mut [u8]) -> usize {
        let mut filled = 0;
        if self.failure.is_some() {
            return filled;
        }
        let reader = Reader {
            buf,
            filled: &mut filled,
        };
        match self.layers.len().checked_sub(1) {
            Some(lowest) => self.call(lowest, reader, |layer, flow| layer.receive(bytes, flow)),
            None => self.top.push(bytes),
        }
        filled
    }

    /// The transport receives nothing more.
    pub fn receive_end(&mut self) {
        if self.failure.is_none() {
            self.rise(self.layers.len(), nobody!(), Piece::End);
        }
    }

    /// Whether input is to be fetched although nobody reads: a layer may have to answer it. Once
    /// some of it is for the chardev, that has to be read first.
    pub fn listens(&self) -> bool {
        self.top.is_empty() && self.takes_input() && self.layers.iter().any(|layer| layer.listens())
    }

    /// Whether there is input, an event or the end.
    pub fn has_input(&self) -> bool {
        !self.top.is_empty()
    }

    /// Bytes of input that wait.
    pub fn unread(&self) -> usize {
        self.top.bytes()
    }

    /// Fills `bufs` with input up to the next event.
    pub fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        self.top.read(bufs)
    }

    /// The event that comes next, before any further input.
    pub fn poll_event(&mut self) -> Option<BackendEvent> {
        self.top.take_event()
    }

    /// Whether all input has been read and the peer has ended its sending.
    pub fn input_ended(&self) -> bool {
        self.top.ended()
    }

    /// Whether the end of the input has come up, whatever is still unread before it.
    pub fn has_end(&self) -> bool {
        self.top.has_end()
    }

    /// Whether there are events among what waits.
    pub fn has_events(&self) -> bool {
        self.top.has_events()
    }

    /// How many events are among what waits; breaks in a row are one.
    pub fn events(&self) -> usize {
        self.top.events()
    }

    /// Whether an event is next, before any further input.
    pub fn has_event_next(&self) -> bool {
        self.top.has_event_next()
    }

    /// Takes the input that waits, up to the next event.
    pub fn take_input(&mut self) -> Vec<u8> {
        self.top.take_bytes()
    }

    /// How many bytes [`Stack::send`] takes now.
    pub fn room(&self) -> usize {
        if !self.is_open() || self.send_ended || self.failure.is_some() {
            return 0;
        }
        if self.wire.len() >= WIRE_LIMIT {
            return 0;
        }
        let rooms = self.layers.iter().map(|layer| layer.room());
        rooms.min().unwrap_or(usize::MAX).min(PIECE)
    }

    /// Whether only the peer can make [`Stack::room`]: it has yet to open, or wants nothing now.
    pub fn waits_for_peer(&self) -> bool {
        self.wire.is_empty() && self.room() == 0
    }

    /// Takes as much of `bufs` as there is room for.
    pub fn send(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        let bytes = one_piece(bufs, self.room());
        self.sink(0, &bytes);
        bytes.len()
    }

    /// Nothing more is sent: each layer may say so to its peer, except where nothing goes through
    /// any more.
    pub fn send_end(&mut self) {
        if std::mem::replace(&mut self.send_ended, true) {
            return;
        }
        let unspoilt = self.failure.as_ref().map_or(0, |failure| failure.at + 1);
        for at in self.idle().max(unspoilt)..self.layers.len() {
            self.call(at, nobody!(), |layer, flow| layer.send_end(flow));
        }
    }

    /// Sets up what the layers can of `line`. While too much waits for the transport to say more,
    /// the last line is kept, and what it asks for said later.
    pub fn apply(&mut self, line: &Line, answers: &mut Answers) {
        if self.wire.len() >= ANSWERS_LIMIT {
            self.late = Some(line.clone());
            if line.serial.is_some() {
                answers.serial = Answer::Pending;
            }
        } else if self.is_open() && self.failure.is_none() {
            self.late = None;
            for at in 0..self.layers.len() {
                self.call(at, nobody!(), |layer, flow| {
                    layer.apply(line, answers, flow)
                });
            }
        }
    }

    /// Has the first layer that can do it purge the line at the peer.
    pub fn purge(&mut self, which: Purge) -> Answer {
        let mut answer = Answer::Unsupported;
        if self.is_open() && self.failure.is_none() && self.wire.len() < ANSWERS_LIMIT {
            for at in 0..self.layers.len() {
                if answer == Answer::Unsupported {
                    self.call(at, nobody!(), |layer, flow| {
                        answer = layer.purge(which, flow)
                    });
                }
            }
        }
        answer
    }

    /// The modem inputs of the layer that has any.
    pub fn modem_inputs(&self) -> Option<ModemLines> {
        self.layers.iter().find_map(|layer| layer.modem_inputs())
    }

    /// What the peer has proven to be called; see [`Layer::peer_names`].
    pub fn peer_names(&self) -> Vec<String> {
        let mut all = self.layers.iter().map(|layer| layer.peer_names());
        all.find(|names| !names.is_empty()).unwrap_or_default()
    }

    /// What waits for the transport, oldest first.
    pub fn wire(&self) -> [IoSlice<'_>; 2] {
        let (first, second) = self.wire.as_slices();
        [IoSlice::new(first), IoSlice::new(second)]
    }

    /// Whether anything waits for the transport.
    pub fn has_wire(&self) -> bool {
        !self.wire.is_empty()
    }

    /// The transport took `count` bytes of the wire.
    pub fn sent(&mut self, count: usize) {
        self.wire.drain(..count.min(self.wire.len()));
        if self.wire.len() < WIRE_LIMIT {
            if let Some(line) = self.late.take() {
                self.apply(&line, &mut Answers::unsupported(&line, true));
            }
        }
        if self.wire.is_empty() {
            // An idle chardev has no buffer.
            self.spare = std::mem::take(&mut self.wire).into();
        }
    }

    /// Lends it an empty `buffer` for what goes down next. To be [taken back](Stack::take_spare).
    pub fn lend(&mut self, buffer: Vec<u8>) {
        self.spare = buffer;
    }

    /// A buffer that is not needed, an empty one.
    pub fn take_spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Bytes taken from above that the transport has not taken, as long as they are by now.
    pub fn pending(&self) -> usize {
        self.wire.len()
    }

    /// How many layers, from the top, have not been started.
    fn idle(&self) -> usize {
        self.layers.len() - self.started
    }

    /// Starts what may begin now.
    fn start_opened(&mut self) {
        while self.failure.is_none() && self.started < self.layers.len() {
            let next = self.idle() - 1;
            let below = self.layers.get(next + 1);
            if below.is_some_and(|below| !below.is_open()) {
                return;
            }
            self.started += 1;
            self.call(next, nobody!(), |layer, flow| layer.start(flow));
        }
    }

    /// Calls one layer and passes on what came of it.
    fn call(
        &mut self,
        at: usize,
        mut reader: Reader<'_>,
        action: impl FnOnce(&mut dyn Layer, &mut Flow<'_>),
    ) {
        let (mut between, mut failure) = (Rising::default(), None);
        let is_wire = self.wire.is_empty() && at + 1 == self.layers.len();
        let mut down = match is_wire {
            true => self.take_spare(),
            false => Vec::new(),
        };
        let is_top = at == 0;
        let mut flow = Flow {
            up: if is_top { &mut self.top } else { &mut between },
            reader: if is_top { reader.again() } else { nobody!() },
            down: &mut down,
            failure: &mut failure,
        };
        action(&mut *self.layers[at], &mut flow);
        if let Some(ending) = failure {
            self.failure.get_or_insert(Failure { at, ending });
        }
        match is_wire {
            true if down.is_empty() => self.spare = down,
            true => self.wire = down.into(),
            false => self.sink(at + 1, &down),
        }
        // What rises from a layer that has just opened finds the next one started.
        self.start_opened();
        for piece in between.into_pieces() {
            self.rise(at, reader.again(), piece);
        }
    }

    /// Passes `bytes` to the layer at `at`, or to the wire. What layers above a failed one have to
    /// say to their peers cannot be said any more.
    fn sink(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty()
            || self
                .failure
                .as_ref()
                .is_some_and(|failure| at <= failure.at)
        {
            return;
        }
        if at == self.layers.len() {
            self.wire.extend(bytes);
        } else {
            self.call(at, nobody!(), |layer, flow| layer.send(bytes, flow));
        }
    }

    /// Passes what came out of the layer at `from` to the one above, or to the top.
    fn rise(&mut self, from: usize, reader: Reader<'_>, piece: Piece) {
        let Some(above) = from.checked_sub(1) else {
            return self.top.append(piece);
        };
        match piece {
            Piece::Bytes(bytes) => {
                self.call(above, reader, |layer, flow| layer.receive(&bytes, flow));
            }
            event @ (Piece::Event(_) | Piece::Breaks(_)) => self.rise(above, reader, event),
            Piece::End => self.call(above, reader, |layer, flow| layer.receive_end(flow)),
        }
    }
}

/// The first `count` bytes of `bufs`, or fewer: protocols make of one write one frame or record.
fn one_piece<'a>(bufs: &'a [IoSlice<'_>], count: usize) -> Cow<'a, [u8]> {
    if let [only] = bufs {
        return Cow::Borrowed(&only[..only.len().min(count)]);
    }
    let mut all = Vec::with_capacity(count.min(bufs.iter().map(|buf| buf.len()).sum()));
    for buf in bufs {
        all.extend_from_slice(&buf[..buf.len().min(count - all.len())]);
    }
    Cow::Owned(all)
}
