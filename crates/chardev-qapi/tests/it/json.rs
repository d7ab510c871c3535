//! The JSON dialect: errors where QEMU has them, limits, cuts anywhere, round trips.

use chardev_qapi::parser::{MAX_MESSAGE_SIZE, MAX_NESTING, MAX_TOKENS, Message, Parser};
use chardev_qapi::{Json, Object};
use proptest::prelude::*;

/// Everything that comes out of `parser` for `bytes`, given in pieces of `size`.
fn feed(parser: &mut Parser, bytes: &[u8], size: usize) -> Vec<Result<Json, String>> {
    let mut messages = Vec::new();
    for mut chunk in bytes.chunks(size) {
        while !chunk.is_empty() {
            let (used, message) = parser.feed(chunk);
            assert!(used > 0 || message.is_some(), "no progress");
            chunk = &chunk[used..];
            let value = |message: Message| message.value.map_err(|error| error.to_string());
            messages.extend(message.map(value));
        }
    }
    messages
}

/// The same as text, one line a message.
fn lines(bytes: &[u8]) -> Vec<String> {
    let messages = feed(&mut Parser::new(), bytes, bytes.len().max(1));
    messages
        .into_iter()
        .map(|message| message.map_or_else(|error| error, |v| v.to_string()))
        .collect()
}

#[test]
fn values_and_errors() {
    let cases: &[(&str, &[&str])] = &[
        ("1 -0 0.5 1e2 ", &["1", "0", "0.5", "100"]),
        ("true false null ", &["true", "false", "null"]),
        (
            "-9223372036854775808 -9223372036854775809 ",
            &["-9223372036854775808", "-9.2233720368547758e+18"],
        ),
        (
            r#"'it\'s' "a/\/\b\f\n\r\t""#,
            &[r#""it's""#, r#""a//\b\f\n\r\t""#],
        ),
        (
            r#"{"a":[{},[]],'b':"\ud83d\ude00"}"#,
            &[r#"{"a": [{}, []], "b": "\uD83D\uDE00"}"#],
        ),
        ("[1][2]", &["[1]", "[2]"]),
        ("1,", &["1", "JSON parse error, expecting value"]),
        ("{]", &["JSON parse error, expecting value"]),
        ("[{]}", &["JSON parse error, expecting value"]),
        (
            "{{}:1}",
            &["JSON parse error, key is not a string in object"],
        ),
        (
            "{'a':1,'a':tru}",
            &["JSON parse error, invalid keyword 'tru'"],
        ),
        (
            "{'a':[1 2],'b' 3}",
            &["JSON parse error, expected separator in list"],
        ),
        (
            r#"["\ud83dx"]"#,
            &[r"JSON parse error, \ud83d is not a valid Unicode character"],
        ),
        (
            r#"["\ud83d\u0041"]"#,
            &[r"JSON parse error, \ud83d is not a valid Unicode character"],
        ),
        (
            r#""\uFFFF""#,
            &[r"JSON parse error, \uFFFF is not a valid Unicode character"],
        ),
        (
            r#""\u12g4""#,
            &[r"JSON parse error, \u12g4 is not a valid Unicode character"],
        ),
        ("T 1\n2 ", &["JSON parse error, stray 'T'", "2"]),
        (
            "1.x ]",
            &[
                "JSON parse error, stray '1.x'",
                "JSON parse error, expecting value",
            ],
        ),
        ("[1\u{1}\n3 ", &["JSON parse error, stray '\u{1}'", "3"]),
    ];
    for (text, expected) in cases {
        assert_eq!(lines(text.as_bytes()), *expected, "{text}");
    }
}

#[test]
fn nesting_is_limited_and_needs_no_stack() {
    let ok = ["[".repeat(MAX_NESTING), "]".repeat(MAX_NESTING)].concat();
    assert_eq!(lines(ok.as_bytes()).len(), 1);
    let deep = "[".repeat(100_000) + "\u{1}\n{}";
    let messages = lines(deep.as_bytes());
    assert_eq!(messages[0], "JSON nesting depth limit exceeded");
    assert_eq!(messages.last().map(String::as_str), Some("{}"));
    let close = ["[".repeat(1025), "]".repeat(1025), "\u{1}".to_owned()].concat();
    assert_eq!(lines(close.as_bytes()).len(), 1027);
}

#[test]
fn a_text_over_the_limit_is_refused_and_skipped() {
    let mut parser = Parser::new();
    assert_eq!(feed(&mut parser, b"{\"execute\": \"", 5), []);
    let chunk = vec![b'y'; 1 << 20];
    let mut messages = Vec::new();
    for _ in 0..65 {
        messages.extend(feed(&mut parser, &chunk, chunk.len()));
    }
    assert_eq!(messages, [Err("JSON token size limit exceeded".to_owned())]);
    // What follows inside of the text is not taken for a message.
    assert_eq!(
        feed(&mut parser, br#"{\"a\":1}" 7 "#, 3),
        [Ok(Json::Int(7))]
    );
}

#[test]
fn many_texts_count_together() {
    let mut parser = Parser::new();
    let text = format!("\"{}\",", "x".repeat(1 << 20));
    let mut messages = feed(&mut parser, b"[", 1);
    for _ in 0..MAX_MESSAGE_SIZE >> 20 {
        messages.extend(feed(&mut parser, text.as_bytes(), text.len()));
    }
    assert_eq!(
        messages[0],
        Err("JSON token size limit exceeded".to_owned())
    );
}

#[test]
fn tokens_are_limited() {
    let text = format!("[{}", "0,".repeat(MAX_TOKENS / 2));
    assert_eq!(lines(text.as_bytes())[0], "JSON token count limit exceeded");
}

#[test]
fn many_members_are_read_in_linear_time() {
    let members: Vec<String> = (0..100_000).map(|n| format!("'m{n}':0")).collect();
    let text = format!("{{{}}}", members.join(","));
    assert!(matches!(
        &feed(&mut Parser::new(), text.as_bytes(), 1 << 16)[..],
        [Ok(_)]
    ));
    let twice = format!("{{{},'m5':0}}", members.join(","));
    assert_eq!(lines(twice.as_bytes()), ["JSON parse error, duplicate key"]);
}

#[test]
fn one_value_and_nothing_else() {
    assert_eq!(Json::parse(" 12 "), Ok(Json::Int(12)));
    assert_eq!(Json::parse("12"), Ok(Json::Int(12)));
    assert!(Json::parse("[1").is_err());
    assert!(Json::parse("1 2").is_err());
    assert!(Json::parse("").is_err());
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(Json::Int),
        ((i64::MAX as u64 + 1)..).prop_map(Json::UInt),
        // Whole floats come back as integers, as they do from QEMU.
        any::<f64>()
            .prop_filter("a fraction", |f| f.fract() != 0.0)
            .prop_map(Json::Float),
        any_text().prop_map(Json::Str),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
            prop::collection::vec((any_text(), inner), 0..24).prop_map(|members| {
                let mut object = Object::new();
                for (name, value) in members {
                    object.insert(name, value);
                }
                Json::Object(object)
            }),
        ]
    })
}

