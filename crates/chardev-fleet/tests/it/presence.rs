//! What hosts write of themselves is what is read, whatever happens on the way.

use std::collections::BTreeMap;

use chardev::Epoch;
use chardev_fleet::presence::{Board, Console, Host, Key, PAGE, Page, Present, Roster, Write};
use proptest::prelude::*;

/// A bucket, in which the newest value of each key is, with its number.
#[derive(Debug, Default)]
struct Bucket {
    entries: BTreeMap<String, (String, u64)>,
    last: u64,
}

impl Bucket {
    fn put(&mut self, host: &str, write: &Write) {
        self.last += 1;
        match &write.value {
            Some(value) => {
                let entry = (value.clone(), self.last);
                self.entries.insert(write.key.of(host), entry);
            }
            None => drop(self.entries.remove(&write.key.of(host))),
        }
    }

    fn read(&self) -> Roster {
        let entries = self.entries.iter();
        Roster::of(entries.map(|(key, (value, number))| (key.as_str(), value.as_bytes(), *number)))
    }
}

fn about(run: u64) -> Host {
    Host {
        run: Epoch::new(run),
        version: "chardevd".to_owned(),
        started: 5,
        pages: 0,
        consoles: 0,
        qmp: None,
    }
}

/// A console by its number; what else it is like comes from `sort`.
fn seen(number: u16, sort: u8, offset: u64) -> Console {
    Console {
        name: format!("con.{number}"),
        epoch: Epoch::new(u64::from(sort & 3) + 1),
        front: (sort & 4 != 0).then(|| "isa-serial".to_owned()),
        back: if sort & 8 != 0 { "pty" } else { "socket" }.to_owned(),
        offset,
        is_connected: sort & 16 != 0,
        since: 0,
    }
}

/// Those consoles, each as if it were so since then.
fn since(all: impl IntoIterator<Item = Console>, now: u64) -> Vec<Console> {
    let all = all.into_iter();
    all.map(|it| Console { since: now, ..it }).collect()
}

fn is_like(seen: &Console, console: &Console) -> bool {
    (&seen.name, seen.epoch, &seen.front, &seen.back)
        == (&console.name, console.epoch, &console.front, &console.back)
        && seen.is_connected == console.is_connected
}

