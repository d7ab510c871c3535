//! A seeded simulator: a console with a small ring, its publisher, a network that loses, doubles,
//! delays and reorders, a server that forgets which ids it has seen or knows some of messages that
//! it does not have, and daemons that are killed.
//! Whatever happens, a reader of what was stored finds each byte once, in its place.
//!
//! `FLEET_SEED=N` runs one seed again.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use chardev::Epoch;
use chardev_fleet::message::{Body, Message};
use chardev_fleet::publisher::Publisher;
use chardev_fleet::reader::{Begin, Found, Reader, Why};
use chardev_load::lines::{Form, Lines};
use chardev_load::random::Random;

/// How many bytes the console's ring keeps.
const RING: u64 = 300_000;

/// Every byte of every life is known: they begin at different places of one text.
fn output(epoch: Epoch, from: u64, to: u64) -> Bytes {
    let mut text = vec![0; (to - from) as usize];
    Lines::from_offset(Form::Padded, from + (epoch.get() << 32)).fill(&mut text);
    text.into()
}

/// What a life came to.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    /// What the daemon knew to be stored when it was killed; all of it if it was not.
    stored: u64,
    printed: u64,
    was_killed: bool,
    /// Bytes that the ring did not keep for the publisher.
    lost: u64,
}

/// About which message, and whether the stream has it or a server only knows its id.
type Answer = (Epoch, u64, u64, bool);

