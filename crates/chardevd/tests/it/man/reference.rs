//! The book's reference: docs/reference-*.md, from what the manual pages are made from.
//!
//! `cargo xtask reference` writes it; here it is compared with what would be written.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use clap::{Arg, Command};

use super::{config, qmp};

/// Set to write the chapters instead of comparing them.
const WRITE: &str = "CHARDEV_WRITE_TABLES";

#[test]
fn the_reference_says_what_the_code_says() {
    let chapters = [
        ("chardevd", of_chardevd()),
        ("chardevctl", of_chardevctl()),
        ("configuration", of_configuration()),
        ("qmp", of_qmp()),
    ];
    for (name, chapter) in chapters {
        let name = format!("docs/reference-{name}.md");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../{name}"));
        if std::env::var_os(WRITE).is_some() {
            fs::write(&path, chapter).unwrap();
            continue;
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        let mut lines = chapter.lines().zip(written.lines());
        let differs = lines.find(|(chapter, written)| chapter != written);
        assert!(
            written == chapter,
            "{name} is not what the code says; `cargo xtask reference` writes it anew. The first \
             line that differs, as it should be and as it is: {differs:?}"
        );
    }
}

/// The head of a chapter.
fn begin(title: &str, about: &str) -> String {
    let made = "<!-- made from the code by cargo xtask reference; a test compares it -->";
    format!("# {title}\n\n{made}\n\n{about}\n")
}

fn of_chardevd() -> String {
    let mut command = chardevd::cli::command();
    command.build();
    let about = "The daemon's command line. All options may be given with one dash, as QEMU's are. \
                 [The configuration](configuration.md) is a file for more than a few consoles.";
    let mut page = begin("chardevd", about);
    table(&mut page, &arguments(&command));
    page
}

fn of_chardevctl() -> String {
    let mut command = chardevd::ctl::command().disable_help_subcommand(true);
    command.build();
    let subs: Vec<_> = command.get_subcommands().collect();
    let subs: Vec<&Command> = subs.into_iter().filter(|sub| !sub.is_hide_set()).collect();
    // What nearly every command has, with the same words.
    let has = |arg: &&Arg, sub: &&&Command| arguments(sub).iter().any(|other| same(arg, other));
    let common: Vec<&Arg> = arguments(subs[0])
        .into_iter()
        .filter(|arg| subs.iter().filter(|sub| has(arg, sub)).count() * 2 > subs.len())
        .collect();
    assert!(common.len() > 3, "{common:?}");
    let about = "The daemon's client: its commands, and what each takes. `chardevctl COMMAND --help` \
                 says the same.\n\n## Common options\n\nAll commands that speak to the daemon take these.";
    let mut page = begin("chardevctl", about);
    table(&mut page, &common);
    for sub in subs {
        of_command(&mut page, sub, "chardevctl", &common);
    }
    page
}

fn of_command(page: &mut String, command: &Command, parent: &str, common: &[&Arg]) {
    let name = format!("{parent} {}", command.get_name());
    write!(page, "\n## {name}\n").unwrap();
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    write!(page, "\n{}\n", prose(&about)).unwrap();
    let own = arguments(command).into_iter();
    let own: Vec<_> = own
        .filter(|arg| !common.iter().any(|other| same(arg, other)))
        .collect();
    table(page, &own);
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        of_command(page, sub, &name, common);
    }
}

/// What a person may write, but for what every program has.
fn arguments(command: &Command) -> Vec<&Arg> {
    let all = command.get_arguments();
    let shown = all.filter(|arg| !arg.is_hide_set());
    shown
        .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
        .collect()
}

fn same(one: &Arg, other: &Arg) -> bool {
    one.get_long().is_some() && one.get_long() == other.get_long() && help(one) == help(other)
}

fn help(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help());
    help.map(ToString::to_string).unwrap_or_default()
}

