//! Numbers as decimal text, and back.

/// A number as decimal text, without leading zeros.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    text: [u8; 20],
    start: usize,
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
}

/// The number that `digits` spell in the one right way: no sign, no leading zeros.
pub fn parse(digits: &[u8]) -> Option<u64> {
    let number = parse_padded(digits)?;
    (Decimal::new(number).digits() == digits).then_some(number)
}

/// The number that `digits` spell, leading zeros or not.
pub(crate) fn parse_padded(digits: &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for digit in digits {
        let value = digit.checked_sub(b'0').filter(|value| *value < 10)?;
        number = number.checked_mul(10)?.checked_add(u64::from(value))?;
    }
    Some(number)
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::{Decimal, parse};

    #[test]
    fn numbers_are_spelled_as_the_standard_library_does() {
        for number in [0, 9, 10, 99_999, u64::MAX] {
            let text = number.to_string();
            assert_eq!(Decimal::new(number).digits(), text.as_bytes());
            assert_eq!(parse(text.as_bytes()), Some(number));
        }
        for wrong in ["", "01", "+1", "1 ", "18446744073709551616"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
