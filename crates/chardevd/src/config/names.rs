//! The names of many consoles: `rack[01-48]`.

use super::errors::{Mistakes, Place};
use super::values::Value;

/// The most names that one range stands for.
const MOST: u64 = 10_000;

/// All names in a text or a list of texts.
pub(super) fn names(value: &Value, mistakes: &mut Mistakes) -> Vec<(String, Place)> {
    let mut all = Vec::new();
    for (text, place) in value.texts() {
        match range(text) {
            Ok(names) => all.extend(names.into_iter().map(|name| (name, place.clone()))),
            Err(why) => {
                let hint = "write rack[01-48], or each name by itself".to_owned();
                mistakes.add_hint(place, format!("'{text}' {why}"), hint);
            }
        }
    }
    all
}

/// What one text stands for: itself, or a range.
fn range(text: &str) -> Result<Vec<String>, &'static str> {
    let Some((before, rest)) = text.split_once('[') else {
        return Ok(vec![text.to_owned()]);
    };
    let (range, after) = rest.split_once(']').ok_or("has no closing bracket")?;
    if after.contains('[') {
        return Err("has two ranges");
    }
    let (from, to) = range.split_once('-').ok_or("is no range")?;
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().map_err(|_| "is no range of numbers"),
        false => Err("is no range of numbers"),
    };
    let (first, last) = (number(from)?, number(to)?);
    if last < first {
        return Err("counts down");
    }
    if last - first >= MOST {
        return Err("stands for more than 10000 names");
    }
    // With as many digits as the first one has, if that begins with a zero.
    let width = if from.starts_with('0') { from.len() } else { 0 };
    Ok((first..=last)
        .map(|number| format!("{before}{number:0width$}{after}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn a_range_stands_for_its_names() {
        let names = |text| range(text).map(|names| names.join(" "));
        assert_eq!(names("a"), Ok("a".to_owned()));
        assert_eq!(names("r[08-11]x"), Ok("r08x r09x r10x r11x".to_owned()));
        assert_eq!(names("r[8-10]"), Ok("r8 r9 r10".to_owned()));
        for wrong in [
            "r[3-1]",
            "r[1-",
            "r[a-b]",
            "r[1]",
            "r[1-2][3-4]",
            "r[0-200000]",
            "r[-]",
        ] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