fn table(page: &mut String, arguments: &[&Arg]) {
    if arguments.is_empty() {
        return;
    }
    page.push_str("\n| | |\n| --- | --- |\n");
    for arg in arguments {
        let values = arg.get_value_names().unwrap_or_default();
        let takes = arg.get_action().takes_values();
        let value = values.iter().map(|value| format!("<{value}>"));
        let value = value.collect::<Vec<_>>().join(" ");
        let short = arg.get_short().map(|short| format!("-{short}"));
        let long = arg.get_long().map(|long| format!("--{long}"));
        let mut word: Vec<String> = short.into_iter().chain(long).collect();
        if takes && (word.is_empty() || !value.is_empty()) {
            match word.last_mut() {
                Some(last) => *last += &format!(" {value}"),
                None => word.push(value),
            }
        }
        let word = word.join(", ").replace('|', "\\|");
        let mut about = prose(&help(arg)).replace('\n', " ");
        if let Some(variable) = arg.get_env().and_then(|name| name.to_str()) {
            write!(about, " (environment: `{variable}`)").unwrap();
        }
        writeln!(page, "| `{word}` | {} |", about.replace('|', "\\|")).unwrap();
    }
}

fn of_configuration() -> String {
    let about = "Every section of the [configuration](configuration.md), with its keys. `chardevd \
                 --config-schema` prints the same as a JSON schema, for editors.";
    let mut page = begin("Keys of the configuration", about);
    for section in config::sections() {
        write!(
            page,
            "\n## {}\n\n{}\n",
            section.heading,
            prose(&section.about)
        )
        .unwrap();
        if section.keys.is_empty() {
            continue;
        }
        page.push_str("\n| key | value | meaning |\n| --- | --- | --- |\n");
        for key in &section.keys {
            let about = prose(&key.about).replace('|', "\\|");
            writeln!(page, "| `{}` | {} | {about} |", key.name, key.shapes).unwrap();
        }
    }
    page
}

fn of_qmp() -> String {
    let about = "What is added to QEMU's QMP. Commands of ours begin with `x-`, events with `X_`. A \
                 question mark stands behind what may be left out. `query-qmp-schema` describes all \
                 of it, and [differences from QEMU](qemu-differences.md) says more about some.";
    let mut page = begin("Additions to QMP", about);
    let mut sort = "";
    for entry in qmp::entries() {
        if entry.sort != sort {
            sort = entry.sort;
            let heading = if sort == "command" {
                "Commands"
            } else {
                "Events"
            };
            write!(page, "\n## {heading}\n").unwrap();
        }
        write!(page, "\n### {}\n\n{}\n", entry.name, prose(&entry.about)).unwrap();
        let word = if sort == "command" {
            "Arguments"
        } else {
            "Data"
        };
        for (word, ty) in [(word, &entry.arguments), ("Returns", &entry.returns)] {
            if ty != "{}" && !ty.is_empty() {
                write!(page, "\n{word}: `{ty}`\n").unwrap();
            }
        }
    }
    page
}

/// Words that are no markup, as Markdown.
fn prose(text: &str) -> String {
    let text = text.trim_end().replace('<', "&lt;");
    let text = text.replace('*', "\\*").replace("](", "] (");
    text.replace('[', "\\[").replace(']', "\\]")
}

/// What only a test of the whole shows: a chapter has all that there is.
#[test]
fn the_reference_is_complete() {
    let page = of_chardevctl();
    for sub in chardevd::ctl::command().get_subcommands() {
        let heading = format!("\n## chardevctl {}\n", sub.get_name());
        assert!(sub.is_hide_set() || page.contains(&heading), "{heading}");
    }
    let page = of_configuration();
    for word in ["## [console.NAME]", "\n| `exec` |", "\n| `listen` |"] {
        assert!(page.contains(word), "{word}");
    }
    let page = of_qmp();
    for name in qmp::names() {
        assert!(page.contains(&format!("\n### {name}\n")), "{name}");
    }
    assert!(page.contains("Arguments: `{id: str, text: str}`"), "{page}");
}
