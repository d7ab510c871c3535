//! `chardevctl import`: the configuration of conserver or ser2net as one of ours.
//!
//! What cannot be said in ours is a comment beside the console it belongs to, with the reason.

mod conserver;
mod console;
mod gensio;
mod output;
mod ser2net;
mod statements;
mod substitute;
mod yaml;

use std::path::Path;

use chardev::text::{from_bytes, shown, shown_path};
use clap::ValueEnum;

use super::commands::print;
use super::failure::Failure;
use output::Output;

/// Whose configuration a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Whose {
    /// conserver.cf
    Conserver,
    /// ser2net.yaml
    Ser2net,
}

/// Prints `file` as a configuration of ours.
pub(super) fn import(file: &Path, from: Option<Whose>) -> Result<(), Failure> {
    let place = shown_path(file);
    let text = std::fs::read(file).map_err(|error| format!("{place}: {error}"))?;
    let text = from_bytes(&text);
    let from = from
        .or_else(|| guess(&text))
        .ok_or_else(|| unlike(&place, &text))?;
    let mut output = Output::new(&format!("From {}.", place));
    match from {
        Whose::Conserver => conserver::read(file, &text, &mut output),
        Whose::Ser2net => ser2net::read(&text, &mut output),
    }
    .map_err(|why| format!("{place}: {why}"))?;
    print(&output.text())
}

/// What a block of conserver's begins with.
const BLOCKS: [&str; 7] = [
    "access", "break", "config", "console", "default", "group", "task",
];
/// The keys of ser2net's.
const KEYS: [&str; 7] = [
    "admin",
    "connection",
    "default",
    "define",
    "include",
    "led",
    "rotator",
];

/// Whose it is, by its first words that are none of a comment. A guess has to be right: most of
/// what is there on a host would be a configuration without consoles otherwise.
fn guess(text: &str) -> Option<Whose> {
    let line = lines(text).find(|line| !line.starts_with('%') && *line != "---")?;
    let after = |word: &&'static str| line.strip_prefix(*word);
    let is_key = |rest: &str| rest.starts_with(':');
    let is_kind = |rest: &str| rest.starts_with(|c: char| c.is_whitespace() || "{\"".contains(c));
    if KEYS.iter().filter_map(after).any(is_key) {
        return Some(Whose::Ser2net);
    }
    let mut kinds = BLOCKS.iter().filter_map(after);
    kinds.any(is_kind).then_some(Whose::Conserver)
}

/// The lines that say something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn unlike(place: &impl std::fmt::Display, text: &str) -> String {
    let why = match lines(text).next() {
        Some(line) => {
            let begin: String = line.chars().take(40).collect();
            format!("it begins with '{}'", shown(begin))
        }
        None => "there is nothing in it".to_owned(),
    };
    format!(
        "{place} is neither conserver.cf nor ser2net.yaml: {why}, and they with a block such as \
         'console NAME {{' or a key such as 'connection:'\nsay which it is with --from"
    )
}

#[cfg(test)]
mod tests {
    use super::{Whose, guess};

    #[test]
    fn a_guess_is_right_or_none() {
        for (text, whose) in [
            ("# c\nconsole a {\n}\n", Some(Whose::Conserver)),
            ("default *{ }", Some(Whose::Conserver)),
            (
                "%YAML 1.1\n---\n# c\n\ndefine: &a b\n",
                Some(Whose::Ser2net),
            ),
            ("connection: &a\n", Some(Whose::Ser2net)),
            ("default:\n  name: x\n", Some(Whose::Ser2net)),
            ("root:x:0:0:root:/root:/bin/sh\n", None),
            ("---\napiVersion: v1\n", None),
            ("consoles are fine", None),
            ("groupadd:x:1:\n", None),
            ("[console.a]\n", None),
            ("", None),
        ] {
            assert_eq!(guess(text), whose, "{text}");
        }
    }
}
