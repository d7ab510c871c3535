//! A seeded simulator of sessions: two ends, a network that loses, doubles, delays and reorders
//! messages and is cut for long, readers that stall, and an end that dies. Whatever happens, what
//! is read is what was written, each byte once; each end holds little, and learns of the end.
//!
//! `FLEET_SEED=N` runs one seed again.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use chardev_fleet::session::{ABSENCE, End, Fate, Frame, Id, Kind, SILENCE, WINDOW, Why};
use chardev_load::lines::{Form, Lines};
use chardev_load::random::Random;

const SESSION: Id = Id(0x1234);
/// No step takes longer.
const STEP: Duration = Duration::from_millis(300);

/// What an end sends begins there in a text that is known.
fn begins(side: usize) -> u64 {
    (side as u64 + 1) << 32
}

/// One end, with who writes and reads there.
struct Side {
    end: End,
    /// How much it has to say in all, and how much of that it has said.
    all: u64,
    written: u64,
    read: u64,
    ended: bool,
    is_stalled: bool,
}

impl Side {
    fn new(end: End, all: u64) -> Side {
        Side {
            end,
            all,
            written: 0,
            read: 0,
            ended: false,
            is_stalled: false,
        }
    }

    fn write(&mut self, side: usize, most: usize) {
        if self.end.is_stopped() && !self.ended {
            // What it has not said by now it never says.
            self.all = self.written;
        }
        let left = usize::try_from(self.all - self.written).unwrap();
        let count = self.end.wants().min(left).min(most);
        if count > 0 {
            let mut text = vec![0; count];
            Lines::from_offset(Form::Padded, begins(side) + self.written).fill(&mut text);
            self.end.write(Bytes::from(text));
            self.written += count as u64;
        }
        if self.written == self.all && !self.ended {
            self.ended = true;
            self.end.end();
        }
    }

    /// Reads, and compares with what `other` says.
    fn read(&mut self, other: usize, most: usize, now: Duration) {
        let count = self.end.unread().len().min(most);
        if self.is_stalled || count == 0 {
            return;
        }
        let mut text = vec![0; count];
        Lines::from_offset(Form::Padded, begins(other) + self.read).fill(&mut text);
        assert!(self.end.unread()[..count] == text, "at {}", self.read);
        self.end.consume(count, now);
        self.read += count as u64;
    }
}

