//! `chardevctl token`: makes, lists and removes tokens.

use std::io::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chardev::text::shown;
use chardev_qapi::{Json, Object};
use clap::Subcommand;

use super::commands::print;
use super::complete;
use super::connect::Target;
use super::failure::Failure;
use super::table::{Column, Table, terminal_width};
use super::time::{parse_date, utc};

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make a token and print it, this once; only its hash is kept
    Add {
        /// What it is called, in lists and logs
        name: String,
        /// What it is good for, each with what stands before it
        #[arg(long, value_parser = ["view", "attach", "change", "admin"])]
        role: String,
        /// For this console or the consoles of this group only; may be given several times
        #[arg(long = "console", value_name = "ID|GROUP", add = complete::ids())]
        consoles: Vec<String>,
        /// When it expires: after 12h, 30d or 8w, on a date (2027-01-31, in UTC), or never
        /// [default: 90d]
        #[arg(long, value_name = "WHEN", value_parser = parse_end)]
        expires: Option<End>,
    },
    /// List the tokens, without their secrets
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a token; whoever uses it has no rights any more
    Remove {
        /// Its name
        #[arg(add = complete::tokens())]
        name: String,
    },
}

/// When a token expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// After so many seconds, or never.
    After(i64),
    /// So long after the Unix epoch.
    At(i64),
}

/// Does it.
///
/// # Errors
/// The daemon refuses, or is not there.
pub(super) fn run(target: &Target, action: &Action) -> Result<(), Failure> {
    match action {
        Action::Add {
            name,
            role,
            consoles,
            expires,
        } => add(target, name, role, consoles, *expires),
        Action::List { json } => list(target, *json),
        Action::Remove { name } => {
            let named = Object::new().with("name", name.as_str());
            let removed = target.connect()?.execute("x-token-remove", named);
            removed.map(drop).map_err(|error| target.failed(&error))
        }
    }
}

fn add(
    target: &Target,
    name: &str,
    role: &str,
    consoles: &[String],
    expires: Option<End>,
) -> Result<(), Failure> {
    let mut arguments = Object::new().with("name", name).with("role", role);
    if !consoles.is_empty() {
        let names = consoles.iter().map(|name| Json::from(name.as_str()));
        arguments.insert("consoles", names.collect::<Vec<_>>());
    }
    match expires {
        None => {}
        Some(End::After(seconds)) => arguments.insert("lifetime", seconds),
        Some(End::At(time)) => arguments.insert("expires", time),
    }
    let answer = target.connect()?.execute("x-token-add", arguments);
    let answer = answer.map_err(|error| target.failed(&error))?;
    let token = answer
        .get("token")
        .and_then(Json::as_str)
        .unwrap_or_default();
    print(&format!("{token}\n"))?;
    let until = match time(&answer, "expires") {
        Some(end) => format!("It expires at {}.", utc(end)),
        None => "It never expires.".to_owned(),
    };
    // Standard output is the token alone, for a file.
    let _ = writeln!(
        io::stderr(),
        "Keep it: it is not shown again. {until} Use it with --token-file FILE or CHARDEVD_TOKEN."
    );
    Ok(())
}

fn list(target: &Target, json: bool) -> Result<(), Failure> {
    let tokens = target.connect()?.execute("x-query-tokens", Object::new());
    let tokens = tokens.map_err(|error| target.failed(&error))?;
    if json {
        return print(&format!("{}\n", tokens.to_pretty_string()));
    }
    let mut table = Table::new(&[
        ("NAME", Column::Whole),
        ("ROLE", Column::Whole),
        ("CONSOLES", Column::Text),
        ("CREATED", Column::Whole),
        ("EXPIRES", Column::Whole),
    ]);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    for token in tokens.as_array().unwrap_or_default() {
        let text = |key| {
            let text = token.get(key).and_then(Json::as_str);
            shown(text.unwrap_or("?")).to_string()
        };
        let consoles = token.get("consoles").and_then(Json::as_array);
        let consoles = consoles.map_or("all".to_owned(), |all| {
            let names = all.iter().filter_map(Json::as_str);
            names
                .map(|name| shown(name).to_string())
                .collect::<Vec<_>>()
                .join(", ")
        });
        let expires = match time(token, "expires") {
            None => "never".to_owned(),
            Some(end) if end <= now => format!("expired {}", day(end)),
            Some(end) => day(end),
        };
        let created = time(token, "created").map_or("?".to_owned(), day);
        table.push([text("name"), text("role"), consoles, created, expires]);
    }
    print(&table.text(terminal_width()))
}

fn time(object: &Json, key: &str) -> Option<Duration> {
    let seconds = object.get(key)?.as_i64()?;
    Some(Duration::from_secs(u64::try_from(seconds).ok()?))
}

fn day(time: Duration) -> String {
    let text = utc(time);
    text.split('T').next().unwrap_or_default().to_owned()
}

fn parse_end(text: &str) -> Result<End, String> {
    if text == "never" {
        return Ok(End::After(0));
    }
    if let Some(seconds) = parse_date(text) {
        return Ok(End::At(seconds));
    }
    let units = [
        ('h', 3600),
        ('d', 86_400),
        ('w', 7 * 86_400),
        ('y', 365 * 86_400),
    ];
    let wrong = || format!("'{text}' is no time: write 12h, 30d, 8w, 1y, 2027-01-31, or never");
    let unit = units
        .into_iter()
        .find(|(letter, _)| text.ends_with(*letter));
    let (letter, seconds) = unit.ok_or_else(wrong)?;
    let number = text
        .strip_suffix(letter)
        .and_then(|number| number.parse::<u32>().ok());
    let number = number.filter(|number| *number > 0).ok_or_else(wrong)?;
    Ok(End::After(i64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_after_a_time_or_on_a_date() {
        for (text, end) in [
            ("never", End::After(0)),
            ("12h", End::After(43_200)),
            ("30d", End::After(2_592_000)),
            ("8w", End::After(4_838_400)),
            ("2000-02-29", End::At(951_782_400)),
            ("2027-01-31", End::At(1_801_353_600)),
        ] {
            assert_eq!(parse_end(text), Ok(end), "{text}");
        }
        for wrong in [
            "",
            "d",
            "0d",
            "-1d",
            "30",
            "30 d",
            "2027-02-29",
            "2027-13-01",
            "99999999999d",
            "é",
        ] {
            assert!(parse_end(wrong).is_err(), "{wrong}");
        }
    }
}
