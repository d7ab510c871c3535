//! front → chardev → [back end] → host: bytes and events on their way up, in one sequence.

use std::collections::VecDeque;
use std::io::IoSliceMut;

use crate::backend::BackendEvent;
use crate::event::Event;

/// A sequence of bytes and events, with its end once that has come.
#[derive(Debug, Default)]
pub(super) struct Rising {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that have been taken.
    taken: usize,
}

/// The buffer of whoever reads just now, if anybody does.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) buf: &'a mut [u8],
    pub(super) filled: &'a mut usize,
}

impl Reader<'_> {
    pub(super) fn again(&mut self) -> Reader<'_> {
        Reader {
            buf: self.buf,
            filled: self.filled,
        }
    }

    /// Has `fill` fill up to `count` bytes, and returns how many.
    pub(super) fn take(&mut self, count: usize, fill: impl FnOnce(&mut [u8])) -> usize {
        let room = &mut self.buf[*self.filled..];
        let count = count.min(room.len());
        if count > 0 {
            fill(&mut room[..count]);
            *self.filled += count;
        }
        count
    }
}

#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Event(BackendEvent),
    /// This many, which a peer can send more of than anybody wants to keep apart.
    Breaks(u64),
    End,
}

impl Rising {
    pub(super) fn has_end(&self) -> bool {
        matches!(self.pieces.back(), Some(Piece::End))
    }

    /// How many pieces are events; breaks in a row are one.
    pub(super) fn events(&self) -> usize {
        let events = self.pieces.iter().filter(|piece| piece.is_event());
        events.count()
    }

    pub(super) fn has_events(&self) -> bool {
        self.pieces.iter().any(Piece::is_event)
    }

    pub(super) fn has_event_next(&self) -> bool {
        self.pieces.front().is_some_and(Piece::is_event)
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self.pieces.back_mut() {
            Some(Piece::End) => {}
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => self.pieces.push_back(Piece::Bytes(bytes.to_vec())),
        }
    }

    /// The same of `count` bytes that `fill` puts into place.
    pub(super) fn push_by(&mut self, count: usize, fill: impl FnOnce(&mut [u8])) {
        if count == 0 || self.has_end() {
            return;
        }
        if !matches!(self.pieces.back(), Some(Piece::Bytes(_))) {
            self.pieces.push_back(Piece::Bytes(Vec::new()));
        }
        if let Some(Piece::Bytes(last)) = self.pieces.back_mut() {
            let begin = last.len();
            last.resize(begin + count, 0);
            fill(&mut last[begin..]);
        }
    }

    /// The same, without a copy where nothing is before it.
    pub(super) fn push_owned(&mut self, bytes: Vec<u8>) {
        match self.pieces.back() {
            Some(Piece::End | Piece::Bytes(_)) => self.push(&bytes),
            _ if bytes.is_empty() => {}
            _ => self.pieces.push_back(Piece::Bytes(bytes)),
        }
    }

    /// Events of which only the last counts are one.
    pub(super) fn push_event(&mut self, event: BackendEvent) {
        match (self.pieces.back_mut(), event) {
            (Some(Piece::End), _) => {}
            (Some(Piece::Breaks(count)), BackendEvent::Break) => *count += 1,
            (_, BackendEvent::Break) => self.pieces.push_back(Piece::Breaks(1)),
            (
                Some(Piece::Event(last @ BackendEvent::Resized(_))),
                event @ BackendEvent::Resized(_),
            ) => *last = event,
            (
                Some(Piece::Event(BackendEvent::Tell(last @ Event::SerialAsked(_)))),
                BackendEvent::Tell(event @ Event::SerialAsked(_)),
            ) => *last = event,
            (
                Some(Piece::Event(BackendEvent::Tell(Event::PurgeAsked(last)))),
                BackendEvent::Tell(Event::PurgeAsked(later)),
            ) => *last = last.and(later),
            (
                Some(Piece::Event(BackendEvent::Tell(Event::Modem(last)))),
                BackendEvent::Tell(Event::Modem(later)),
            ) => *last = last.and(later),
            (_, event) => self.pieces.push_back(Piece::Event(event)),
        }
    }

    pub(super) fn push_end(&mut self) {
        if !self.has_end() {
            self.pieces.push_back(Piece::End);
        }
    }

    pub(super) fn append(&mut self, piece: Piece) {
        match piece {
            Piece::Bytes(bytes) => self.push_owned(bytes),
            Piece::Event(event) => self.push_event(event),
            Piece::Breaks(count) => match self.pieces.back_mut() {
                Some(Piece::End) => {}
                Some(Piece::Breaks(before)) => *before += count,
                _ => self.pieces.push_back(Piece::Breaks(count)),
            },
            Piece::End => self.push_end(),
        }
    }

    pub(super) fn into_pieces(self) -> VecDeque<Piece> {
        self.pieces
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        let all: usize = self.pieces.iter().map(Piece::len).sum();
        all - self.taken
    }

    /// Takes bytes up to the next event.
    pub(super) fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        let mut total = 0;
        let Some(Piece::Bytes(first)) = self.pieces.front() else {
            return 0;
        };
        for buf in bufs {
            let rest = &first[self.taken..];
            let count = buf.len().min(rest.len());
            buf[..count].copy_from_slice(&rest[..count]);
            self.taken += count;
            total += count;
        }
        if self.taken == first.len() {
            self.pieces.pop_front();
            self.taken = 0;
        }
        total
    }

    /// Takes the event that is next.
    pub(super) fn take_event(&mut self) -> Option<BackendEvent> {
        match self.pieces.pop_front()? {
            Piece::Event(event) => Some(event),
            Piece::Breaks(count) => {
                if count > 1 {
                    self.pieces.push_front(Piece::Breaks(count - 1));
                }
                Some(BackendEvent::Break)
            }
            other => {
                self.pieces.push_front(other);
                None
            }
        }
    }

    /// Whether there is nothing before the end.
    pub(super) fn ended(&self) -> bool {
        matches!(self.pieces.front(), Some(Piece::End))
    }

    /// Takes the bytes up to the next event.
    pub(super) fn take_bytes(&mut self) -> Vec<u8> {
        match self.pieces.pop_front() {
            Some(Piece::Bytes(mut bytes)) => bytes.split_off(std::mem::take(&mut self.taken)),
            Some(other) => {
                self.pieces.push_front(other);
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Event(_) | Piece::Breaks(_) | Piece::End => 0,
        }
    }

    fn is_event(&self) -> bool {
        matches!(self, Piece::Event(_) | Piece::Breaks(_))
    }
}
