//! A walk of one console over real back ends, each replaced while its peer is in a given state.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use chardev::objects::{NewObject, TlsCreds, TlsEndpoint};
use chardev::{Chardevs, Info};

use super::device::Device;
use super::peer::{CLIENT_KEYS, Kind, Peer, Place, SERVER_KEYS};
use super::stream::{self, Wrong};
use crate::common::{DEADLINE, LOOK_AGAIN, add, change, wait_for};
use crate::tls_rig::{Authority, CLIENT, SERVER};
use crate::toy::escaped::ESCAPED;

/// How often each cell is walked in the run whose table is in the documentation: 12,000 changes.
pub(crate) const ROUNDS: usize = 80;

/// How often each cell is walked now: a tenth of [`ROUNDS`], unless `CHARDEV_ROUNDS` says
/// otherwise, as `cargo xtask test` does.
pub(crate) fn rounds() -> usize {
    match std::env::var("CHARDEV_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("CHARDEV_ROUNDS is a number"),
        Err(_) => ROUNDS / 10,
    }
}

/// How often each cell with a toy protocol is walked now.
pub(crate) fn escaped_rounds() -> usize {
    (rounds() / 2).clamp(1, ROUNDS / 10)
}

/// How many replaced back ends are still being read while the walk goes on.
const LAG: usize = 60;
/// Output a peer reads, at least, before its back end is replaced.
const ENOUGH: usize = 1024;

/// The state of the old peer at the moment of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Reads,
    Stalled,
    HalfClosed,
    Left,
    Absent,
    Floods,
}

impl State {
    /// Whether the peer of `kind` can be in this state.
    fn has(self, kind: Kind) -> bool {
        self.kinds().contains(&kind.plain())
    }

    /// The kinds that users know whose peer can be in this state.
    pub(crate) fn kinds(self) -> &'static [Kind] {
        use Kind::{Pipe, Pty, Ringbuf, Tcp, Unix};
        match self {
            State::Reads => &Kind::ALL,
            State::Stalled => &[Unix, Tcp, Pty, Pipe, Ringbuf],
            State::HalfClosed => &[Unix, Tcp],
            State::Left | State::Absent | State::Floods => &[Unix, Tcp, Pty, Pipe],
        }
    }
}

/// What came of the changes between two kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) changes: usize,
    pub(crate) output: Wrong,
    pub(crate) input: Wrong,
}

pub(crate) type Cells = BTreeMap<(Kind, Kind), Cell>;

/// Walks all cells of `state` and of the kinds that users know, as often as [`rounds`] says.
pub(crate) fn walk(state: State) -> Cells {
    walk_along(state, &way(state))
}

/// The same of two sockets with layers, with each other and with all other kinds.
pub(crate) fn walk_layered(state: State, pair: [Kind; 2]) -> Cells {
    walk_along(state, &layered_way(state, pair))
}

fn walk_along(state: State, way: &[(Kind, Kind, bool)]) -> Cells {
    let dir = tempfile::tempdir().unwrap();
    let mut walk = Walk::start(dir.path(), state, way[0].0);
    for (number, (from, to, counted)) in way.iter().enumerate() {
        assert_eq!(*from, walk.present.place.kind);
        let stays_alone = way.get(number + 1).is_some_and(|next| next.2);
        let connects = number % 2 == 1;
        walk.hop(
            *to,
            *counted,
            (connects, state == State::Absent && stays_alone),
        );
    }
    walk.finish()
}

/// Every pair of an old kind that can be in `state` and any new kind, and the ways back, which do
/// not count.
fn way(state: State) -> Vec<(Kind, Kind, bool)> {
    let kinds = state.kinds();
    let others = Kind::ALL.iter().filter(|kind| !kinds.contains(kind));
    let others: Vec<_> = others.copied().collect();
    let mut way = Vec::new();
    for round in 0..rounds() {
        let turned = |number: usize| kinds[(number + round) % kinds.len()];
        for a in 0..kinds.len() {
            let here = turned(a);
            way.push((here, here, true));
            for other in &others {
                way.extend([(here, *other, true), (*other, here, false)]);
            }
            for b in a + 1..kinds.len() {
                way.extend([(here, turned(b), true), (turned(b), here, true)]);
            }
            let next = turned((a + 1) % kinds.len());
            if next != here {
                way.push((here, next, false));
            }
        }
    }
    // The first of the next round is the second of this one.
    let mut whole: Vec<(Kind, Kind, bool)> = Vec::new();
    for hop in way {
        if let Some(last) = whole.last() {
            if last.1 != hop.0 {
                whole.push((last.1, hop.0, false));
            }
        }
        whole.push(hop);
    }
    whole
}