fn any_text() -> impl Strategy<Value = String> {
    let taken = |c: &char| !chardev_qapi::unicode::is_noncharacter(*c);
    prop::collection::vec(any::<char>().prop_filter("a character", taken), 0..12)
        .prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(value in any_json()) {
        prop_assert_eq!(Json::parse(&value.to_string()), Ok(value.clone()));
        prop_assert_eq!(Json::parse(&value.to_pretty_string()), Ok(value.clone()));
        prop_assert!(value.to_string().is_ascii());
    }

    #[test]
    fn cuts_change_nothing(bytes in prop::collection::vec(json_like_byte(), 0..200), size in 1usize..9) {
        let whole = feed(&mut Parser::new(), &bytes, bytes.len().max(1));
        prop_assert_eq!(feed(&mut Parser::new(), &bytes, size), whole);
    }

    #[test]
    fn a_newline_after_a_bad_byte_is_a_fresh_start(bytes in prop::collection::vec(json_like_byte(), 0..200)) {
        let mut parser = Parser::new();
        feed(&mut parser, &bytes, 16);
        feed(&mut parser, b"\xff\n", 2);
        let good = Json::empty();
        prop_assert_eq!(feed(&mut parser, b"{}", 1), [Ok(good)]);
    }
}

fn json_like_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => prop::sample::select(b"{}[]:,\"'\\ue0123-.tru \n".to_vec()),
        1 => any::<u8>(),
    ]
}
