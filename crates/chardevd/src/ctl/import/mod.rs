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

use chardev::text::{from_bytes, shown_path};
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
    let from = from.or_else(|| guess(&text)).ok_or_else(|| {
        format!(
            "{place} looks like neither conserver.cf nor ser2net.yaml\nsay which it is with --from"
        )
    })?;
    let mut output = Output::new(&format!("From {}.", place));
    match from {
        Whose::Conserver => conserver::read(file, &text, &mut output),
        Whose::Ser2net => ser2net::read(&text, &mut output),
    }
    .map_err(|why| format!("{place}: {why}"))?;
    print(&output.text())
}

/// Whose it is, by its first words that are none of a comment.
fn guess(text: &str) -> Option<Whose> {
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let word = line
        .split(|c: char| !c.is_alphanumeric() && !"%-".contains(c))
        .next()?;
    match word {
        "%YAML" | "---" => Some(Whose::Ser2net),
        _ if line.starts_with(&format!("{word}:")) => Some(Whose::Ser2net),
        "access" | "break" | "config" | "console" | "default" | "group" | "task" => {
            Some(Whose::Conserver)
        }
        _ => None,
    }
}
