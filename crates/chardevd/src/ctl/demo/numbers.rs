//! Decimal numbers that count up fast, and small random numbers from a seed.

/// A number as decimal text, without leading zeros.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    text: [u8; 20],
    start: usize,
}

impl Default for Decimal {
    fn default() -> Self {
        Decimal::new(0)
    }
}

impl Decimal {
    /// The text of `number`.
    pub fn new(mut number: u64) -> Self {
        let mut text = [b'0'; 20];
        let mut start = 19;
        loop {
            text[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Decimal { text, start };
            }
            start -= 1;
        }
    }

    /// The digits.
    pub fn digits(&self) -> &[u8] {
        &self.text[self.start..]
    }

    /// Counts up by one; after twenty nines it starts again.
    pub fn increment(&mut self) {
        let mut at = 19;
        loop {
            if self.text[at] != b'9' {
                self.text[at] += 1;
                self.start = self.start.min(at);
                return;
            }
            self.text[at] = b'0';
            if at == 0 {
                *self = Decimal::new(0);
                return;
            }
            at -= 1;
        }
    }
}

/// A generator of random numbers (splitmix64); the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of `items`, which are not empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    #[test]
    fn counts_as_the_standard_library_prints() {
        let mut decimal = Decimal::default();
        for number in 0..12_000_u64 {
            assert_eq!(decimal.digits(), number.to_string().as_bytes());
            decimal.increment();
        }
        for number in [0, 9, 10, 99_999, u64::MAX] {
            assert_eq!(Decimal::new(number).digits(), number.to_string().as_bytes());
        }
    }
}
