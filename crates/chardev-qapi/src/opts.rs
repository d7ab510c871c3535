//! The grammar of QEMU's `key=value,…` options, and the scalars in them.

use chardev_core::spec::{Expected, ParameterError, Problem};
use chardev_core::text::shown;

/// Options as they were typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opts {
    /// Keys and values in the order given; of a repeated key the last one counts.
    pub pairs: Vec<(String, String)>,
    /// What worked but should be written in another way.
    pub warnings: Vec<String>,
}

impl Opts {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

/// Cuts `key=value,…` apart; a first word without `=` is the value of `first`.
///
/// In a value `,,` stands for a comma. A later word without `=` is a switch: `server` means
/// `server=on`, `nowait` means `wait=off`, both with a warning.
pub fn parse_opts(text: &str, first: &str) -> Opts {
    let mut opts = Opts::default();
    let mut rest = text;
    let mut is_first = true;
    while !rest.is_empty() {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        if rest[end..].starts_with('=') {
            let (value, after) = take_value(&rest[end + 1..]);
            opts.pairs.push((rest[..end].to_owned(), value));
            rest = after;
        } else if is_first {
            let (value, after) = take_value(rest);
            opts.pairs.push((first.to_owned(), value));
            rest = after;
        } else {
            push_switch(&mut opts, &rest[..end]);
            rest = rest[end..].strip_prefix(',').unwrap_or_default();
        }
        is_first = false;
    }
    opts
}

/// Reads a boolean.
///
/// # Errors
/// `Parameter '…' expects 'on' or 'off'`
pub fn parse_bool(key: &str, text: &str) -> Result<bool, ParameterError> {
    match text {
        "on" | "yes" | "true" | "y" => Ok(true),
        "off" | "no" | "false" | "n" => Ok(false),
        _ => Err(ParameterError::expects(key, Expected::Switch)),
    }
}

/// Reads an integer: decimal, or hexadecimal after `0x`, or octal after `0`.
///
/// # Errors
/// `Parameter '…' expects a number`; `Value '…' is too large for parameter '…'`
pub fn parse_number(key: &str, text: &str) -> Result<i64, ParameterError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(ParameterError::expects(key, Expected::Number));
    }
    let number = i64::from_str_radix(digits, radix);
    let number = number.map_err(|_| {
        let words = format!("Value '{text}' is too large for parameter '{key}'");
        ParameterError::new(key, Problem::OutOfRange(text.to_owned())).shown_as(words)
    })?;
    Ok(if negative { -number } else { number })
}

/// Reads a size: a number, perhaps with a fraction, and one of `B k M G T P E`.
///
/// # Errors
/// `Parameter '…' expects a non-negative number below 2^64`; `Value '…' is out of range for
/// parameter '…'`
pub fn parse_size(key: &str, text: &str) -> Result<i64, ParameterError> {
    let bad = || ParameterError::expects(key, Expected::Size);
    let range = || ParameterError::new(key, Problem::OutOfRange(text.to_owned()));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if text
        .strip_prefix('-')
        .is_some_and(|rest| !rest.is_empty() && all_digits(rest))
    {
        return Err(range());
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        return if hex {
            i64::from_str_radix(digits, 16).map_err(|_| range())
        } else {
            Err(bad())
        };
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let shift = match suffix {
        "" | "B" | "b" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        "P" | "p" => 50,
        "E" | "e" => 60,
        _ => return Err(bad()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let part_of_a_byte = shift == 0 && fraction.bytes().any(|b| b != b'0');
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(fraction) || part_of_a_byte {
        return Err(bad());
    }
    let (whole, fraction) = (format!("0{whole}"), format!("0.{fraction}"));
    let whole: i128 = whole.parse().map_err(|_| range())?;
    let part: f64 = fraction.parse().map_err(|_| bad())?;
    let total = whole.checked_mul(1 << shift).ok_or_else(range)?;
    let part = (part * (1i64 << shift) as f64) as i128;
    let total = total.checked_add(part).ok_or_else(range)?;
    i64::try_from(total).map_err(|_| range())
}

/// Whether `id` may name something on the command line: a letter, then letters, digits, `-._`.
pub fn is_identifier(id: &str) -> bool {
    let mut bytes = id.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// The value at the start of `text`, and what follows the comma after it.
fn take_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(',') {
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix(',') {
            Some(after) => {
                value.push(',');
                rest = after;
            }
            None => return (value, rest),
        }
    }
    value.push_str(rest);
    (value, "")
}

fn push_switch(opts: &mut Opts, word: &str) {
    let (key, value) = match word.strip_prefix("no") {
        Some(key) => (key, "off"),
        None => (word, "on"),
    };
    opts.warnings.push(format!(
        "short-form boolean option '{}' deprecated\nPlease use {}={value} instead",
        shown(word),
        shown(key)
    ));
    opts.pairs.push((key.to_owned(), value.to_owned()));
}
