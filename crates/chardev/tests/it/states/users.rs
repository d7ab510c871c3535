//! Changes from and to back ends whose peer is a user: a console with its keys, a mouse and a
//! tablet, with each other and with all other kinds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use chardev::screen::{Screen, Size};
use chardev::{Chardevs, Info, ModemLines};

use super::peer::{Kind, Peer, Place};
use super::printer::{self, Printer};
use super::table::compare;
use super::user::{self, Doing, Toy};
use super::walk::escaped_rounds;
use crate::common::{DEADLINE, LOOK_AGAIN, add, change, hold, wait_for};

/// How often each pair is walked in the run whose table is in the documentation.
const ROUNDS: usize = 8;
/// What a user does before the change, few enough that a mouse need not make one report of them.
const ACTS: usize = 6;
/// Output that is printed, at least, before a back end is replaced.
const ENOUGH: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Plain(Kind),
    User(Toy),
}

const TOYS: [Node; 3] = [
    Node::User(Toy::Vc),
    Node::User(Toy::Mouse),
    Node::User(Toy::Tablet),
];

impl Node {
    fn all() -> Vec<Node> {
        let plain = Kind::ALL.into_iter().map(Node::Plain);
        plain.chain(TOYS).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Node::Plain(kind) => kind.name(),
            Node::User(toy) => toy.name(),
        }
    }
}

/// A back end in the slot.
struct Present {
    node: Node,
    place: Option<Place>,
    info: Info,
    peer: Option<Peer>,
    /// Where its output begins.
    start: usize,
}

/// What came from one back end, for the check of all input.
enum Said {
    Peer {
        seed: usize,
        before: usize,
        in_all: usize,
    },
    User(Doing),
}

struct Walk<'a> {
    dir: &'a Path,
    chardevs: Chardevs,
    printer: Printer,
    name: Vec<u8>,
    number: usize,
    present: Present,
    said: Vec<Said>,
}

impl<'a> Walk<'a> {
    fn start(dir: &'a Path) -> Self {
        let chardevs = Chardevs::new().unwrap();
        let node = TOYS[0];
        let info = add(&chardevs, "con0", &hold(node.name()));
        let printer = Printer::start(&chardevs);
        printer.front().set_modem(ModemLines::DTR | ModemLines::RTS);
        Walk {
            dir,
            name: user::name_of_a_mouse(),
            printer,
            number: 0,
            present: Present {
                node,
                place: None,
                info,
                peer: None,
                start: 0,
            },
            chardevs,
            said: Vec::new(),
        }
    }

    /// One change. The user never stops if he `floods`; every other time the printer goes on.
    fn hop(&mut self, to: Node, floods: bool) {
        let odd = self.number % 2 == 1;
        self.number += 1;
        let from = self.present.node;
        self.use_it();
        let doing = match from {
            Node::User(toy) => Some(Doing::new(&self.chardevs, toy)),
            Node::Plain(_) => None,
        };
        let mut seen = self.printer.received();
        if let Some(doing) = &doing {
            if odd && !floods {
                // It is all unread then.
                seen = self.printer.pause_reading();
            }
            doing.act(ACTS);
            if floods {
                doing.flood();
            }
        }
        let sent = self.present.peer.as_ref().map_or(0, Peer::sent);
        let pauses = !odd || matches!(to, Node::User(_));
        let accepted = pauses.then(|| self.printer.pause());
        if from == TOYS[0] {
            self.check_screen();
        }
        let mut early = Vec::new();
        if from == Node::Plain(Kind::Ringbuf) {
            early = self.leave_ring();
        }
        let (place, options) = match to {
            Node::Plain(kind) => {
                let place = Place::new(self.dir, self.number, kind, odd, false);
                let options = place.options.clone();
                (Some(place), options)
            }
            Node::User(toy) => (None, hold(toy.name())),
        };
        let info = change(&self.chardevs, "con0", &options)
            .unwrap_or_else(|error| panic!("{from:?} to {to:?}: {error}"));
        self.printer.go_on();
        let next = Present {
            node: to,
            place,
            info,
            peer: None,
            start: 0,
        };
        let old = std::mem::replace(&mut self.present, next);
        self.join();
        self.present.start = match (from, accepted) {
            (Node::Plain(Kind::Ringbuf), _) => old.start + early.len(),
            (_, Some(accepted)) => accepted,
            (_, None) => printer::locate(&self.first()),
        };
        self.follow(old, sent, early);
        if let Some(doing) = doing {
            doing.finish();
            // It is the end of the input until somebody else says something.
            wait_for("what was done", || {
                (self.printer.received() > seen).then_some(())
            });
            self.said.push(Said::User(doing));
        }
    }