struct Sim {
    random: Random,
    now: Duration,
    /// The second is there once it was asked.
    sides: [Option<Side>; 2],
    was_there: [bool; 2],
    /// What who is over says to those who have not heard of that.
    last_words: [Option<Frame>; 2],
    /// What is on its way to each.
    ways: [Vec<Frame>; 2],
    is_cut: bool,
    /// Who has died.
    dead: Option<usize>,
    /// Whether somebody may.
    dies: bool,
    /// Whether somebody may be told to say no more, and how often that was.
    stops: bool,
    stopped: usize,
    heard: [Duration; 2],
    most_held: usize,
    lost: usize,
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut random = Random::new(seed);
        let all = random.pick(&[0, 10, 5_000, 3_000_000]);
        let now = Duration::from_secs(1000);
        Sim {
            random,
            now,
            sides: [
                Some(Side::new(End::open(SESSION, Bytes::new(), now), all)),
                None,
            ],
            was_there: [true, false],
            last_words: [None, None],
            ways: [Vec::new(), Vec::new()],
            is_cut: false,
            dead: None,
            dies: seed % 5 == 0,
            stops: seed % 3 == 0,
            stopped: 0,
            heard: [now; 2],
            most_held: 0,
            lost: 0,
        }
    }

    fn step(&mut self) {
        let side = self.random.below(2);
        match self.random.below(100) {
            0..20 => self.pass(),
            20..35 => {
                let most = self.random.pick(&[1, 100, 20_000, 1 << 20]);
                if let Some(it) = &mut self.sides[side] {
                    it.write(side, most);
                }
            }
            35..55 => self.send(side),
            55..75 => self.deliver(side),
            75..90 => {
                let most = self.random.pick(&[1, 3000, 1 << 20]);
                if let Some(it) = &mut self.sides[side] {
                    it.read(1 - side, most, self.now);
                }
            }
            90..92 => self.lose(),
            92 => self.is_cut = self.random.one_in(2),
            93 => {
                if let Some(it) = &mut self.sides[side] {
                    it.end.reconnected(self.now);
                }
            }
            94 => {
                let is_stalled = self.random.one_in(2);
                if let Some(it) = &mut self.sides[side] {
                    it.is_stalled = is_stalled;
                }
            }
            95 if self.is_cut => self.now += Duration::from_secs(5),
            97 if self.stops && self.random.one_in(5) => {
                if let Some(it) = &mut self.sides[side] {
                    it.end.stop(self.now);
                    self.stopped += 1;
                }
            }
            96 if self.dies && self.was_there[1] && self.random.one_in(20) => self.kill(side),
            _ => {}
        }
        self.look();
    }

    fn pass(&mut self) {
        let most = self.random.pick(&[1, 20, STEP.as_millis() as usize]);
        self.now += Duration::from_millis(self.random.below(most) as u64);
    }

    fn send(&mut self, side: usize) {
        let frames = self.random.pick(&[1, 5, 300]);
        let Some(it) = &mut self.sides[side] else {
            return;
        };
        for _ in 0..frames {
            let Some(frame) = it.end.next_frame(self.now) else {
                break;
            };
            if self.random.one_in(20) {
                self.ways[1 - side].push(frame.clone());
            }
            if !self.random.one_in(20) {
                self.ways[1 - side].push(frame);
            }
        }
    }

    fn deliver(&mut self, side: usize) {
        if self.is_cut || self.ways[side].is_empty() {
            return;
        }
        let late = self.random.one_in(10);
        let at = if late {
            self.random.below(self.ways[side].len())
        } else {
            0
        };
        let frame = self.ways[side].remove(at);
        if side == 1 && !self.was_there[1] && frame.kind == Kind::Open {
            let all = self.random.pick(&[0, 10, 5_000, 3_000_000]);
            self.sides[1] = Some(Side::new(End::accept(SESSION, self.now), all));
            self.was_there[1] = true;
            self.heard[1] = self.now;
        }
        if let Some(it) = &mut self.sides[side] {
            it.end.handle(frame, self.now);
            self.heard[side] = self.now;
        } else if self.sides[1 - side].is_some() && self.was_there[side] {
            let unknown = || Frame::reset(SESSION, "");
            let word = self.last_words[side].clone().unwrap_or_else(unknown);
            // Who has died does not always come back to say so.
            if self.dead != Some(side) || self.random.one_in(3) {
                self.ways[1 - side].push(word);
            }
        }
    }

    fn lose(&mut self) {
        let side = self.random.below(2);
        let random = &mut self.random;
        self.ways[side].retain(|_| !random.one_in(2));
        self.lost += 1;
    }

    fn kill(&mut self, side: usize) {
        if self.dead.is_none() && self.sides[side].take().is_some() {
            self.dead = Some(side);
        }
    }

    /// What holds at any time; who is over leaves.
    fn look(&mut self) {
        for side in 0..2 {
            let Some(it) = &mut self.sides[side] else {
                continue;
            };
            let held = it.end.held();
            assert!(held <= 2 * WINDOW, "{held} bytes");
            self.most_held = self.most_held.max(held);
            match it.end.fate() {
                Fate::Over => {
                    it.is_stalled = false;
                    it.read(1 - side, usize::MAX, self.now);
                    assert!(it.end.is_read_out());
                    let all = self.sides[1 - side].as_ref().map(|other| other.all);
                    let it = self.sides[side].take().unwrap();
                    self.last_words[side] = Some(it.end.last_word());
                    if let Some(other) = &mut self.sides[1 - side] {
                        other.is_stalled = false;
                        other.read(side, usize::MAX, self.now);
                        assert!(other.end.is_read_out() && other.read == it.all);
                    }
                    assert!(it.written == it.all && all.is_none_or(|all| it.read == all));
                }
                Fate::Failed(why) => {
                    assert_eq!(self.dead, Some(1 - side), "{why:?} of side {side}");
                    it.is_stalled = false;
                    it.read(1 - side, usize::MAX, self.now);
                    self.sides[side] = None;
                }
                Fate::Open => {}
            }
            let silent = self.now - self.heard[side];
            if self.dead.is_none() && silent + STEP > SILENCE - Duration::from_secs(10) {
                self.is_cut = false;
                self.settle_for(20);
            }
        }
    }

    /// For a while all goes well.
    fn settle_for(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for side in 0..2 {
                while let Some(frame) = self.sides[side]
                    .as_mut()
                    .and_then(|it| it.end.next_frame(self.now))
                {
                    self.ways[1 - side].push(frame);
                }
            }
            for side in 0..2 {
                while !self.ways[side].is_empty() {
                    self.deliver(side);
                }
                if let Some(it) = &mut self.sides[side] {
                    it.is_stalled = false;
                    it.write(side, usize::MAX);
                    it.read(1 - side, usize::MAX, self.now);
                }
            }
            self.now += Duration::from_millis(100);
        }
    }
}

