//! What is written is read again, and only that.

use std::collections::HashMap;

use bytes::Bytes;
use chardev::Epoch;
use chardev_fleet::message::{Body, EPOCH, GAP, Head, KIND, Message, OFFSET};
use chardev_fleet::reader::{Begin, Found, Reader};
use chardev_fleet::session::Frame;
use chardev_fleet::subject::{Name, Topic, escape, unescape};
use proptest::prelude::*;

fn bodies() -> impl Strategy<Value = Body> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..200).prop_map(|it| Body::Output(it.into())),
        (1_u64..1 << 40).prop_map(|to| Body::Gap { to }),
        Just(Body::End),
    ]
}

fn messages() -> impl Strategy<Value = Message> {
    (any::<u64>(), 0_u64..1 << 60, bodies()).prop_map(|(epoch, offset, body)| Message {
        epoch: Epoch::new(epoch),
        offset,
        body: match body {
            Body::Gap { to } => Body::Gap { to: offset + to },
            other => other,
        },
    })
}

fn read(headers: &HashMap<&str, String>, payload: Bytes) -> Option<Message> {
    Message::parse(|name| headers.get(name).map(String::as_str), payload).ok()
}

proptest! {
    #[test]
    fn any_name_is_a_token_and_back(name in any::<String>()) {
        let token = escape(&name);
        prop_assert!(!token.is_empty());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=".contains(c);
        prop_assert!(token.chars().all(plain), "{}", token);
        prop_assert_eq!(unescape(&token), Some(name));
    }

    #[test]
    fn a_token_that_is_read_is_what_its_name_is_written_as(token in "[=a-zA-Z0-9.*>é-]{0,12}") {
        if let Some(name) = unescape(&token) {
            prop_assert_eq!(escape(&name), token);
        }
    }

    #[test]
    fn a_subject_is_of_one_console(cluster in ".{0,9}", host in ".{0,9}", console in ".{0,9}") {
        let name = Name { cluster, host, console };
        for topic in Topic::ALL {
            let subject = name.subject(topic).unwrap();
            prop_assert_eq!(Name::parse(&subject), Some((name.clone(), topic)));
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written(message in messages()) {
        let headers: HashMap<_, _> = message.headers().into_iter().collect();
        let parsed = read(&headers, message.payload());
        prop_assert_eq!(parsed, Some(message));
    }

    #[test]
    fn messages_that_are_not_the_same_have_other_ids(one in messages(), other in messages()) {
        let cut = |it: &Message| (it.epoch, it.offset, it.end(), std::mem::discriminant(&it.body));
        prop_assert_eq!(one.id() == other.id(), cut(&one) == cut(&other));
    }
}

#[test]
fn nothing_is_guessed() {
    let message = Message {
        epoch: Epoch::new(7),
        offset: 5,
        body: Body::Gap { to: 9 },
    };
    let good: HashMap<_, _> = message.headers().into_iter().collect();
    assert_eq!(read(&good, Bytes::new()), Some(message));
    for (name, value) in [
        (EPOCH, Some("7")),
        (EPOCH, Some("0000000000000000")),
        (EPOCH, None),
        (OFFSET, Some("05")),
        (OFFSET, Some("+5")),
        (OFFSET, Some("")),
        (OFFSET, Some("18446744073709551616")),
        (OFFSET, None),
        (KIND, Some("output")),
        (KIND, Some("end")),
        (KIND, Some("Gap")),
        (KIND, None),
        (GAP, Some("5..5")),
        (GAP, Some("4..9")),
        (GAP, Some("5-9")),
        (GAP, None),
    ] {
        let mut headers = good.clone();
        match value {
            Some(value) => headers.insert(name, value.to_owned()),
            None => headers.remove(name),
        };
        assert_eq!(read(&headers, Bytes::new()), None, "{name}: {value:?}");
    }
    assert_eq!(read(&good, Bytes::from_static(b"x")), None);
    let mut output = good;
    output.remove(GAP);
    output.insert(KIND, "output".to_owned());
    assert_eq!(read(&output, Bytes::new()), None, "no bytes");
    assert!(read(&output, Bytes::from_static(b"x")).is_some());
    output.insert(OFFSET, u64::MAX.to_string());
    assert_eq!(read(&output, Bytes::from_static(b"x")), None, "too far");
}

proptest! {
    #[test]
    fn the_head_of_a_message_says_what_the_message_does(message in messages()) {
        let headers: HashMap<_, _> = message.headers().into_iter().collect();
        let header = |name: &str| headers.get(name).map(String::as_str);
        let head = Head::parse(header, message.payload().len() as u64).unwrap();
        prop_assert_eq!((head.epoch, head.end), (message.epoch, message.end()));
        prop_assert_eq!(head.is_last, message.body == Body::End);
    }
}

#[test]
fn who_begins_within_a_life_reads_it_from_there_and_the_next_one_whole() {
    let [first, second] = [1, 2].map(Epoch::new);
    let output = |epoch, offset, text: &'static str| Message {
        epoch,
        offset,
        body: Body::Output(text.into()),
    };
    let mut reader = Reader::new(Begin::At(first, 4));
    // The second one was stored before the first.
    for message in [
        output(first, 6, "gh"),
        output(first, 0, "abcdef"),
        output(second, 2, "zz"),
        output(second, 0, "yy"),
    ] {
        reader.push(message);
    }
    let mut read = Vec::new();
    while let Some(found) = reader.next_found() {
        match found {
            Found::Output {
                epoch,
                offset,
                bytes,
            } => read.push((epoch, offset, bytes)),
            other => panic!("{other:?}"),
        }
    }
    let expected = [
        (first, 4, "ef"),
        (first, 6, "gh"),
        (second, 0, "yy"),
        (second, 2, "zz"),
    ];
    assert_eq!(
        read,
        expected.map(|(epoch, offset, text)| (epoch, offset, text.into()))
    );
}

#[test]
fn what_an_old_life_held_back_is_found_once_it_is_settled() {
    let [first, second] = [1, 2].map(Epoch::new);
    let message = |epoch, offset| Message {
        epoch,
        offset,
        body: Body::Output("x".into()),
    };
    let mut reader = Reader::new(Begin::Beginning);
    reader.push(message(first, 7));
    reader.push(message(second, 3));
    assert_eq!(reader.next_found(), None);
    reader.settle();
    let gap = reader.next_found();
    assert!(
        matches!(gap, Some(Found::Gap { epoch, from: 0, to: 7, .. }) if epoch == first),
        "{gap:?}"
    );
    let output = reader.next_found();
    assert!(
        matches!(output, Some(Found::Output { epoch, offset: 7, .. }) if epoch == first),
        "{output:?}"
    );
    // What the newest one lacks may still come.
    assert_eq!(reader.next_found(), None);
}

#[test]
fn a_message_of_a_session_is_read_as_it_was_written_and_nothing_is_guessed() {
    let id = "0123456789abcdef0123456789abcdef";
    let parse = |header: &str| Frame::parse(Some(header), Bytes::from_static(b"text"));
    for rest in [
        "open 0 0 262144",
        "data 17 3 262147",
        "data 17 3 262147 end=21 done lost stop",
        "data 17 3 262147 end=0 stop",
        "data 18446744073709551611 0 18446744073709551615",
        "reset",
    ] {
        let header = format!("{id} {rest}");
        let frame = parse(&header).unwrap();
        assert_eq!(
            (frame.header(), &frame.payload()[..]),
            (header, &b"text"[..])
        );
    }
    for wrong in [
        "",
        "reset now",
        "Data 17 3 262147",
        "data 17 3",
        "data 17 3 262147 ",
        "data  17 3 262147",
        "data 017 3 262147",
        "data +17 3 262147",
        "data 17 3 262147 end=",
        "data 17 3 262147 done end=21",
        "data 17 3 262147 done done",
        "data 17 3 262147 Done",
        // Its last byte would have no offset.
        "data 18446744073709551612 0 18446744073709551615",
    ] {
        assert!(parse(&format!("{id} {wrong}")).is_err(), "{wrong}");
    }
    assert!(parse(&format!("{id}0 data 17 3 262147")).is_err());
    assert!(parse("data 17 3 262147").is_err());
    assert!(Frame::parse(None, Bytes::new()).is_err());
}