    /// Whoever is at the other end comes.
    fn join(&mut self) {
        let Some(place) = &self.present.place else {
            return;
        };
        if place.kind != Kind::File {
            let seed = Some(self.number * 104_729);
            let peer = Peer::join(place, &self.present.info, &self.chardevs, (true, seed));
            self.present.peer = Some(peer);
        }
    }

    /// Output and input come through, and a device is ready for its user.
    fn use_it(&self) {
        match self.present.node {
            Node::User(Toy::Vc) => {}
            Node::User(Toy::Mouse) => {
                wait_for("a mouse", || {
                    self.printer.ends_with(&self.name).then_some(())
                });
            }
            Node::User(Toy::Tablet) => {
                let rest = user::report(0);
                wait_for("a tablet", || self.printer.ends_with(&rest).then_some(()));
            }
            Node::Plain(_) => {
                if let Some(peer) = self.present.peer.as_ref().filter(|peer| peer.has_input) {
                    wait_for("input", || (peer.sent() > 0).then_some(()));
                }
                wait_for("output", || (self.got() >= ENOUGH).then_some(()));
            }
        }
    }

    fn got(&self) -> usize {
        match (&self.present.peer, &self.present.place) {
            (Some(peer), _) => peer.got(),
            (None, Some(place)) => {
                std::fs::metadata(place.path()).map_or(0, |it| it.len() as usize)
            }
            (None, None) => 0,
        }
    }

    /// The first output that the present back end took.
    fn first(&self) -> Vec<u8> {
        wait_for("output after the change", || {
            let first = match (&self.present.peer, &self.present.place) {
                (Some(peer), _) => peer.first(),
                (None, Some(place)) => std::fs::read(place.path()).unwrap_or_default(),
                (None, None) => Vec::new(),
            };
            (first.len() >= 2 * printer::LINE).then_some(first)
        })
    }

    /// What is on the screen is what was printed since it came, and nothing else.
    fn check_screen(&self) {
        let showing = self.chardevs.screen("con0", Size::DEFAULT);
        let found = self.chardevs.block_on(showing).unwrap();
        let mut screen = Screen::new(Size::DEFAULT);
        let printed = printer::text(
            self.present.start,
            found.offset as usize - self.present.start,
        );
        let mut rest = &printed[..];
        while !rest.is_empty() {
            rest = &rest[screen.feed(rest)..];
        }
        assert!(screen.snapshot() == found.shown, "{:?}", found.shown);
    }

    /// A ring has one reader at a time; what he leaves goes to the next back end.
    fn leave_ring(&mut self) -> Vec<u8> {
        let reader = self.present.peer.take().unwrap();
        reader.leave();
        reader.finish().0
    }

    /// What a replaced back end's peer got is what was printed until the next one came.
    fn follow(&mut self, old: Present, sent: usize, early: Vec<u8>) {
        let (start, end) = (old.start, self.present.start);
        let Some(place) = &old.place else {
            assert!(end >= start);
            return;
        };
        let mut got = early;
        if let Some(peer) = old.peer {
            peer.fall_silent();
            let (more, in_all) = peer.finish();
            got = more;
            self.said.push(Said::Peer {
                seed: place.number * 104_729,
                before: sent,
                in_all,
            });
        } else if place.kind == Kind::File {
            got = wait_for("all of a file", || {
                let bytes = std::fs::read(place.path()).unwrap();
                (bytes.len() >= end - start).then_some(bytes)
            });
        }
        let kinds = (old.node, self.present.node);
        assert_eq!(got.len(), end - start, "{kinds:?}");
        assert!(got == printer::text(start, end - start), "{kinds:?}");
    }

