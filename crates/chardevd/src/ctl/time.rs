//! Times, as people and programs write them.

use std::time::Duration;

/// A time since 1970, by ISO 8601 in UTC, to the millisecond.
pub(super) fn utc(time: Duration) -> String {
    let (days, second) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    let (year, month, day) = date(days);
    let millis = time.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// The date of a day since 1970 in the Gregorian calendar, by years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let number = (5 * of_year + 2) / 153;
    let day = of_year - (153 * number + 2) / 5 + 1;
    let month = if number < 10 { number + 3 } else { number - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Reads `YYYY-MM-DD`: its beginning in UTC, in seconds since 1970.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-').map(str::parse::<u64>);
    let mut next = || parts.next()?.ok();
    let (year, month, day) = (next()?, next()?, next()?);
    if !(1970..=9999).contains(&year) || text.len() != 10 {
        return None;
    }
    // A year has no more days than this after 1970, and the date says which one it is.
    let first = (year - 1970) * 365;
    let days =
        (first..first + 2 * 366 + (year - 1970) / 4).find(|it| date(*it) == (year, month, day))?;
    i64::try_from(days * 86_400).ok()
}

/// Reads `SECONDS`, `MINUTES:SECONDS` or `HOURS:MINUTES:SECONDS`; seconds may have a fraction.
pub(super) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: give seconds, M:SS or H:MM:SS");
    let mut seconds = 0.0;
    for (number, part) in text.split(':').enumerate() {
        let part: f64 = part.parse().map_err(|_| wrong())?;
        if number > 2 || part.is_sign_negative() {
            return Err(wrong());
        }
        seconds = seconds * 60.0 + part;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::{parse_span, utc};
    use std::time::Duration;

    #[test]
    fn a_time_has_its_date() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_span_is_some_seconds() {
        for (text, seconds) in [
            ("90", 90.0),
            ("1:30", 90.0),
            ("1:02:03.5", 3723.5),
            ("0", 0.0),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs_f64(seconds)));
        }
        for bad in ["", "x", "1:x", "-1", "1:2:3:4", "nan", "inf"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }
}
