//! The manual pages: of the programs from their command lines, of the configuration and of QMP's
//! additions from the schemas that the daemon tells.
//!
//! `cargo xtask man DIR` writes them; here they are made, and looked at by mandoc.

mod config;
mod qmp;
mod reference;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::ctl_rig::text;

/// Where to write the pages to, if they are wanted.
const DIRECTORY: &str = "CHARDEV_MAN_DIR";

const SOURCE: &str = concat!("chardevd ", env!("CARGO_PKG_VERSION"));
const MANUAL: &str = "Consoles";

/// What mandoc says of the way in which clap lists possible values; they look right.
const HARMLESS: &str = "skipping paragraph macro: br ";

/// Today, or the day that whoever builds a package says.
fn date() -> String {
    let epoch = std::env::var("SOURCE_DATE_EPOCH").map(|seconds| format!("--date=@{seconds}"));
    let mut date = Command::new("date");
    date.args(["--utc", "+%F"]).args(epoch.ok());
    text(&date.output().unwrap().stdout).trim().to_owned()
}

/// The beginning of a page that no command line has.
fn begin(name: &str, section: &str, about: &str) -> Roff {
    let mut page = Roff::new();
    page.control("TH", [name, section, &date(), SOURCE, MANUAL]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{name} - {about}"))]);
    page
}

fn see_also(page: &mut Roff, others: &[(&str, &str)]) {
    page.control("SH", ["SEE ALSO"]);
    let last = others.len().saturating_sub(1);
    let words = others.iter().enumerate().flat_map(|(at, (name, section))| {
        let end = if at == last { "" } else { ", " };
        [bold(*name), roman(format!("({section}){end}"))]
    });
    page.text(words.collect::<Vec<_>>());
}

fn finish(page: &Roff, name: &str, dir: &Path) {
    std::fs::write(dir.join(name), page.render()).unwrap();
}

/// The pages of a program and of all its subcommands.
fn programs(command: &clap::Command, others: &[(&str, &str)], dir: &Path) {
    let man = Man::new(command.clone());
    let man = man.date(date()).source(SOURCE).manual(MANUAL);
    let mut page = Vec::new();
    man.render(&mut page).unwrap();
    let mut end = Roff::new();
    see_also(&mut end, others);
    // Its preamble has been said.
    let end = end.render();
    let end = end.split_once(".SH").map_or("", |(_, end)| end);
    page.extend(format!(".SH{end}").into_bytes());
    std::fs::write(dir.join(man.get_filename()), page).unwrap();
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        programs(sub, &[("chardevctl", "1"), ("chardevd", "1")], dir);
    }
}

pub(crate) fn write(dir: &Path) {
    let mut daemon = chardevd::cli::command();
    daemon.build();
    let others = [
        ("chardevctl", "1"),
        ("chardevd.toml", "5"),
        ("chardevd-qmp", "7"),
    ];
    programs(&daemon, &others, dir);
    let mut client = chardevd::ctl::command().disable_help_subcommand(true);
    client.build();
    programs(&client, &[("chardevd", "1"), ("chardevd-qmp", "7")], dir);
    finish(&config::page(), "chardevd.toml.5", dir);
    finish(&qmp::page(), "chardevd-qmp.7", dir);
}

fn pages(dir: &Path) -> Vec<PathBuf> {
    let entries = dir.read_dir().unwrap();
    let mut pages: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    pages
}

/// What mandoc finds at `level` or above.
fn findings(level: &str, pages: &[PathBuf]) -> Vec<String> {
    let output = Command::new("mandoc")
        .args(["-T", "lint", "-W", level])
        .args(pages)
        .output()
        .expect("mandoc is a package that ./setup installs");
    let said = text(&output.stdout) + &text(&output.stderr);
    let lines = said.lines().filter(|line| !line.contains(HARMLESS));
    lines.map(str::to_owned).collect()
}

#[test]
fn every_program_and_subcommand_has_a_page_that_is_sound() {
    let scratch = tempfile::tempdir().unwrap();
    let wanted = std::env::var_os(DIRECTORY).map(PathBuf::from);
    let dir = wanted.as_deref().unwrap_or(scratch.path());
    write(dir);
    let pages = pages(dir);
    let command = chardevd::ctl::command();
    let subs = command.get_subcommands().map(clap::Command::get_name);
    let subs = subs.map(|sub| format!("chardevctl-{sub}.1"));
    let mut wanted: Vec<_> = subs.collect();
    assert!(wanted.len() > 20, "{wanted:?}");
    let others = [
        "chardevd.1",
        "chardevctl.1",
        "chardevctl-device-add.1",
        "chardevd.toml.5",
        "chardevd-qmp.7",
    ];
    wanted.extend(others.map(str::to_owned));
    for name in wanted {
        assert!(pages.iter().any(|page| page.ends_with(&name)), "{name}");
    }
    let found = findings("warning", &pages);
    assert!(found.is_empty(), "{}", found.join("\n"));
    // It would find something.
    let wrong = scratch.path().join("wrong.1");
    std::fs::write(&wrong, ".TH a 1\n.XY\n.SH NAME\n").unwrap();
    assert!(!findings("warning", &[wrong]).is_empty());
}

/// A page as it is shown.
fn shown(page: &Roff) -> String {
    let dir = tempfile::tempdir().unwrap();
    finish(page, "page", dir.path());
    let output = Command::new("mandoc")
        .args(["-T", "utf8", "-O", "width=400"])
        .arg(dir.path().join("page"))
        .output()
        .expect("mandoc is a package that ./setup installs");
    // Bold is a letter over itself.
    let mut plain = String::new();
    for letter in text(&output.stdout).chars() {
        match letter {
            '\u{8}' => _ = plain.pop(),
            letter => plain.push(letter),
        }
    }
    plain
}

#[test]
fn the_page_of_the_configuration_has_every_section_and_key() {
    let page = shown(&config::page());
    for line in [
        "[console.NAME]",
        "[[lines]]",
        "exec = text or list of texts",
        "listen = text",
        "history = number or text",
    ] {
        assert!(page.lines().any(|it| it.trim() == line), "{line}: {page}");
    }
}

#[test]
fn the_page_of_qmp_has_every_command_of_ours_with_its_arguments() {
    let page = shown(&qmp::page());
    for line in [
        "x-chardev-mark {id: str, text: str}",
        "x-reload",
        "X_CHARDEV_MARKED",
        "x-chardev-send {id: str, data: str, format?: utf8|base64, wait-ms?: int}",
    ] {
        let has = |it: &str| it.trim() == line || it.trim().starts_with(&format!("{line} "));
        assert!(page.lines().any(has), "{line}: {page}");
    }
    // The additions that are described are those that there are.
    let names = qmp::names();
    assert!(names.len() > 30, "{names:?}");
    let without: Vec<_> = names
        .iter()
        .filter(|name| qmp::about(name).is_none())
        .collect();
    assert!(
        without.is_empty(),
        "neither docs/qemu-differences.md nor man/qmp.rs says what {without:?} is for"
    );
}
