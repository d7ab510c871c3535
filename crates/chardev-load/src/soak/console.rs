//! A console: what is printed into it, its peers one after the other, and what they got.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use chardev_qapi::{Json, Object};

use super::PIECE;
use super::link::{Link, Pace};
use super::log::Log;
use crate::LoadError;
use crate::check::{Segment, Tally};
use crate::lines::{Form, Lines};
use crate::peers::{Ends, Kind, Load, Prepared};
use crate::random::Random;
use crate::records::{Received, RecordCheck};
use crate::rig::{Monitor, with_stream};

/// How much a sweep prints and types at most.
const PRINT: usize = 4 << 10;
const TYPE: usize = 1 << 10;
/// So much is printed into a ring buffer, which holds more.
const RING: u64 = 96 << 10;
/// How much of what happened is told with a finding.
const TOLD: usize = 12;

/// What a step has moved, in bytes, and how many peers came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    pub(super) output: u64,
    pub(super) input: u64,
    pub(super) came: u64,
}

/// What a peer typed.
#[derive(Clone, Copy, Debug, Default)]
struct Typed {
    bytes: u64,
    /// What was under way at a change counts as typed before it only until there is silence.
    may_be_late: bool,
}

pub(super) struct Console {
    pub(super) id: String,
    dir: PathBuf,
    log: Option<Log>,
    /// The program: what it has printed, and what it has read.
    program: UnixStream,
    printed: u64,
    read: u64,
    check: RecordCheck,
    done: Vec<Received>,
    /// What the peers typed: all of them, and each that is not counted yet.
    typed: u64,
    typed_by: BTreeMap<u64, Typed>,
    /// What the daemon says came too late, which is in order of TCP only; and what was found to be
    /// missing of what those peers typed.
    late: u64,
    missing: u64,
    /// What the peers got: how much, what is counted, and what is not yet, in order.
    received: u64,
    tally: Tally,
    slots: Vec<Segment>,
    current: Link,
    replaced: Vec<Link>,
    guest: Option<Link>,
    /// The peer that was set aside for a guest has not been sent anything since.
    returning: bool,
    next: u64,
    printed_at_change: u64,
    /// How often a change of it was refused, by itself or with others.
    refused: u64,
    past: VecDeque<String>,
}

impl Console {
    /// The console `id`, whose program's end is `program` and whose peers' paths are in `dir`.
    pub(super) fn new(
        id: String,
        program: UnixStream,
        dir: &Path,
        log: Option<PathBuf>,
    ) -> Result<Self, LoadError> {
        let unblocked = program.set_nonblocking(true);
        unblocked.map_err(|error| format!("{id}: {error}"))?;
        Ok(Console {
            dir: dir.to_owned(),
            id,
            log: log.map(Log::new),
            program,
            printed: 0,
            read: 0,
            check: RecordCheck::new(),
            done: Vec::new(),
            typed: 0,
            typed_by: BTreeMap::new(),
            late: 0,
            missing: 0,
            received: 0,
            tally: Tally::new(Form::Padded),
            slots: vec![Segment::new(Form::Padded)],
            current: Link::none(),
            replaced: Vec::new(),
            guest: None,
            returning: false,
            next: 0,
            printed_at_change: 0,
            refused: 0,
            past: VecDeque::new(),
        })
    }