struct Sim {
    random: Random,
    publisher: Publisher,
    epoch: Epoch,
    printed: u64,
    connected: bool,
    /// On their way to the server, and acknowledgements on their way back.
    sent: Vec<(Message, Option<String>)>,
    answers: Vec<Answer>,
    stored: Vec<Message>,
    ids: HashSet<String>,
    /// Of messages that a leader had begun to store when another one took its place.
    staged: HashSet<String>,
    lives: BTreeMap<u64, Life>,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let epoch = Epoch::new(1);
        Sim {
            random: Random::new(seed),
            publisher: Publisher::new(epoch, 0),
            epoch,
            printed: 0,
            connected: true,
            sent: Vec::new(),
            answers: Vec::new(),
            stored: Vec::new(),
            ids: HashSet::new(),
            staged: HashSet::new(),
            lives: BTreeMap::from([(1, Life::default())]),
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..25 => {
                let most = self.random.pick(&[3, 200, 20_000, 150_000]);
                self.printed += self.random.below(most) as u64;
            }
            25..50 => self.take(),
            50..70 => self.send(),
            70..82 => self.deliver(),
            82..92 => self.answer(),
            92..94 => self.fail_one(),
            94..96 => self.reconnect(),
            96 => self.ids.clear(),
            97 => self.lose(),
            98 => self.begin_anew(),
            _ if self.random.one_in(4) => self.kill(),
            _ => {}
        }
    }

    /// What a daemon does with what its console has printed.
    fn take(&mut self) {
        let oldest = self.printed.saturating_sub(RING);
        let at = self.publisher.taken();
        if at < oldest {
            if self.publisher.has_room() {
                self.publisher.gap(oldest);
                self.life().lost += oldest - at;
            }
            return;
        }
        let available = (self.printed - at) as usize;
        let count = self.publisher.wants(available);
        // A source may give less than there is.
        let count = count - self.random.below(count.max(1)) / 2;
        if count > 0 {
            let bytes = output(self.epoch, at, at + count as u64);
            self.publisher.take(bytes);
        }
    }

    fn send(&mut self) {
        if self.connected {
            if let Some(message) = self.publisher.next_message() {
                let id = self.publisher.id(&message);
                if self.random.one_in(10) {
                    self.sent.push((message.clone(), id.clone()));
                }
                self.sent.push((message, id));
            }
        }
    }

    /// Something on its way, mostly what was sent first, comes to the server.
    fn deliver(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let late = self.random.one_in(4);
        let at = if late {
            self.random.below(self.sent.len())
        } else {
            0
        };
        let (message, id) = self.sent.remove(at);
        let is_staged = id.as_ref().is_some_and(|id| self.staged.contains(id));
        let answer = (message.epoch, message.offset, message.end(), !is_staged);
        if is_staged {
            self.answers.push(answer);
        } else if id.is_some() && self.random.one_in(20) {
            // It is replaced as a leader: nobody answers, and nothing is stored.
            self.staged.extend(id.filter(|id| !self.ids.contains(id)));
        } else {
            self.answers.push(answer);
            if id.is_none_or(|id| self.ids.insert(id)) {
                self.stored.push(message);
            }
        }
    }

    fn answer(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let at = self.random.below(self.answers.len());
        let (epoch, offset, end, is_stored) = self.answers.swap_remove(at);
        // What was for a daemon that was killed reaches nobody.
        match (epoch == self.epoch, is_stored) {
            (true, true) => self.publisher.acknowledge(offset, end),
            (true, false) => self.publisher.doubt(offset),
            (false, _) => {}
        }
    }

    /// No answer came in time, be it that there will be one.
    fn fail_one(&mut self) {
        if let Some((message, _)) = self.sent.first().cloned() {
            if message.epoch == self.epoch {
                self.publisher.retry(message.offset);
            }
        }
    }

    fn reconnect(&mut self) {
        self.connected = !self.connected;
        if self.connected {
            self.publisher.retry_all();
        }
    }

    /// A part of what is on its way is lost.
    fn lose(&mut self) {
        let mut random = self.random.clone();
        self.sent.retain(|_| !random.one_in(2));
        self.answers.retain(|_| !random.one_in(2));
        self.random.below(1);
        self.publisher.retry_all();
    }

    /// The fleet of the daemon is begun anew, where it was.
    fn begin_anew(&mut self) {
        // A gap that was not acknowledged is found again, or by then a larger one.
        let from = self.publisher.acknowledged();
        self.publisher = Publisher::new(self.epoch, from);
    }

    fn kill(&mut self) {
        let (stored, printed) = (self.publisher.acknowledged(), self.printed);
        let life = self.life();
        *life = Life {
            stored,
            printed,
            was_killed: true,
            ..*life
        };
        self.epoch = Epoch::new(self.epoch.get() + 1);
        self.lives.insert(self.epoch.get(), Life::default());
        self.publisher = Publisher::new(self.epoch, 0);
        self.printed = 0;
    }

    fn life(&mut self) -> &mut Life {
        self.lives.get_mut(&self.epoch.get()).unwrap()
    }

    /// Everything is well again, and all that is on its way arrives.
    fn settle(&mut self) {
        self.connected = true;
        self.publisher.retry_all();
        for _ in 0..100_000 {
            self.take();
            // What nobody has answered is sent again.
            self.publisher.retry_all();
            while let Some(message) = self.publisher.next_message() {
                let id = self.publisher.id(&message);
                self.sent.push((message, id));
            }
            while !self.sent.is_empty() {
                self.deliver();
            }
            while !self.answers.is_empty() {
                self.answer();
            }
            if self.publisher.is_idle() && self.publisher.taken() == self.printed {
                let (stored, printed) = (self.printed, self.printed);
                let life = self.life();
                *life = Life {
                    stored,
                    printed,
                    ..*life
                };
                return;
            }
        }
        panic!("it does not come to an end");
    }

    /// What a reader finds is what was printed.
    fn check(&self) {
        let mut reader = Reader::new(Begin::Beginning);
        let mut next: BTreeMap<u64, u64> = BTreeMap::new();
        let mut told: BTreeMap<u64, u64> = BTreeMap::new();
        let mut check = |found: Found| match found {
            Found::Output {
                epoch,
                offset,
                bytes,
            } => {
                let at = next.entry(epoch.get()).or_default();
                assert_eq!(offset, *at, "of {epoch}");
                *at += bytes.len() as u64;
                assert_eq!(bytes, output(epoch, offset, *at), "at {offset} of {epoch}");
            }
            Found::Gap {
                epoch,
                from,
                to,
                why,
            } => {
                let at = next.entry(epoch.get()).or_default();
                assert_eq!(from, *at, "of {epoch}");
                *at = to;
                match why {
                    Why::Told => *told.entry(epoch.get()).or_default() += to - from,
                    Why::Missing => {
                        let life = self.lives[&epoch.get()];
                        assert!(
                            life.was_killed && from >= life.stored,
                            "{from}..{to} of {life:?}"
                        );
                    }
                }
            }
            Found::End { .. } => panic!("none was removed"),
        };
        for message in &self.stored {
            reader.push(message.clone());
            while let Some(found) = reader.next_found() {
                check(found);
            }
        }
        reader.flush();
        while let Some(found) = reader.next_found() {
            check(found);
        }
        for (epoch, life) in &self.lives {
            let read = next.get(epoch).copied().unwrap_or(0);
            assert!(
                read >= life.stored && read <= life.printed,
                "{read} of {life:?}"
            );
            let told = told.get(epoch).copied().unwrap_or(0);
            assert!(told <= life.lost, "{told} of {life:?}");
        }
    }
}

fn run(seed: u64, steps: usize) -> (usize, bool) {
    let mut sim = Sim::new(seed);
    for _ in 0..steps {
        sim.step();
    }
    sim.settle();
    sim.check();
    let any_gap = sim
        .stored
        .iter()
        .any(|it| matches!(it.body, Body::Gap { .. }));
    (sim.stored.len(), any_gap)
}

#[test]
fn every_byte_is_read_once_whatever_becomes_of_messages_servers_and_daemons() {
    let given = std::env::var("FLEET_SEED").ok();
    let seeds = match given.map(|seed| seed.parse().unwrap()) {
        Some(seed) => seed..=seed,
        None => 1..=200,
    };
    let (mut stored, mut gaps) = (0, 0);
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| run(seed, 1500));
        let (count, any_gap) = run.unwrap_or_else(|_| panic!("FLEET_SEED={seed}"));
        stored += count;
        gaps += usize::from(any_gap);
    }
    if seeds.count() > 1 {
        assert!(
            stored > 10_000 && gaps > 50,
            "{stored} messages, {gaps} gaps"
        );
    }
}
