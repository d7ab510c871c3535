//! What must hold for what a fleet reads from servers: subjects, headers, and messages in any
//! order.

use std::collections::BTreeMap;

use chardev::Epoch;
use chardev_fleet::message::{Body, EPOCH, GAP, KIND, Message, OFFSET};
use chardev_fleet::reader::{Begin, Found, Reader};
use chardev_fleet::subject::Name;

/// The first byte says what the rest is.
pub(crate) fn run(data: &[u8]) {
    let Some((sort, rest)) = data.split_first() else {
        return;
    };
    match sort % 3 {
        0 => {
            let Ok(subject) = std::str::from_utf8(rest) else {
                return;
            };
            if let Some((name, topic)) = Name::parse(subject) {
                assert_eq!(name.subject(topic).as_deref(), Some(subject));
            }
        }
        1 => headers(rest),
        _ => messages(rest),
    }
}

/// Lines of headers, an empty one, and the payload.
fn headers(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (head, payload) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let names = [EPOCH, OFFSET, KIND, GAP];
    let values: BTreeMap<_, _> = names.into_iter().zip(&mut lines).collect();
    let get = |name: &str| values.get(name).copied().filter(|it| !it.is_empty());
    if let Ok(message) = Message::parse(get, payload.as_bytes().to_vec().into()) {
        assert!(message.end() >= message.offset);
        for (name, value) in message.headers() {
            assert_eq!(get(name), Some(value.as_str()));
        }
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