/// One session from its beginning to its end; how much was held, and how often messages were lost.
fn run(seed: u64) -> (usize, usize, bool, usize) {
    let mut sim = Sim::new(seed);
    for _ in 0..6000 {
        sim.step();
    }
    sim.is_cut = false;
    for _ in 0..1000 {
        sim.settle_for(1);
        sim.look();
    }
    if sim.dead.is_some() && sim.sides.iter().any(Option::is_some) {
        sim.now += SILENCE;
        sim.settle_for(1);
        sim.look();
    }
    assert!(sim.was_there[1], "it was never opened");
    let left = sim.sides.iter().flatten().map(|it| it.end.fate());
    let left: Vec<_> = left.collect();
    assert!(left.is_empty(), "{left:?}");
    (sim.most_held, sim.lost, sim.dead.is_some(), sim.stopped)
}

#[test]
fn every_byte_of_a_session_is_read_once_whatever_becomes_of_messages() {
    let given = std::env::var("FLEET_SEED").ok();
    let seeds = match given.map(|seed| seed.parse().unwrap()) {
        Some(seed) => seed..=seed,
        None => 1..=150,
    };
    let (mut held, mut lost, mut died, mut stopped) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| run(seed));
        let (most, times, has_died, stops) = run.unwrap_or_else(|_| panic!("FLEET_SEED={seed}"));
        held = held.max(most);
        lost += times;
        died += usize::from(has_died);
        stopped += stops;
    }
    if seeds.count() > 1 {
        let counts = format!("{held} bytes, {lost} times, {died} dead, {stopped} stopped");
        assert!(
            held > WINDOW && lost > 10_000 && died > 5 && stopped > 20,
            "{counts}"
        );
    }
}

/// Two ends that know each other, at some time.
fn pair() -> (End, End, Duration) {
    let now = Duration::from_secs(5);
    let (mut one, mut other) = (
        End::open(SESSION, Bytes::new(), now),
        End::accept(SESSION, now),
    );
    assert_eq!(one.wants(), 0, "nobody is there yet");
    exchange(&mut one, &mut other, now);
    assert_eq!(
        (one.wants() > 0, other.wants() > 0, one.is_opening()),
        (true, true, false)
    );
    (one, other, now)
}

fn exchange(one: &mut End, other: &mut End, now: Duration) {
    for _ in 0..4 {
        while let Some(frame) = one.next_frame(now) {
            other.handle(frame, now);
        }
        while let Some(frame) = other.next_frame(now) {
            one.handle(frame, now);
        }
    }
}

#[test]
fn an_end_whose_other_end_is_silent_or_absent_gives_up() {
    let (mut one, mut other, now) = pair();
    one.write(Bytes::from_static(b"x"));
    let almost = now + SILENCE - Duration::from_millis(1);
    while one.next_frame(almost).is_some() {}
    assert_eq!(one.fate(), Fate::Open);
    let last = one.next_frame(now + SILENCE).unwrap();
    assert!(matches!(last.kind, Kind::Reset(_)));
    assert_eq!(one.fate(), Fate::Failed(Why::Silent));
    assert_eq!((one.wants(), one.held()), (0, 0));

    other.is_absent(now);
    other.is_absent(now + ABSENCE / 2);
    assert!(other.deadline() <= now + ABSENCE);
    while other.next_frame(now + ABSENCE / 2).is_some() {}
    assert_eq!(other.fate(), Fate::Open);
    assert!(other.next_frame(now + ABSENCE).is_some());
    assert_eq!(other.fate(), Fate::Failed(Why::Absent));
}