    fn finish(mut self) {
        self.hop(Node::Plain(Kind::File), false);
        let accepted = self.printer.pause();
        let start = self.present.start;
        let path = self.present.place.as_ref().unwrap().path();
        let rest = wait_for("the last file", || {
            let bytes = std::fs::read(path).unwrap();
            (start + bytes.len() >= accepted).then_some(bytes)
        });
        assert!(rest == printer::text(start, accepted - start));
        // How much is enough only shows in what follows.
        let deadline = Instant::now() + DEADLINE;
        while let Err(wrong) = self.check_input() {
            assert!(Instant::now() < deadline, "{wrong}");
            std::thread::park_timeout(LOOK_AGAIN);
        }
        let stats = self.printer.front().stats();
        let dropped = [
            stats.output_discarded,
            stats.output_overwritten,
            stats.output_undrained,
            stats.input_overflowed,
        ];
        assert_eq!(dropped, [0; 4], "{stats:?}");
    }

    /// Each one's input follows the former's, all of it.
    fn check_input(&self) -> Result<(), String> {
        let all = self.printer.input();
        let mut input = &all[..];
        for (number, this) in self.said.iter().enumerate() {
            let left = match this {
                Said::User(doing) => doing.check(input, &self.name).map_err(|wrong| {
                    let at = all.len() - input.len();
                    let some = input.escape_ascii().take(200).map(char::from);
                    let some: String = some.collect();
                    format!("{wrong}: number {number}, after {at} bytes comes {some}")
                })?,
                Said::Peer {
                    seed,
                    before,
                    in_all,
                } => {
                    let most = &input[..input.len().min(*in_all)];
                    let same = super::stream::agrees(*seed, most);
                    if same < *before {
                        return Err(format!("{same} bytes of {before} came from a peer"));
                    }
                    &input[same..]
                }
            };
            input = left;
        }
        match input.len() {
            0 => Ok(()),
            more => Err(format!("{more} bytes of input too many")),
        }
    }
}

/// Every pair with a user in it, and the ways between them, which do not count.
fn way(floods: bool) -> Vec<(Node, Node, bool)> {
    let mut way = Vec::new();
    for round in 0..escaped_rounds() {
        for number in 0..TOYS.len() {
            let toy = TOYS[(number + round) % TOYS.len()];
            way.push((toy, toy, true));
            for kind in Kind::ALL.map(Node::Plain) {
                way.extend([(toy, kind, true), (kind, toy, true)]);
            }
            let other = TOYS[(number + 1 + round) % TOYS.len()];
            way.extend([(toy, other, true), (other, toy, true), (toy, other, false)]);
        }
    }
    if floods {
        // Who acts on would act on the new one of the same kind.
        way.retain(|(from, to, _)| from != to);
    }
    way
}

pub(super) fn check(name: &str, floods: bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut walk = Walk::start(dir.path());
    let mut cells: BTreeMap<(Node, Node), usize> = BTreeMap::new();
    for (from, to, counted) in way(floods) {
        if walk.present.node != from {
            walk.hop(from, false);
        }
        walk.hop(to, floods && counted);
        *cells.entry((from, to)).or_default() += usize::from(counted);
    }
    walk.finish();
    compare(name, &render(&cells, floods), ROUNDS == escaped_rounds());
}

fn render(cells: &BTreeMap<(Node, Node), usize>, floods: bool) -> String {
    let mut table = "| old \\ new |".to_owned();
    let all = Node::all();
    let heads: Vec<_> = all
        .iter()
        .map(|node| format!(" {} |", node.name()))
        .collect();
    let _ = writeln!(table, "{}", heads.concat());
    let _ = writeln!(table, "| --- |{}", " --- |".repeat(all.len()));
    let mut walked = 0;
    for old in all.iter().filter(|old| !floods || TOYS.contains(old)) {
        let _ = write!(table, "| {} |", old.name());
        for new in &all {
            let has_user = TOYS.contains(old) || TOYS.contains(new);
            if !has_user || (floods && old == new) {
                table.push_str(" – |");
                continue;
            }
            walked += 1;
            assert!(
                cells[&(*old, *new)] >= escaped_rounds(),
                "{old:?} to {new:?}"
            );
            let _ = write!(table, " {ROUNDS}: 0 / 0 |");
        }
        table.push('\n');
    }
    assert!(walked > 20);
    table
}
