//! Replays the fuzz body of the screen with seeded input.

#[path = "../../../../fuzz/bodies/screen.rs"]
mod body;
#[path = "../../../../fuzz/bodies/corpus.rs"]
mod corpus;

/// What means something.
const PIECES: &[&str] = &[
    "\x1b",
    "[",
    "]",
    ";",
    "?",
    "9",
    "65535",
    "\x1b[",
    "\x1b]2;",
    "\x07",
    "\x1b\\",
    "\x1bP",
    "\x18",
    "\x1b[H",
    "\x1b[2J",
    "\x1b[J",
    "\x1b[1J",
    "\x1b[K",
    "\x1b[3;9r",
    "\x1b[r",
    "\x1b[?6h",
    "\x1b[?6l",
    "\x1b[?7l",
    "\x1b[?7h",
    "\x1b[4h",
    "\x1b[4l",
    "\x1b[20h",
    "\x1b[?1049h",
    "\x1b[?1049l",
    "\x1b[?47h",
    "\x1b[?1048h",
    "\x1b[L",
    "\x1b[9M",
    "\x1b[@",
    "\x1b[P",
    "\x1b[7X",
    "\x1b[99b",
    "\x1b[S",
    "\x1b[T",
    "\x1bM",
    "\x1bD",
    "\x1bE",
    "\x1b7",
    "\x1b8",
    "\x1bc",
    "\x1b#8",
    "\x1b[!p",
    "\x1bH",
    "\x1b[g",
    "\x1b[3g",
    "\x1b[I",
    "\x1b[Z",
    "\x1b(0",
    "\x1b(B",
    "\x1b)0",
    "\x0e",
    "\x0f",
    "\x1b[6n",
    "\x1b[5n",
    "\x1b[c",
    "\x1b[18t",
    "\x1b[8;99;99t",
    "\x1b[1;31;42m",
    "\x1b[38;5;9m",
    "\x1b[38;2;1;2;3m",
    "\x1b[48:2::1:2:3m",
    "\x1b[m",
    "中",
    "文字",
    "é",
    "e\u{301}",
    "😀",
    "│",
    "\r",
    "\n",
    "\t",
    "\x08",
    "x",
    "some text",
    "\u{9b}",
    "\u{9d}",
    "\u{9c}",
    "\u{85}",
];

#[test]
fn fuzz_screen_with_what_is_kept() {
    corpus::replay("screen", body::run);
}

#[test]
fn fuzz_screen() {
    let mut random = corpus::Random(0x5c_4ee4);
    for _ in 0..4_000 {
        let size = |random: &mut corpus::Random| match random.below(20) {
            0 => random.below(256) as u8,
            _ => 1 + random.below(30) as u8,
        };
        let mut data = vec![size(&mut random), size(&mut random)];
        data.push(random.below(20) as u8);
        for _ in 0..1 + random.below(4) {
            data.extend(corpus::input(&mut random, PIECES));
        }
        body::run(&data);
    }
}
