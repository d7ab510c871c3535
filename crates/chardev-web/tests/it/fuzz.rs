//! Replays the fuzz body of what comes from outside with seeded input.

#[path = "../../../../fuzz/bodies/web_said.rs"]
mod body;
#[path = "../../../../fuzz/bodies/corpus.rs"]
mod corpus;

/// What means something.
const PIECES: &[&str] = &[
    "{",
    "}",
    "\"ack\"",
    ":",
    "7",
    "-7",
    "18446744073709551616",
    "{\"ack\": 7}",
    "\"size\"",
    "{\"size\": {\"cols\": 80, \"rows\": 24}}",
    "{\"break\": true}",
    "\"cols\"",
    "\"rows\"",
    ",",
    "65536",
    "now",
    "oldest",
    "-",
    "\0\0\0\0\0\0\0\x07",
    "ls\n",
    " ",
    "12.345678",
    "hole",
    "unindexed",
    ".",
    "\u{e9}",
    "\0",
    "\x01",
    "\x02",
    "\x03\x7f\x7f",
];

#[test]
fn fuzz_web_said_with_what_is_kept() {
    corpus::replay("web_said", body::run);
}

#[test]
fn fuzz_web_said() {
    let mut random = corpus::Random(0x0c04_501e);
    for _ in 0..20_000 {
        let mut data = vec![random.below(4) as u8];
        data.extend(corpus::input(&mut random, PIECES));
        body::run(&data);
    }
}
