//! What must hold for what a fleet reads from servers: subjects, headers, and messages in any
//! order, of the stream and of sessions, and what hosts say of themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use chardev::Epoch;
use chardev_fleet::message::{Body, EPOCH, GAP, KIND, Message, OFFSET};
use chardev_fleet::presence::{Host, Key, Page, Roster};
use chardev_fleet::reader::{Begin, Found, Reader};
use chardev_fleet::session::{self, Frame, Id, Kind};
use chardev_fleet::subject::{Name, of_host, parse_host};

/// The first byte says what the rest is.
pub(crate) fn run(data: &[u8]) {
    let Some((sort, rest)) = data.split_first() else {
        return;
    };
    match (sort, sort % 3) {
        (3, _) => frame(rest),
        (4, _) => frames(rest),
        (5, _) => records(rest),
        (6, _) => entries(rest),
        (_, 0) => {
            let Ok(subject) = std::str::from_utf8(rest) else {
                return;
            };
            if let Some((name, topic)) = Name::parse(subject) {
                assert_eq!(name.subject(topic).as_deref(), Some(subject));
            }
            if let Some((cluster, host, topic)) = parse_host(subject) {
                assert_eq!(of_host(&cluster, &host, topic).as_deref(), Some(subject));
            }
        }
        (_, 1) => headers(rest),
        _ => messages(rest),
    }
}

/// What is read as a record is written so that it is read as the same.
fn records(data: &[u8]) {
    if let Ok(host) = Host::read(data) {
        assert_eq!(Host::read(host.write().as_bytes()), Ok(host));
    }
    if let Ok(page) = Page::read(data) {
        assert_eq!(Page::read(page.write().as_bytes()), Ok(page));
    }
}

/// Keys and values, by turns, each on a line: nobody is there who has not said so.
fn entries(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.chunks_exact(2).enumerate();
    let all = pairs.map(|(number, pair)| (pair[0], pair[1].as_bytes(), number as u64));
    for (name, present) in Roster::of(all.clone()).hosts {
        let of_host = all.clone().filter_map(|(key, value, _)| {
            let (host, key) = Key::parse(key)?;
            (host == name).then_some((key, value))
        });
        let is_it = |(key, value): (Key, &[u8])| {
            key == Key::Host && Host::read(value).as_ref() == Ok(&present.host)
        };
        assert!(of_host.clone().any(is_it));
        for console in present.consoles.values() {
            let has_it = |(_, value): (Key, &[u8])| {
                Page::read(value).is_ok_and(|page| page.consoles.contains(console))
            };
            assert!(of_host.clone().any(has_it));
        }
    }
}

/// Lines of headers, an empty one, and the payload.
fn headers(data: &[u8]) {
    let Some((values, payload)) = named(data, &[EPOCH, OFFSET, KIND, GAP]) else {
        return;
    };
    let get = |name: &str| values.get(name).copied().filter(|it| !it.is_empty());
    if let Ok(message) = Message::parse(get, payload.as_bytes().to_vec().into()) {
        assert!(message.end() >= message.offset);
        for (name, value) in message.headers() {
            assert_eq!(get(name), Some(value.as_str()));
        }
    }
}

/// The lines of headers, by their names, and the payload.
fn named<'a>(
    data: &'a [u8],
    names: &[&'static str],
) -> Option<(BTreeMap<&'static str, &'a str>, &'a str)> {
    let text = std::str::from_utf8(data).ok()?;
    let (head, payload) = text.split_once("\n\n").unwrap_or((text, ""));
    let values = names.iter().copied().zip(head.lines()).collect();
    Some((values, payload))
}

/// The same for a message of a session, which has one header.
fn frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (header, payload) = text.split_once("\n\n").unwrap_or((text, ""));
    if let Ok(frame) = Frame::parse(Some(header), payload.as_bytes().to_vec().into()) {
        assert!(
            frame
                .offset
                .checked_add(frame.payload.len() as u64)
                .is_some()
        );
        assert_eq!(frame.payload(), payload.as_bytes());
        assert_eq!(frame.header(), header);
    }
}

/// Whatever the other end says, an end holds little, and reads no byte twice.
fn frames(steps: &[u8]) {
    let id = Id(1);
    let mut now = Duration::ZERO;
    let mut end = session::End::accept(id, now);
    let (mut read, mut last) = (0, 0);
    for step in steps.chunks_exact(8) {
        let number = |at: usize| u64::from(u16::from_be_bytes([step[at], step[at + 1]]));
        let flag = |bit: u8| step[0] & bit != 0;
        let length = if flag(8) {
            40_000
        } else {
            usize::from(step[7])
        };
        now += Duration::from_millis(number(5) << (step[0] >> 6));
        end.handle(
            Frame {
                session: id,
                kind: if flag(1) { Kind::Open } else { Kind::Data },
                offset: number(1) * (1 + u64::from(step[7] & 7)),
                payload: vec![b'x'; length].into(),
                taken: number(3),
                credit: number(3) + number(5),
                end: flag(2).then(|| number(1)),
                done: flag(4),
                lost: flag(16),
                stop: flag(64),
            },
            now,
        );
        let count = end.wants().min(usize::from(step[7]));
        if count > 0 {
            end.write(vec![b'y'; count].into());
        }
        if flag(32) {
            read += end.unread().len() as u64;
            end.consume(end.unread().len(), now);
        }
        for _ in 0..600 {
            let Some(frame) = end.next_frame(now) else {
                break;
            };
            assert!(frame.taken >= last && frame.credit <= read + session::WINDOW as u64);
            if !matches!(frame.kind, Kind::Reset(_)) {
                last = frame.taken;
            }
        }
        assert!(end.next_frame(now).is_none(), "it does not come to rest");
        assert!(end.held() <= 2 * session::WINDOW);
    }
}

/// Whatever is stored, no byte of a life is found twice or out of order, and what waits is bounded.
fn messages(steps: &[u8]) {
    let mut reader = Reader::new(Begin::Beginning);
    let mut next: BTreeMap<Epoch, u64> = BTreeMap::new();
    let mut lives = 0;
    let mut check = |reader: &mut Reader| {
        while let Some(found) = reader.next_found() {
            let (epoch, from, to) = match found {
                Found::Output {
                    epoch,
                    offset,
                    bytes,
                } => (epoch, offset, offset + bytes.len() as u64),
                Found::Gap {
                    epoch, from, to, ..
                } => (epoch, from, to),
                Found::End { epoch, offset } => (epoch, offset, offset),
            };
            let at = next.entry(epoch).or_default();
            assert_eq!(from, *at);
            *at = to;
        }
    };
    for step in steps.chunks_exact(4) {
        // Few enough lives that none is forgotten, since one that comes again begins at 0 again.
        let epoch = u64::from(step[0] & 7);
        lives |= 1 << epoch;
        let offset = u64::from(u16::from_be_bytes([step[1], step[2]]));
        let length = u64::from(step[3]) + 1;
        let body = match step[0] >> 6 {
            0 => Body::Gap {
                to: offset + (length << (step[0] >> 3 & 7)),
            },
            1 if step[3] == 0 => Body::End,
            _ => Body::Output(vec![b'x'; length as usize].into()),
        };
        reader.push(Message {
            epoch: Epoch::new(epoch + 1),
            offset,
            body,
        });
        check(&mut reader);
    }
    reader.flush();
    check(&mut reader);
    assert!(next.len() <= u32::count_ones(lives) as usize);
}
