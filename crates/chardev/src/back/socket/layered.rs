//! front → chardev → [back] → host: a stack of layers over a connected socket.
//!
//! The stack has no descriptor; here is where its wire is sent and its input fetched.

use std::cell::{Cell, RefCell};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev_core::{Answer, Answers, BackendEvent, Line, ModemLines, Purge, Ready, Stack};
use rustix::io::Errno;

use super::transport::{receive_plain, send_plain};
use crate::back::LayerKind;

/// The most that is fetched at once, for somebody who reads or for nobody.
const PIECE: usize = 256 << 10;
const AHEAD_PIECE: usize = 4 << 10;
/// How many pieces may come that bring neither input nor an end, before others have their turn.
const TURNS: usize = 16;
/// The most that is read ahead in a handshake, or while a layer waits for its peer.
const AHEAD: usize = 16 << 10;
/// The same of events.
const EVENTS_AHEAD: usize = 256;

thread_local! {
    /// What was fetched last, and room for a wire that is sent at once: one of each for all
    /// connections of a thread, so that an idle one has none and a busy one finds its bytes in the
    /// cache.
    static FETCHED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The layers of one connection. Clones are of the same one: where a peer is handed over, both back
/// ends have it until it is decided whose it is.
#[derive(Clone, Debug)]
pub(super) struct Layered {
    stack: Arc<Mutex<Stack>>,
    /// What the chardev waits for and the descriptor's readiness cannot tell.
    wanted: Ready,
}

/// What is to be done so that nobody waits in vain.
pub(super) struct Due {
    /// What the descriptor is to be asked for.
    pub(super) ask: Ready,
    /// What the chardev can do now and would not learn from the descriptor.
    pub(super) ready: Ready,
}

impl Layered {
    /// Layers of `kinds` over a new connection; `None` if there are none.
    pub(super) fn new(kinds: &[LayerKind]) -> Option<Self> {
        if kinds.is_empty() {
            return None;
        }
        let layers = kinds.iter().map(LayerKind::make).collect();
        Some(Layered {
            stack: Arc::new(Mutex::new(Stack::new(layers))),
            wanted: Ready::empty(),
        })
    }

    pub(super) fn stack(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with the handshake; while that is not over, what the descriptor is to be asked for.
    ///
    /// # Errors
    /// The peer has left, or does not keep to the protocol.
    pub(super) fn open(&self, fd: &OwnedFd) -> Result<Option<Ready>, Errno> {
        let mut stack = self.stack();
        // One that has left may have said all that it takes.
        let _ = flush(&mut stack, fd);
        for _ in 0..TURNS {
            if stack.is_open() {
                return Ok(None);
            }
            if stack.failure().is_some() || stack.has_end() {
                return Err(Errno::PROTO);
            }
            if !reads_ahead(&stack)
                || fetched(fetch(&mut stack, fd, AHEAD_PIECE, &mut []))?.is_none()
            {
                break;
            }
        }
        let mut ask = Ready::empty();
        ask.set(Ready::READ, reads_ahead(&stack));
        ask.set(Ready::WRITE, stack.has_wire());
        Ok((!stack.is_open()).then_some(ask))
    }

    /// Takes as much of `bufs` as there is room for. What was taken is accepted, whatever comes of
    /// it.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] if nothing fits now; anything else means that the peer is gone.
    pub(super) fn send(&self, fd: &OwnedFd, bufs: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let mut stack = self.stack();
        if stack.failure().is_some() {
            return Err(Errno::PROTO);
        }
        flush(&mut stack, fd)?;
        stack.lend(SPARE.take());
        let count = stack.send(bufs);
        // That the peer is gone is noticed soon enough.
        let _ = flush(&mut stack, fd);
        SPARE.set(stack.take_spare());
        match count {
            0 => Err(Errno::AGAIN),
            count => Ok(count),
        }
    }

    /// Reads what is there; 0 means that the peer has ended. An event that is next is as nothing.
    /// What is still to come from the peer may be `finite`; then its answers can wait.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] if nothing is there; anything else means that the peer is gone.
    pub(super) fn receive(
        &self,
        fd: &OwnedFd,
        bufs: &mut [IoSliceMut<'_>],
        finite: bool,
    ) -> Result<usize, Errno> {
        let mut stack = self.stack();
        let wanted = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        for _ in 0..TURNS {
            let count = stack.read(bufs);
            if count > 0 || stack.input_ended() {
                return Ok(count);
            }
            if stack.has_input() {
                return Err(Errno::AGAIN);
            }
            if stack.failure().is_some() {
                return Err(Errno::PROTO);
            }
            if !stack.takes_input() && !finite {
                flush(&mut stack, fd)?;
                if !stack.takes_input() {
                    return Err(Errno::AGAIN);
                }
            }
            let most = wanted.clamp(1, PIECE);
            let begin = bufs.iter().take_while(|buf| buf.is_empty()).count();
            let (_, count) = match bufs[begin..].split_first_mut() {
                Some((first, _)) => fetch(&mut stack, fd, most, first)?,
                None => fetch(&mut stack, fd, most, &mut [])?,
            };
            if count > 0 {
                return Ok(count + stack.read(&mut bufs[begin + 1..]));
            }
        }
        Err(Errno::AGAIN)
    }

    /// Fetches what is there, up to `limit` bytes of the transport's.
    pub(super) fn fetch(&self, fd: &OwnedFd, mut limit: usize) {
        let mut stack = self.stack();
        while limit > 0 && stack.failure().is_none() && !stack.has_end() {
            match fetch(&mut stack, fd, limit.min(PIECE), &mut []) {
                Ok((count, _)) if count > 0 => limit -= count,
                _ => break,
            }
        }
    }

    /// The chardev waits for `interest`.
    pub(super) fn watch(&mut self, interest: Ready) -> Due {
        let stack = self.stack();
        let mut untold = Ready::empty();
        untold.set(Ready::READ, stack.has_input() || !stack.takes_input());
        untold.set(Ready::WRITE, stack.waits_for_peer());
        drop(stack);
        self.wanted |= interest & untold;
        let mut due = self.due();
        due.ask |= interest - untold;
        due
    }

    /// The descriptor may have been ready for what the layers wait for.
    ///
    /// # Errors
    /// The peer is gone.
    pub(super) fn update(&mut self, fd: &OwnedFd) -> Result<(), Errno> {
        let mut stack = self.stack();
        flush(&mut stack, fd)?;
        let mut came = false;
        for _ in 0..TURNS {
            if !self.listens(&stack) {
                break;
            }
            if fetched(fetch(&mut stack, fd, AHEAD_PIECE, &mut []))?.is_none() {
                break;
            }
            came |= stack.has_input();
        }
        if stack.failure().is_some() {
            return Err(Errno::PROTO);
        }
        drop(stack);
        // Whoever waits for input would not learn from the descriptor that it has been fetched.
        self.wanted
            .set(Ready::READ, came || self.wanted.contains(Ready::READ));
        Ok(())
    }

    /// Whether input is to be fetched that nobody has asked for.
    fn listens(&self, stack: &Stack) -> bool {
        let waits = self.wanted.contains(Ready::WRITE) && stack.waits_for_peer();
        (waits && reads_ahead(stack)) || stack.listens()
    }

    /// How things stand after something was done.
    pub(super) fn due(&mut self) -> Due {
        let stack = self.stack();
        let mut ready = Ready::empty();
        let reads = stack.has_input() || stack.takes_input() || stack.failure().is_some();
        ready.set(Ready::READ, reads);
        ready.set(Ready::WRITE, !stack.waits_for_peer());
        let ready = self.wanted & ready;
        let wanted = self.wanted - ready;
        let mut ask = Ready::empty();
        let hears = wanted.contains(Ready::WRITE) && reads_ahead(&stack);
        ask.set(Ready::READ, hears || stack.listens());
        ask.set(Ready::WRITE, stack.has_wire());
        drop(stack);
        self.wanted = wanted;
        Due { ask, ready }
    }

    /// Sets up what the layers can of `line`.
    pub(super) fn apply(&self, fd: &OwnedFd, line: &Line, answers: &mut Answers) {
        let mut stack = self.stack();
        stack.apply(line, answers);
        // That the peer is gone is noticed soon enough.
        let _ = flush(&mut stack, fd);
    }

    /// Has a layer that can do it purge the line at the peer.
    pub(super) fn purge(&self, fd: &OwnedFd, which: Purge) -> Answer {
        let mut stack = self.stack();
        let answer = stack.purge(which);
        // That the peer is gone is noticed soon enough.
        let _ = flush(&mut stack, fd);
        answer
    }

    /// What the peer has proven to be called.
    pub(super) fn peer_names(&self) -> Vec<String> {
        self.stack().peer_names()
    }

    /// The modem inputs of a layer that has any.
    pub(super) fn modem_inputs(&self) -> Option<ModemLines> {
        self.stack().modem_inputs()
    }

    /// The event that comes before any further input.
    pub(super) fn poll_event(&self) -> Option<BackendEvent> {
        self.stack().poll_event()
    }

    /// Whether an event is next.
    pub(super) fn has_event_next(&self) -> bool {
        self.stack().has_event_next()
    }

    /// Sends what it can of what waits; `true` if nothing does any more.
    ///
    /// # Errors
    /// The peer is gone.
    pub(super) fn flush(&self, fd: &OwnedFd) -> Result<bool, Errno> {
        let mut stack = self.stack();
        flush(&mut stack, fd)?;
        Ok(!stack.has_wire())
    }

    /// What the layers have to say at the end goes out behind everything.
    pub(super) fn send_end(&self) {
        self.stack().send_end();
    }
}

/// Whether input may be fetched that nobody has asked for.
fn reads_ahead(stack: &Stack) -> bool {
    let ahead = stack.unread() < AHEAD && stack.events() < EVENTS_AHEAD;
    ahead && !stack.has_end() && stack.takes_input()
}

/// Sends the wire as far as it fits.
fn flush(stack: &mut Stack, fd: &OwnedFd) -> Result<(), Errno> {
    while stack.has_wire() {
        match send_plain(fd, &stack.wire()) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(()),
            Ok(count) => stack.sent(count),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fetches at most `most` bytes and puts them through the stack, for the reader of `buf` if there
/// is one. Returns how many were fetched, of which 0 is the end, and how many are in `buf`.
fn fetch(
    stack: &mut Stack,
    fd: &OwnedFd,
    most: usize,
    buf: &mut [u8],
) -> Result<(usize, usize), Errno> {
    let counts = FETCHED.with_borrow_mut(|piece| {
        piece.resize(piece.len().max(most), 0);
        let count = receive_plain(fd, &mut piece[..most])?;
        let read = match count {
            0 => {
                stack.receive_end();
                0
            }
            count => stack.receive_for(&piece[..count], buf),
        };
        Ok((count, read))
    })?;
    // An answer that does not fit waits, and that the peer is gone is noticed soon enough.
    let _ = flush(stack, fd);
    Ok(counts)
}

/// What came of [`fetch`]: `None` if nothing was there.
fn fetched(result: Result<(usize, usize), Errno>) -> Result<Option<usize>, Errno> {
    match result {
        Err(Errno::AGAIN) => Ok(None),
        result => result.map(|(count, _)| Some(count)),
    }
}