    /// Prints, reads and types a little; nothing new is printed or typed unless it is `busy`.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn step(
        &mut self,
        random: &mut Random,
        scratch: &mut [u8],
        busy: bool,
    ) -> Result<Moved, LoadError> {
        let mut moved = Moved::default();
        if busy && self.current.kind.is_some() {
            moved.output = self.print(random.below(PRINT), scratch)?;
        }
        self.read_input(scratch)?;
        self.read_output(scratch)?;
        if busy && self.guest.is_none() && !self.returning {
            moved.input = self.current.write(random.below(TYPE))?;
            self.count_typed(moved.input);
        }
        if self.current.is_leaving() && self.current.has_ended() {
            self.come()?;
            moved.came = 1;
        }
        Ok(moved)
    }

    fn count_typed(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        let tcp = matches!(self.current.kind, Some(Kind::TcpServer | Kind::TcpClient));
        let typed = self.typed_by.entry(self.current.number).or_default();
        typed.bytes += count;
        typed.may_be_late = tcp;
        self.typed += count;
    }

    /// Prints at most so much; returns how much was taken.
    ///
    /// # Errors
    /// The daemon has closed the program's end.
    pub(super) fn print(&mut self, most: usize, scratch: &mut [u8]) -> Result<u64, LoadError> {
        let mut most = most.min(PIECE);
        if self.current.kind == Some(Kind::Ringbuf) {
            let since = self.printed - self.printed_at_change;
            most = most.min(RING.saturating_sub(since) as usize);
        }
        if most == 0 || self.current.kind.is_none() {
            return Ok(0);
        }
        let text = &mut scratch[..most];
        Lines::from_offset(Form::Padded, self.printed).fill(text);
        match self.program.write(text) {
            Ok(count) => {
                self.printed += count as u64;
                Ok(count as u64)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(format!("the program cannot print: {error}").into()),
        }
    }

    fn read_input(&mut self, scratch: &mut [u8]) -> Result<(), LoadError> {
        match self.program.read(scratch) {
            Ok(0) => Err("the program's end was closed".into()),
            Ok(count) => {
                self.read += count as u64;
                let done = &mut self.done;
                self.check
                    .push(&scratch[..count], &mut |peer| done.push(peer));
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(format!("the program cannot read: {error}").into()),
        }
    }

    fn read_output(&mut self, scratch: &mut [u8]) -> Result<(), LoadError> {
        let links = self.replaced.iter_mut().chain(&mut self.guest);
        for link in links.chain([&mut self.current]) {
            self.received += link.read(&mut self.slots, scratch)?;
        }
        self.replaced.retain(|link| !link.has_ended());
        if self.guest.as_ref().is_some_and(Link::has_ended) {
            let left = self.guest.take().is_some_and(|guest| guest.is_leaving());
            if !left {
                return Err("who was attached was put out".into());
            }
            self.returning = true;
        }
        if self.current.slot + 1 == self.slots.len() && self.current.in_slot > 0 {
            self.returning = false;
        }
        let current = &self.current;
        let silent = matches!(current.kind, None | Some(Kind::Ringbuf));
        if !silent && current.has_ended() && !current.is_leaving() {
            return Err("the daemon has closed its current back end".into());
        }
        Ok(())
    }

    /// Whether its back end may be changed: not while somebody is attached, because what is then
    /// changed is who is attached.
    pub(super) fn may_change(&self) -> bool {
        self.guest.is_none() && !self.returning
    }

    /// What has to be there before a back end of this kind.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn prepare(&mut self, kind: Kind) -> Result<Prepared, LoadError> {
        let number = self.next;
        // A refused change has used the number, and the path that goes with it.
        self.next += 1;
        Prepared::new(Load { kind, slow: false }, &self.dir, number)
    }

    /// The back end was replaced.
    ///
    /// # Errors
    /// The new one cannot be reached.
    pub(super) fn replaced(
        &mut self,
        by: Prepared,
        pty: Option<&str>,
        pace: Pace,
    ) -> Result<(), LoadError> {
        let (kind, number) = (by.kind(), by.number());
        self.note(format!("{} {pace:?}", kind.name()));
        let ends = by.reach(pty).map_err(|error| error.to_string())?;
        self.succeed(number, kind, ends, pace)
    }

    /// A change was refused, as is in order.
    pub(super) fn note_refusal(&mut self) {
        self.refused += 1;
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn succeed(
        &mut self,
        number: u64,
        kind: Kind,
        ends: Ends,
        pace: Pace,
    ) -> Result<(), LoadError> {
        let link = Link::new(number, kind, ends, (self.slots.len(), pace))?;
        self.slots.push(Segment::new(Form::Padded));
        let mut former = std::mem::replace(&mut self.current, link);
        former.retire();
        if !former.has_ended() {
            self.replaced.push(former);
        }
        self.printed_at_change = self.printed;
        Ok(())
    }

    /// The peer leaves, if another can come to the same back end.
    pub(super) fn leave(&mut self) {
        if self.current.door.is_some() && self.current.offset().is_some() && self.may_change() {
            self.current.leave();
            self.note("the peer leaves".to_owned());
        }
    }

    fn come(&mut self) -> Result<(), LoadError> {
        let (Some(kind), Some(door)) = (self.current.kind, self.current.door.clone()) else {
            return Ok(());
        };
        let reading = door
            .connect()
            .map_err(|error| format!("the door: {error}"))?;
        let ends = Ends::Stream {
            reading,
            writing: None,
            door: Some(door),
        };
        let number = self.next;
        self.next += 1;
        self.note("another peer comes".to_owned());
        self.succeed(number, kind, ends, Pace::Quick)
    }

    /// Somebody attaches, in the place of the peer, if it is known where in the output that one is.
    ///
    /// # Errors
    /// The daemon refuses.
    pub(super) fn attach(&mut self, monitor: &mut Monitor) -> Result<bool, LoadError> {
        let Some(read_up_to) = self.current.offset().filter(|_| self.may_attach()) else {
            return Ok(false);
        };
        let arguments = Object::new().with("id", self.id.as_str());
        let arguments = arguments.with("force", true);
        let (stream, answer) = with_stream(monitor, "x-chardev-attach", arguments)?;
        let unblocked = stream.set_nonblocking(true);
        unblocked.map_err(|error| error.to_string())?;
        let offset = answer.get("offset").and_then(Json::as_u64);
        let left = offset.and_then(|offset| offset.checked_sub(read_up_to));
        let left = left.ok_or_else(|| {
            format!("attached at {offset:?}, but its peer has read up to {read_up_to}")
        })?;
        self.note(format!("attached at {}", read_up_to + left));
        let slot = self.slots.len();
        for _ in 0..2 {
            self.slots.push(Segment::new(Form::Padded));
        }
        self.guest = Some(Link::guest(stream.into(), slot));
        self.current.cut_after(left, slot + 1);
        Ok(true)
    }

    fn may_attach(&self) -> bool {
        self.may_change() && !self.current.is_leaving()
    }

    pub(super) fn has_guest(&self) -> bool {
        self.guest.is_some()
    }

    /// Who is attached detaches.
    pub(super) fn detach(&mut self) {
        if let Some(guest) = self.guest.as_mut().filter(|guest| !guest.is_leaving()) {
            guest.leave();
            self.note("detaches".to_owned());
        }
    }

    /// Who is attached detaches, and its peer is slow no more.
    pub(super) fn hurry(&mut self) {
        self.detach();
        self.current.hurry();
    }

    /// How much was printed.
    pub(super) fn printed(&self) -> u64 {
        self.printed
    }

    pub(super) fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// Whether something that was typed has not come to the program, nor is told to be too late.
    pub(super) fn lacks_input(&self) -> bool {
        self.read + self.late < self.typed
    }

    pub(super) fn set_late(&mut self, late: u64) {
        self.late = late;
    }

    pub(super) fn set_log_lost(&mut self, lost: u64) {
        if let Some(log) = &mut self.log {
            log.lost = lost;
        }
    }

    /// Whether everything has arrived, and who was replaced has been parted from.
    pub(super) fn is_at_rest(&self) -> bool {
        self.received == self.printed
            && self.read + self.late == self.typed
            && self.guest.is_none()
            && self.replaced.iter().all(Link::is_file)
    }

    /// Counts what has arrived since it was counted last; it is at rest.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn count(&mut self) -> Result<(), LoadError> {
        for segment in self.slots.drain(..) {
            self.tally.append(segment);
        }
        self.slots.push(Segment::new(Form::Padded));
        self.current.enter(0);
        self.replaced.clear();
        let output = self.tally.interim();
        if !output.is_clean() || output.bytes != self.printed {
            let samples = self.tally.samples();
            return Err(format!("of {} bytes: {output:?} {samples:?}", self.printed).into());
        }
        let faults = self.check.faults();
        if faults.lost + faults.doubled + faults.reordered + faults.damaged > 0 {
            return Err(format!("what it read: {faults:?}").into());
        }
        self.count_input()
    }

    fn count_input(&mut self) -> Result<(), LoadError> {
        let mut done = std::mem::take(&mut self.done);
        for peer in &done {
            // Of who comes before it and is not among them nothing came at all.
            let later = self.typed_by.split_off(&peer.peer);
            let nothing = std::mem::replace(&mut self.typed_by, later);
            let typed = self.typed_by.remove(&peer.peer).unwrap_or_default();
            let short = nothing.values().map(|typed| (*typed, 0));
            for (typed, read) in short.chain([(typed, peer.bytes)]) {
                if typed.bytes != read && !(typed.may_be_late && read < typed.bytes) {
                    let text = format!("up to peer {}: {typed:?}, read {read}", peer.peer);
                    return Err(text.into());
                }
                self.missing += typed.bytes - read;
            }
        }
        done.clear();
        if self.missing > self.late {
            let (missing, late) = (self.missing, self.late);
            return Err(format!("{missing} bytes were not read, {late} told too late").into());
        }
        self.done = done;
        Ok(())
    }

    /// An error with what happened to the console before.
    pub(super) fn about(&self, error: &LoadError) -> LoadError {
        let past: Vec<&str> = self.past.iter().map(String::as_str).collect();
        let open = self.replaced.iter().filter(|link| !link.is_file());
        let open: Vec<_> = open.map(|link| (link.number, link.kind)).collect();
        format!(
            "{}: {error}\n  printed {}, received {}, typed {}, read {}, late {}; replaced and still open: \
             {open:?}\n  before: {}",
            self.id,
            self.printed,
            self.received,
            self.typed,
            self.read,
            self.late,
            past.join(", ")
        )
        .into()
    }

    fn note(&mut self, what: String) {
        if self.past.len() == TOLD {
            self.past.pop_front();
        }
        self.past.push_back(what);
    }
}