fn layered_way(state: State, [one, other]: [Kind; 2]) -> Vec<(Kind, Kind, bool)> {
    let mut way = Vec::new();
    for (here, next) in [(one, other), (other, one)].repeat(escaped_rounds()) {
        way.push((here, here, true));
        for there in Kind::ALL.into_iter().chain([next]) {
            way.extend([(here, there, true), (there, here, state.has(there))]);
        }
        way.push((here, next, false));
    }
    way
}

/// What both ends of TLS need.
fn add_keys(chardevs: &Chardevs, dir: &Path) {
    let ca = Authority::new("Test CA");
    for (id, endpoint, role, own) in [
        (SERVER_KEYS, TlsEndpoint::Server, "server", SERVER),
        (CLIENT_KEYS, TlsEndpoint::Client, "client", CLIENT),
    ] {
        let creds = TlsCreds {
            dir: ca.directory(dir, id, role, Some((own, &ca))),
            endpoint,
            verify_peer: true,
        };
        let adding = chardevs.objects().add(id, NewObject::TlsCreds(creds));
        chardevs.block_on(adding).unwrap();
    }
}

/// A back end that is or was in the slot.
struct Present {
    place: Place,
    info: Info,
    peer: Option<Peer>,
    /// What a peer that left early had read.
    early: Option<(Vec<u8>, usize)>,
    /// Accepted by the end, where the peer left without reading everything.
    end: Option<usize>,
    /// Input sent for sure before the change.
    sent: usize,
    cell: Option<(Kind, Kind)>,
}

/// Input of one peer: where its stream begins, and how much was sent before and after the change.
struct Said {
    seed: usize,
    before: usize,
    in_all: usize,
    kind: Kind,
    cell: Option<(Kind, Kind)>,
}

struct Walk<'a> {
    dir: &'a Path,
    state: State,
    chardevs: Chardevs,
    device: Device,
    number: usize,
    present: Present,
    replaced: VecDeque<Present>,
    /// Output followed so far.
    cursor: usize,
    said: Vec<Said>,
    cells: Cells,
}

impl<'a> Walk<'a> {
    fn start(dir: &'a Path, state: State, kind: Kind) -> Self {
        let chardevs = Chardevs::with_kinds(&[&*ESCAPED]).unwrap();
        if Kind::DRESSED.contains(&kind) {
            add_keys(&chardevs, dir);
        }
        let place = Place::new(dir, 0, kind, false, false);
        let info = add(&chardevs, "con0", &place.options);
        Walk {
            dir,
            state,
            device: Device::start(&chardevs),
            chardevs,
            number: 0,
            present: Present::new(place, info),
            replaced: VecDeque::new(),
            cursor: 0,
            said: Vec::new(),
            cells: Cells::new(),
        }
    }

    /// One change, with the old peer in the walk's state if the hop is `counted`.
    fn hop(&mut self, to: Kind, counted: bool, (connects, alone): (bool, bool)) {
        let state = if counted { self.state } else { State::Reads };
        self.prepare(state);
        self.number += 1;
        let place = Place::new(self.dir, self.number, to, connects, alone);
        if counted {
            let cell = (self.present.place.kind, to);
            self.present.cell = Some(cell);
            self.cells.entry(cell).or_default().changes += 1;
        }
        let sent = match state {
            State::Stalled => Peer::sent_for_sure,
            _ => Peer::sent,
        };
        self.present.sent = self.present.peer.as_ref().map_or(0, sent);
        let info = change(&self.chardevs, "con0", &place.options).unwrap_or_else(|error| {
            panic!("{state:?} {:?} to {to:?}: {error}", self.present.place.kind)
        });
        let mut old = std::mem::replace(&mut self.present, Present::new(place, info));
        self.release(&mut old, state);
        self.replaced.push_back(old);
        if self.replaced.len() > LAG {
            self.follow_oldest();
        }
    }

