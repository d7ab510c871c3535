//! front → chardev → [back end] → host: bytes and events on their way up, in one sequence.

use std::collections::VecDeque;
use std::io::IoSliceMut;

use crate::backend::BackendEvent;

/// A sequence of bytes and events, with its end once that has come.
#[derive(Debug, Default)]
pub(super) struct Rising {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that have been taken.
    taken: usize,
}

#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Event(BackendEvent),
    End,
}

impl Rising {
    pub(super) fn has_end(&self) -> bool {
        matches!(self.pieces.back(), Some(Piece::End))
    }

    pub(super) fn has_events(&self) -> bool {
        let mut pieces = self.pieces.iter();
        pieces.any(|piece| matches!(piece, Piece::Event(_)))
    }

    pub(super) fn has_event_next(&self) -> bool {
        matches!(self.pieces.front(), Some(Piece::Event(_)))
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self.pieces.back_mut() {
            Some(Piece::End) => {}
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => self.pieces.push_back(Piece::Bytes(bytes.to_vec())),
        }
    }

    pub(super) fn push_event(&mut self, event: BackendEvent) {
        if !self.has_end() {
            self.pieces.push_back(Piece::Event(event));
        }
    }

    pub(super) fn push_end(&mut self) {
        if !self.has_end() {
            self.pieces.push_back(Piece::End);
        }
    }

    pub(super) fn append(&mut self, piece: Piece) {
        match piece {
            Piece::Bytes(bytes) => self.push(&bytes),
            Piece::Event(event) => self.push_event(event),
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
            Piece::Event(_) | Piece::End => 0,
        }
    }
}
