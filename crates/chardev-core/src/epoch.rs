//! Which life of a chardev is meant: offsets count from its beginning, and names are used again.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// A random number that a chardev is given when it becomes one of a registry's, and keeps through
/// all changes.
///
/// Another chardev of the same name, after a removal or in the next run of the program, has another
/// one: an epoch and an offset together never mean two bytes. It is written as 16 hexadecimal
/// digits, because numbers in JSON may lose what is above 2⁵³.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(NonZeroU64);

impl Epoch {
    /// How many digits it is written with.
    const DIGITS: usize = 16;

    /// The one with this number; 0, which means nothing, becomes 1.
    pub fn new(number: u64) -> Self {
        Epoch(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    /// Its number, which is not 0.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.0, width = Epoch::DIGITS)
    }
}

/// A text that is not 16 small hexadecimal digits, or all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnEpoch;

impl fmt::Display for NotAnEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an epoch is 16 hexadecimal digits, not all of them 0")
    }
}

impl std::error::Error for NotAnEpoch {}

impl FromStr for Epoch {
    type Err = NotAnEpoch;

    fn from_str(text: &str) -> Result<Self, NotAnEpoch> {
        let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() != Epoch::DIGITS || !text.bytes().all(digit) {
            return Err(NotAnEpoch);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| NotAnEpoch)?;
        NonZeroU64::new(number).map(Epoch).ok_or(NotAnEpoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_one_way_and_read_no_other() {
        for number in [1, 0xabc, u64::MAX] {
            let epoch = Epoch::new(number);
            assert_eq!(epoch.to_string().parse(), Ok(epoch));
            assert_eq!(epoch.to_string().len(), 16);
        }
        for wrong in [
            "",
            "1",
            "0000000000000000",
            "+000000000000001",
            "00000000000000AB",
            "00000000000000abc",
        ] {
            assert_eq!(wrong.parse::<Epoch>(), Err(NotAnEpoch), "{wrong}");
        }
        assert_eq!(Epoch::new(0).get(), 1);
    }
}