    /// Brings the peer into its state.
    fn prepare(&mut self, state: State) {
        if state == State::Absent {
            return self.wait_held(state);
        }
        let kind = self.present.place.kind;
        let seed = self.number * 104_729;
        if kind != Kind::File {
            let reads = state != State::Stalled;
            let peer = Peer::join(
                &self.present.place,
                &self.present.info,
                &self.chardevs,
                (reads, Some(seed)),
            );
            self.present.peer = Some(peer);
        }
        if let Some(peer) = self.present.peer.as_ref().filter(|peer| peer.has_input) {
            wait_for("input", || (peer.sent() > 0).then_some(()));
        }
        if state == State::Stalled {
            return self.wait_held(state);
        }
        let path = self.present.place.path();
        let began = Instant::now();
        wait_for(&format!("output to {kind:?}, {state:?}"), || {
            if began.elapsed() > DEADLINE * 9 / 10 {
                // What a failure needs to be understood.
                let shown = (self.chardevs.list(), self.device.front().stats());
                let got = self.present.peer.as_ref().map(Peer::got);
                eprintln!("{got:?} {shown:?} held {}", self.device.is_held());
                std::thread::park_timeout(DEADLINE / 100);
            }
            let got = match &self.present.peer {
                Some(peer) => peer.got(),
                None => fs::metadata(path).map_or(0, |file| file.len() as usize),
            };
            (got >= ENOUGH).then_some(())
        });
        match state {
            State::HalfClosed => {
                self.present.peer.as_ref().unwrap().end();
                self.wait_held(state);
                if kind == Kind::Vsock {
                    self.wait_quiet();
                }
            }
            State::Left => self.leave(),
            State::Floods => self.present.peer.as_ref().unwrap().flood(),
            _ => {}
        }
        // A ring has one reader at a time.
        if kind == Kind::Ringbuf {
            self.present.early = self.present.peer.take().map(|peer| {
                peer.leave();
                peer.finish()
            });
        }
    }

    /// The peer stops reading, and once the chardev is full it leaves.
    fn leave(&mut self) {
        self.present.peer.as_ref().unwrap().read(false);
        self.wait_held(State::Left);
        let peer = self.present.peer.take().unwrap();
        peer.leave();
        self.present.early = Some(peer.finish());
        if self.present.place.kind == Kind::Pipe {
            // What is in a FIFO waits there for whoever reads it next.
            return;
        }
        wait_for("the departure", || {
            (!self.device.front().is_open()).then_some(())
        });
        // Nothing more is delivered then. What a ring before this one left may still wait.
        let delivered = self.device.front().stats().output_delivered;
        self.present.end = Some(delivered as usize);
    }

    /// Waits until all input has arrived. A guest's kernel delivers vsock's by a task of its own,
    /// at times later than the 60 ms of silence after which a change takes it for complete.
    fn wait_quiet(&self) {
        let mut last = (self.device.input().len(), Instant::now());
        while last.1.elapsed() < Duration::from_millis(500) {
            std::thread::park_timeout(LOOK_AGAIN);
            let count = self.device.input().len();
            if count != last.0 {
                last = (count, Instant::now());
            }
        }
    }

    fn wait_held(&self, state: State) {
        let kind = self.present.place.kind;
        wait_for(&format!("{kind:?} to hold back, {state:?}"), || {
            self.device.is_held().then_some(())
        });
    }

    /// After the change: a peer that could read but did not does so now.
    fn release(&self, old: &mut Present, state: State) {
        let joins_late = matches!(state, State::Absent | State::Left);
        if joins_late && old.place.kind == Kind::Pipe {
            let reader = Peer::join(&old.place, &old.info, &self.chardevs, (true, None));
            old.peer = Some(reader);
        }
        if let Some(peer) = &old.peer {
            peer.fall_silent();
            if old.place.kind == Kind::Ringbuf {
                peer.leave();
            } else {
                peer.read(true);
            }
        }
    }

    /// Follows the output that the oldest replaced back end took, up to its very last byte.
    fn follow_oldest(&mut self) {
        let Some(mut old) = self.replaced.pop_front() else {
            return;
        };
        let (mut got, mut in_all) = old.early.take().unwrap_or_default();
        let mut before = old.sent.max(in_all);
        if let Some(peer) = old.peer.take() {
            let (more, sent) = peer.finish();
            got.extend(more);
            in_all += sent;
        }
        // Where the kernel refuses at once, whatever a write returned for is read.
        let exact = matches!(old.place.kind.plain(), Kind::Unix | Kind::Pipe);
        if self.state == State::Floods && old.cell.is_some() && exact {
            before = in_all;
        }
        if old.place.kind == Kind::File {
            got = self.read_file(&old.place);
        }
        let mut wrong = Wrong::default();
        self.cursor = stream::follow(self.cursor, &got, &mut wrong);
        if let Some(end) = old.end {
            // The rest was accepted for a peer that left with it unread.
            wrong.misplaced += self.cursor.saturating_sub(end);
            self.cursor = end;
        }
        if let Some(next) = self.first_after() {
            if !stream::begins(self.cursor, &next) {
                let before = self.cursor;
                stream::follow(before, &next, &mut wrong);
            }
        }
        let cell = old.cell;
        if let Some(cell) = cell.and_then(|cell| self.cells.get_mut(&cell)) {
            cell.output.lost += wrong.lost;
            cell.output.misplaced += wrong.misplaced;
        }
        assert_eq!(
            wrong,
            Wrong::default(),
            "output, {:?}, {cell:?} {:?}",
            self.state,
            old.place.kind
        );
        self.said.push(Said {
            seed: old.number() * 104_729,
            before,
            in_all,
            kind: old.place.kind,
            cell,
        });
    }

