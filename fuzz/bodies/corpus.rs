//! Input for replaying fuzz bodies where no fuzzer can run: what a fuzzer has found and is kept in
//! `fuzz/corpus`, and seeded input: pieces of a dictionary, cut, repeated and mixed with arbitrary
//! bytes. The same seed gives the same input.

use std::path::{Path, PathBuf};

/// Runs the body of `target` with each input that is kept for it; there must be some.
pub(crate) fn replay(target: &str, mut run: impl FnMut(&[u8])) {
    // Every crate that replays lies in `crates`.
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let dir = dir.join(target);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `cargo xtask fuzz --keep` makes it",
            dir.display()
        )
    });
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", dir.display());
    for file in files {
        let input = std::fs::read(&file).expect("an input");
        let _named = Named(file);
        run(&input);
    }
}

/// Names the input that ends the test.
struct Named(PathBuf);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {}", self.0.display());
        }
    }
}

/// A small generator of numbers (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// One input of up to about twenty pieces.
pub(crate) fn input(random: &mut Random, dictionary: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(20) {
        match random.below(8) {
            0 => bytes.push(random.below(256) as u8),
            1 if !bytes.is_empty() => {
                let keep = random.below(bytes.len());
                bytes.truncate(keep);
            }
            2 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
            _ => bytes.extend_from_slice(dictionary[random.below(dictionary.len())].as_bytes()),
        }
    }
    bytes
}
