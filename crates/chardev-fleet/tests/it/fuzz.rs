//! Replays the fuzz body of what is read from servers with seeded input.

#[path = "../../../../fuzz/bodies/fleet_stream.rs"]
mod body;
#[path = "../../../../fuzz/bodies/corpus.rs"]
mod corpus;

/// What means something.
const PIECES: &[&str] = &[
    "chardev.",
    "lab.",
    "host.",
    "con0.",
    "out",
    "in",
    "events",
    "=2E",
    "=",
    "*",
    "0123456789abcdef\n",
    "17\n",
    "0\n",
    "output\n",
    "gap\n",
    "end\n",
    "17..99\n",
    "0123456789abcdef0123456789abcdef\n",
    "open\n",
    "data\n",
    "reset\n",
    "1\n",
    "\n",
    "text",
    "host\n",
    "host.0\n",
    "{\"run\": \"0123456789abcdef\", ",
    "\"version\": \"\", \"started\": 1, \"pages\": 1, \"consoles\": 0}\n",
    "\"consoles\": [",
    "{\"name\": \"a\", \"epoch\": \"0123456789abcdef\", ",
    "\"back-end\": \"x\", \"output-offset\": 0, \"connected\": true, \"since\": 0}",
    "]}\n",
    ", ",
    "\0\0\0\x10",
    "\x41\0\x10\0",
    "\u{e9}",
];

#[test]
fn fuzz_fleet_stream_with_what_is_kept() {
    corpus::replay("fleet_stream", body::run);
}

#[test]
fn fuzz_fleet_stream() {
    let mut random = corpus::Random(0x0f1e_e701);
    for _ in 0..20_000 {
        let mut data = vec![random.below(7) as u8];
        data.extend(corpus::input(&mut random, PIECES));
        body::run(&data);
    }
}