#[test]
fn an_end_that_lives_is_heard_of_although_nothing_is_said() {
    let (mut one, mut other, mut now) = pair();
    let (end, mut said) = (now + 4 * SILENCE, 0);
    while now < end {
        now = one.deadline().min(other.deadline());
        while let Some(frame) = one.next_frame(now) {
            said += 1;
            other.handle(frame, now);
        }
        while let Some(frame) = other.next_frame(now) {
            one.handle(frame, now);
        }
    }
    assert_eq!((one.fate(), other.fate()), (Fate::Open, Fate::Open));
    assert!(said < 60, "{said} messages");
}

#[test]
fn a_reset_is_told_with_its_reason_and_one_that_is_unknown_without() {
    let (mut one, mut other, now) = pair();
    other.give_up("there is no room");
    exchange(&mut one, &mut other, now);
    let refused = Why::Refused("there is no room".to_owned());
    assert_eq!(one.fate(), Fate::Failed(refused));

    let (mut one, _, now) = pair();
    one.handle(Frame::reset(SESSION, ""), now);
    assert_eq!(one.fate(), Fate::Failed(Why::Forgotten));
}

#[test]
fn what_is_missing_is_sent_again_at_once_and_only_once() {
    let (mut one, mut other, now) = pair();
    for text in [&b"a"[..], b"b", b"c"] {
        one.write(Bytes::copy_from_slice(text));
    }
    let frames: Vec<_> = std::iter::from_fn(|| one.next_frame(now)).collect();
    assert_eq!(frames.len(), 3);
    // The first one is lost.
    for frame in &frames[1..] {
        other.handle(frame.clone(), now);
    }
    let told: Vec<_> = std::iter::from_fn(|| other.next_frame(now)).collect();
    assert_eq!((told.len(), told[0].lost, told[0].taken), (1, true, 0));
    one.handle(told[0].clone(), now);
    let again: Vec<_> = std::iter::from_fn(|| one.next_frame(now)).collect();
    assert_eq!(again.len(), 3);
    one.handle(told[0].clone(), now);
    assert_eq!(one.next_frame(now), None);
    for frame in again {
        other.handle(frame, now);
    }
    assert_eq!(other.unread(), b"abc");

    // Cut elsewhere, as nobody does, it is known again, too.
    let known = Frame {
        payload: Bytes::from_static(b"bcd"),
        ..frames[1].clone()
    };
    other.handle(known, now);
    assert_eq!(other.unread(), b"abcd");
}

/// Each message wakes both ends and a server, which a key's way is made of.
#[test]
fn a_key_and_its_echo_are_a_message_each() {
    let (mut client, mut host, mut now) = pair();
    let said = Cell::new(0);
    let pass = |one: &mut End, other: &mut End, now| {
        while let Some(frame) = one.next_frame(now) {
            said.set(said.get() + 1);
            other.handle(frame, now);
            other.consume(other.unread().len(), now);
        }
    };
    let keys = 3000;
    for _ in 0..keys {
        client.write(Bytes::from_static(b"k"));
        pass(&mut client, &mut host, now);
        now += Duration::from_micros(100);
        host.write(Bytes::from_static(b"k"));
        pass(&mut host, &mut client, now);
        now += Duration::from_millis(20);
        pass(&mut client, &mut host, now);
        pass(&mut host, &mut client, now);
    }
    assert_eq!(said.get(), 2 * keys);
    // Once nothing more is typed, the last echo is acknowledged.
    now = client.deadline();
    pass(&mut client, &mut host, now);
    assert_eq!((said.get(), host.untaken()), (2 * keys + 1, 0));
}
