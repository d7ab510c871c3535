//! chardevd-qmp(7): what is added to QMP, from what a daemon says of its commands, with the words
//! of docs/qemu-differences.md.

use chardev_qapi::Json;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{begin, see_also};
use crate::ctl_rig::Daemon;

const DIFFERENCES: &str = include_str!("../../../../../docs/qemu-differences.md");

/// What has no row of its own in that documentation.
const SHORT: &[(&str, &str)] = &[
    (
        "x-chardev-set-winsize",
        "Tells the front end how large the terminal at the other end is",
    ),
    (
        "x-chardev-watch",
        "Makes the connected stream socket that getfd has named a viewer: it is sent the output beginning at the offset from, or what comes from now on. A viewer that is slow skips output, or is dropped",
    ),
    (
        "x-chardev-history",
        "A piece of the output that is kept for viewers, by absolute offsets",
    ),
    (
        "x-chardev-transaction",
        "Adds, changes and removes chardevs at one moment; if one of the actions fails, nothing has happened",
    ),
    (
        "x-chardev-set",
        "Changes options that say what becomes of output, from here on",
    ),
    ("x-chardev-hub-add", "Makes a chardev a member of a hub"),
    ("x-chardev-hub-remove", "Lets a member of a hub go"),
    (
        "x-chardev-reopen-log",
        "Opens the log anew, because somebody has renamed its file: that of one chardev, or all",
    ),
    (
        "x-chardev-events",
        "Whether this client is sent the events below; without it none of them is",
    ),
    ("X_CHARDEV_CONNECTED", "A peer has come"),
    ("X_CHARDEV_DISCONNECTED", "The peer has left"),
    ("X_CHARDEV_CHANGED", "The back end has been changed"),
    (
        "X_CHARDEV_DRAINED",
        "The former back end's peer has been given what it was owed, but for what is undelivered",
    ),
    (
        "X_CHARDEV_OUT_OF_MEMORY",
        "There was no memory for a ring, which keeps less",
    ),
    (
        "X_CHARDEV_LOG_HOLE",
        "The log misses output, because its file could not be written",
    ),
    (
        "X_CHARDEV_DROPPED",
        "Output or input was dropped, for this reason",
    ),
];

pub(super) fn page() -> Roff {
    let entries = entries();
    let mut page = begin("chardevd-qmp", "7", "what chardevd adds to QMP");
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        bold("chardevd"),
        roman(
            " speaks QMP as QEMU does, for everything about chardevs. Its own commands begin with ",
        ),
        bold("x-"),
        roman(", its own events with "),
        bold("X_"),
        roman("; "),
        bold("query-qmp-schema"),
        roman(" describes all of them, and "),
        bold("chardevctl qmp"),
        roman(" sends them. A question mark stands behind what may be left out."),
    ]);
    for (heading, sort) in [("COMMANDS", "command"), ("EVENTS", "event")] {
        page.control("SH", [heading]);
        for entry in entries.iter().filter(|entry| entry.sort == sort) {
            page.control("TP", []);
            let mut head = vec![bold(entry.name.as_str())];
            if entry.arguments != "{}" {
                head.extend([roman(" "), italic(entry.arguments.as_str())]);
            }
            page.text(head);
            page.text([roman(entry.about.as_str())]);
            if sort == "command" && entry.returns != "{}" {
                page.control("IP", []);
                page.text([roman("Returns: "), italic(entry.returns.as_str())]);
            }
        }
    }
    see_also(
        &mut page,
        &[
            ("chardevd", "1"),
            ("chardevctl-qmp", "1"),
            ("chardevctl-events", "1"),
        ],
    );
    page
}

/// A command or event of ours, in words.
pub(super) struct Entry {
    /// `command` or `event`.
    pub(super) sort: &'static str,
    pub(super) name: String,
    pub(super) about: String,
    pub(super) arguments: String,
    pub(super) returns: String,
}