/// Writes all that is to be written; returns how much that was.
fn write_all(board: &mut Board, bucket: &mut Bucket) -> usize {
    let mut count = 0;
    while let Some(write) = board.next_write() {
        bucket.put("node.7", &write);
        board.hear(&write, true);
        count += 1;
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_key_is_read_as_it_was_written(host in ".{0,20}", page in any::<usize>()) {
        for key in [Key::Host, Key::Page(page)] {
            prop_assert_eq!(Key::parse(&key.of(&host)), Some((host.clone(), key)));
        }
    }

    #[test]
    fn what_is_read_as_a_key_is_how_that_is_written(text in "[=a-zA-Z0-9.*+]{0,12}") {
        if let Some((host, key)) = Key::parse(&text) {
            prop_assert_eq!(key.of(&host), text);
        }
    }

    #[test]
    fn records_are_read_as_they_were_written(
        numbers in any::<[u64; 6]>(),
        texts in prop::array::uniform3("[ -~äß€😀]{0,16}"),
        name in any::<String>(),
        (qmp, front, is_connected) in any::<(bool, bool, bool)>(),
        count in 0..=PAGE,
    ) {
        let [version, role, kind] = texts;
        let run = Epoch::new(numbers[0]);
        let host = Host {
            run,
            version,
            started: numbers[1],
            pages: (numbers[2] % 10_001) as usize,
            consoles: numbers[3],
            qmp: qmp.then_some(role),
        };
        let written = host.write();
        prop_assert_eq!(Host::read(written.as_bytes()), Ok(host));
        let console = Console {
            name,
            epoch: run,
            front: front.then(|| kind.clone()),
            back: kind,
            offset: numbers[4],
            is_connected,
            since: numbers[5],
        };
        let page = Page { run, consoles: vec![console; count] };
        let written = page.write();
        prop_assert_eq!(Page::read(written.as_bytes()), Ok(page));
    }

    /// Consoles come, go and change, writes fail or are lost, and all is written again at times:
    /// once all is written, what is read is what there is, and what did not change was never away.
    #[test]
    fn the_bucket_comes_to_say_what_there_is(
        steps in prop::collection::vec(
            (0_u8..6, prop::collection::vec((0_u16..350, any::<u8>()), 0..300)),
            1..12,
        ),
    ) {
        let mut board = Board::new(about(1));
        let mut bucket = Bucket::default();
        let mut there: BTreeMap<u16, u8> = BTreeMap::new();
        for (now, (step, changes)) in steps.into_iter().enumerate() {
            let before = there.clone();
            for (number, sort) in changes {
                match sort >= 128 {
                    true => drop(there.remove(&number)),
                    false => drop(there.insert(number, sort)),
                }
            }
            let all = there.iter().map(|(number, sort)| seen(*number, *sort, now as u64));
            board.update(since(all.clone(), now as u64));
            let mut sent = Vec::new();
            while let Some(write) = board.next_write() {
                match (step, sent.len() % 3) {
                    // It never comes there, and somebody says so, or nobody does.
                    (0, 1) | (1, 1) => {}
                    _ => bucket.put("node.7", &write),
                }
                if step == 5 {
                    let roster = bucket.read();
                    for (number, sort) in &there {
                        if before.get(number) == Some(sort) && now > 0 {
                            let name = format!("con.{number}");
                            let is_there = roster.console("node.7", &name).is_some();
                            prop_assert!(is_there || roster.hosts.is_empty(), "{}", name);
                        }
                    }
                }
                sent.push(write);
            }
            for (at, write) in sent.iter().enumerate() {
                match (step, at % 3) {
                    (0, 1) => board.hear(write, false),
                    (1, 1) | (2, 2) => {}
                    _ => board.hear(write, true),
                }
            }
            board.retry_all();
            if step == 3 {
                board.refresh();
            }
            write_all(&mut board, &mut bucket);
            let roster = bucket.read();
            let present = &roster.hosts["node.7"];
            prop_assert_eq!(present.consoles.len(), there.len());
            prop_assert_eq!(present.host.consoles, there.len() as u64);
            for seen in all {
                let console = &present.consoles[&seen.name];
                prop_assert!(is_like(&seen, console), "{:?} {:?}", seen, console);
            }
            prop_assert_eq!(board.next_write(), None);
            let pages = present.host.pages;
            prop_assert_eq!(bucket.entries.len(), pages + 1, "what is over is deleted");
        }
    }
}

#[test]
fn a_change_is_written_where_it_is_and_output_alone_is_none() {
    let mut board = Board::new(about(1));
    let mut bucket = Bucket::default();
    let all = |offset| (0..250).map(|it| seen(it, 16, offset)).collect::<Vec<_>>();
    board.update(since(all(0), 10));
    assert_eq!(write_all(&mut board, &mut bucket), 4);
    board.update(since(all(7), 11));
    assert_eq!(write_all(&mut board, &mut bucket), 0);

    let mut changed = all(8);
    changed[120].is_connected = false;
    board.update(since(changed.clone(), 12));
    assert_eq!(write_all(&mut board, &mut bucket), 1);
    let console = bucket.read().console("node.7", "con.120").cloned().unwrap();
    assert_eq!((console.since, console.offset), (12, 8));
    let other = bucket.read().console("node.7", "con.121").cloned().unwrap();
    assert_eq!((other.since, other.offset), (10, 8), "it has come along");

    changed.remove(3);
    board.update(since(changed.clone(), 13));
    assert_eq!(
        write_all(&mut board, &mut bucket),
        2,
        "its page, and the host"
    );
    changed.push(seen(900, 0, 0));
    board.update(since(changed, 14));
    assert_eq!(write_all(&mut board, &mut bucket), 2, "it takes that place");
    assert!(bucket.read().console("node.7", "con.900").is_some());
    assert!(bucket.entries["node=2E7.0"].0.contains("con=2E900"));

    board.refresh();
    assert_eq!(write_all(&mut board, &mut bucket), 4);
    board.update(since(Vec::new(), 15));
    assert_eq!(write_all(&mut board, &mut bucket), 4);
    assert_eq!(bucket.entries.keys().collect::<Vec<_>>(), ["node=2E7"]);
    assert_eq!(bucket.read().hosts["node.7"].consoles, BTreeMap::new());
}

#[test]
fn what_an_earlier_run_has_left_and_what_is_no_record_says_nothing() {
    let mut bucket = Bucket::default();
    let mut first = Board::new(about(1));
    first.update(since((0..150).map(|it| seen(it, 0, 0)), 1));
    write_all(&mut first, &mut bucket);
    assert_eq!(bucket.read().hosts["node.7"].consoles.len(), 150);
    // Killed, and begun anew with fewer consoles: page 1 is the other run's.
    let mut second = Board::new(about(2));
    second.update(since(vec![seen(7, 0, 0)], 2));
    write_all(&mut second, &mut bucket);
    let roster = bucket.read();
    assert_eq!(roster.hosts["node.7"].consoles.len(), 1);
    assert_eq!(bucket.entries.len(), 3);

    let good = bucket.entries["node=2E7"].0.clone();
    let odd = format!("{}{}", " ".repeat(256 << 10), good);
    for value in [
        "",
        "{}",
        "[]",
        "null",
        "{\"run\": 7}",
        &good.replace("\"pages\": 1", "\"pages\": 10001"),
        &good.replace("\"pages\": 1", "\"pages\": -1"),
        &good.replace("\"version\"", "\"versions\""),
        &format!("{good}{good}"),
        &odd,
    ] {
        bucket
            .entries
            .insert("node8".to_owned(), (value.to_owned(), 99));
        let Roster { hosts } = bucket.read();
        let names: Vec<_> = hosts.into_keys().collect();
        assert_eq!(names, ["node.7"], "{value}");
    }
    for key in ["", "node8.x", "node8.01", "node8.1.2", "node 8", "*"] {
        let roster = Roster::of([(key, good.as_bytes(), 1)]);
        assert_eq!(roster, Roster::default(), "{key}");
    }
    // What a later version adds is no mistake.
    let more = good.replacen('{', "{\"more\": [1], ", 1);
    let Present { host, .. } = Roster::of([("a", more.as_bytes(), 1)]).hosts["a"].clone();
    assert_eq!(host.version, "chardevd");
}

#[test]
fn a_page_counts_by_its_run_and_its_number_and_of_two_entries_the_newer_one() {
    let console = |name: &str, offset| Console {
        name: name.to_owned(),
        epoch: Epoch::new(1),
        front: None,
        back: "pty".to_owned(),
        offset,
        is_connected: true,
        since: 0,
    };
    let page = |run, consoles: &[Console]| {
        let page = Page {
            run: Epoch::new(run),
            consoles: consoles.to_vec(),
        };
        page.write()
    };
    let host = Host {
        run: Epoch::new(1),
        version: String::new(),
        started: 0,
        pages: 3,
        consoles: 3,
        qmp: None,
    };
    // The newer one is on the earlier page, or on the later one.
    let both = [console("up", 2), console("down", 1)];
    let entries = [
        ("h", host.write(), 1),
        ("h.0", page(1, &both), 9),
        ("h.1", page(1, &[console("up", 1)]), 8),
        ("h.2", page(2, &[console("of another run", 0)]), 10),
        ("h.3", page(1, &[console("not deleted yet", 0)]), 11),
    ];
    let read = |entries: &[(&str, String, u64)]| {
        let all = entries.iter();
        let all = all.map(|(key, value, number)| (*key, value.as_bytes(), *number));
        Roster::of(all).hosts.remove("h").unwrap().consoles
    };
    let consoles = read(&entries);
    let names: Vec<_> = consoles.keys().collect();
    assert_eq!(names, ["down", "up"]);
    assert_eq!(consoles["up"].offset, 2);
    let [host, first, second, ..] = entries;
    let later = [host, (first.0, first.1, 7), second];
    assert_eq!(read(&later)["up"].offset, 1);
}

#[test]
fn a_page_of_the_longest_names_is_not_too_long() {
    let mut board = Board::new(about(u64::MAX));
    let all = (0..PAGE as u64).map(|it| Console {
        name: format!("{}{it:03}", "\u{1}".repeat(340)),
        epoch: Epoch::new(u64::MAX),
        front: Some("\u{1}".repeat(300)),
        back: "x".repeat(300),
        offset: u64::MAX,
        is_connected: false,
        since: u64::MAX,
    });
    board.update(all.collect());
    let mut bucket = Bucket::default();
    assert_eq!(write_all(&mut board, &mut bucket), 2);
    assert_eq!(bucket.read().hosts["node.7"].consoles.len(), PAGE);
}