    /// The first output that a later back end took, as far as it has been read.
    fn first_after(&self) -> Option<Vec<u8>> {
        self.replaced
            .iter()
            .chain([&self.present])
            .map(|later| later.first())
            .find(|first| !first.is_empty())
    }

    /// All that a replaced file was written, which ends where the next output begins.
    fn read_file(&self, place: &Place) -> Vec<u8> {
        let next = wait_for("output after a file", || self.first_after());
        wait_for("the rest of a file", || {
            let bytes = fs::read(place.path()).unwrap();
            stream::begins(self.cursor + bytes.len(), &next).then_some(bytes)
        })
    }

    /// Ends on a file, so that all output has a place, and checks the input as a whole.
    fn finish(mut self) -> Cells {
        self.hop(Kind::File, false, (false, false));
        self.device.fall_silent();
        let accepted = self.device.accepted();
        while !self.replaced.is_empty() {
            self.follow_oldest();
        }
        let path = self.present.place.path();
        let rest = wait_for("the last file", || {
            let bytes = fs::read(path).unwrap();
            (self.cursor + bytes.len() >= accepted).then_some(bytes)
        });
        let mut wrong = Wrong::default();
        let end = stream::follow(self.cursor, &rest, &mut wrong);
        assert_eq!((end, wrong), (accepted, Wrong::default()));
        // How much is enough of one peer's input only shows in what follows.
        let deadline = Instant::now() + DEADLINE;
        while let Err(wrong) = self.check_input(&self.device.input()) {
            assert!(Instant::now() < deadline, "{wrong}");
            std::thread::park_timeout(LOOK_AGAIN);
        }
        let unsure = self
            .said
            .iter()
            .filter(|it| it.in_all > 0 && it.before == 0);
        let (unsure, all) = (unsure.count(), self.said.len());
        assert!(
            unsure * 4 <= all,
            "of {unsure} of {all} peers nothing counts"
        );
        assert_eq!(self.device.unpaired(), 0, "events that do not pair");
        let stats = self.device.front().stats();
        let dropped = [
            stats.output_discarded,
            stats.output_overwritten,
            stats.output_undrained,
            stats.input_overflowed,
        ];
        assert_eq!(dropped, [0; 4], "{stats:?}");
        self.cells
    }

    /// Each peer's input follows the former's, from its first byte to at least the last that was
    /// sent before the change.
    fn check_input(&self, mut input: &[u8]) -> Result<(), String> {
        let mut said = self.said.iter().filter(|said| said.in_all > 0).peekable();
        while let Some(this) = said.next() {
            let most = &input[..input.len().min(this.in_all)];
            let same = stream::agrees(this.seed, most);
            let next = said.peek().map(|next| next.seed);
            let mut counts = (this.before..=same).rev();
            let count =
                counts.find(|count| next.is_none_or(|next| stream::begins(next, &input[*count..])));
            let Some(count) = count else {
                let rest = stream::at(this.seed + same, 16);
                let rest = input.windows(16).position(|it| it == rest);
                let after = next.and_then(|next| {
                    let start = stream::at(next, 16);
                    input.windows(16).position(|it| it == start)
                });
                return Err(format!(
                    "{:?}, {:?} {:?}: of {} to {} bytes of input {same} came, {} are left; the rest \
                     is at {rest:?}, and the next peer's at {after:?}",
                    self.state,
                    this.kind,
                    this.cell,
                    this.before,
                    this.in_all,
                    input.len()
                ));
            };
            input = &input[count..];
        }
        match input.len() {
            0 => Ok(()),
            more => Err(format!("{more} bytes of input too many")),
        }
    }
}

impl Present {
    fn new(place: Place, info: Info) -> Self {
        Present {
            place,
            info,
            peer: None,
            early: None,
            end: None,
            sent: 0,
            cell: None,
        }
    }

    fn number(&self) -> usize {
        self.place.number
    }

    /// The first bytes of output that were read here, if any were.
    fn first(&self) -> Vec<u8> {
        let first = |bytes: &[u8]| bytes[..bytes.len().min(64)].to_vec();
        if let Some((early, _)) = &self.early {
            if !early.is_empty() {
                return first(early);
            }
        }
        match (&self.peer, self.place.kind) {
            (_, Kind::File) => first(&fs::read(self.place.path()).unwrap_or_default()),
            (Some(peer), _) => peer.first(),
            (None, _) => Vec::new(),
        }
    }
}