/// All our commands, then all our events.
pub(super) fn entries() -> Vec<Entry> {
    let schema = Schema::ask();
    let of_sort = |sort: &'static str| {
        let all = schema.0.iter();
        let all = all.filter(move |entry| word(entry, "meta-type") == sort);
        all.map(move |entry| (sort, entry))
    };
    let all = of_sort("command").chain(of_sort("event"));
    all.filter(|(_, entry)| is_ours(word(entry, "name")))
        .map(|(sort, entry)| Entry {
            sort,
            name: word(entry, "name").to_owned(),
            about: about(word(entry, "name")).unwrap_or_default(),
            arguments: schema.show(word(entry, "arg-type"), 2),
            returns: schema.show(word(entry, "ret-type"), 2),
        })
        .collect()
}

/// The names of our commands and events.
pub(super) fn names() -> Vec<String> {
    let schema = Schema::ask();
    let names = schema.0.iter().map(|entry| word(entry, "name"));
    names
        .filter(|name| is_ours(name))
        .map(str::to_owned)
        .collect()
}

/// What a name is for: what [`SHORT`] says, or the row of the documentation's additions that has it
/// in its first column.
pub(super) fn about(name: &str) -> Option<String> {
    if let Some((_, about)) = SHORT.iter().find(|(short, _)| *short == name) {
        return Some(format!("{about}."));
    }
    let (_, additions) = DIFFERENCES.split_once("## Additions to QMP")?;
    let quoted = format!("`{name}`");
    let rows = additions.lines().filter(|line| line.starts_with("| `"));
    // An escaped bar is no end of a column.
    let rows = rows.map(|row| row.replace("\\|", "\u{1}"));
    let columns = |row: &str| -> Option<(String, String)> {
        let (names, about) = row.strip_prefix("| ")?.split_once(" | ")?;
        Some((names.to_owned(), about.trim_end_matches(" |").to_owned()))
    };
    let mut rows = rows.filter_map(|row| columns(&row));
    let (_, about) = rows.find(|(names, _)| names.contains(&quoted))?;
    let about = about.replace('\u{1}', "|").replace('`', "");
    let about = about.replace("[configuration](configuration.md)", "configuration");
    let about = without_answer(&about);
    let mut letters = about.chars();
    let first = letters.next()?.to_uppercase();
    Some(format!("{first}{}.", letters.as_str()))
}

/// The schema says what an answer looks like.
fn without_answer(about: &str) -> &str {
    if !about.starts_with(['{', '[']) {
        return about;
    }
    let mut depth = 0;
    for (at, letter) in about.char_indices() {
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' | ';' if depth == 0 => return about[at + 1..].trim_start(),
            _ => {}
        }
    }
    about
}

fn is_ours(name: &str) -> bool {
    name.starts_with("x-") || name.starts_with("X_")
}

struct Schema(Vec<Json>);

impl Schema {
    fn ask() -> Self {
        let daemon = Daemon::with(&[]);
        let answer = daemon.succeed(&["qmp", "query-qmp-schema"]);
        let answer = Json::parse(&answer).expect("JSON");
        Schema(answer.as_array().expect("a list").to_vec())
    }

    /// The type called `name`, and what it is made of down to this depth.
    fn show(&self, name: &str, depth: usize) -> String {
        let Some(entry) = self.0.iter().find(|entry| word(entry, "name") == name) else {
            return name.to_owned();
        };
        let list = |member: &str| {
            let list = entry.get(member).and_then(Json::as_array);
            list.unwrap_or_default()
        };
        match word(entry, "meta-type") {
            "object" if depth == 0 => "{…}".to_owned(),
            "object" => {
                let members = list("members").iter().map(|member| {
                    let optional = if member.get("default").is_some() {
                        "?"
                    } else {
                        ""
                    };
                    let ty = self.show(word(member, "type"), depth - 1);
                    format!("{}{optional}: {ty}", word(member, "name"))
                });
                format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
            }
            "array" => format!("[{}]", self.show(word(entry, "element-type"), depth)),
            "enum" => {
                let names = list("members").iter().map(|member| word(member, "name"));
                names.collect::<Vec<_>>().join("|")
            }
            "alternate" => "…".to_owned(),
            _ => name.to_owned(),
        }
    }
}

fn word<'a>(json: &'a Json, name: &str) -> &'a str {
    json.get(name).and_then(Json::as_str).unwrap_or_default()
}
