//! Seeded input for replaying fuzz bodies where no fuzzer can run: pieces of a dictionary, cut,
//! repeated and mixed with arbitrary bytes. The same seed gives the same input.

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
