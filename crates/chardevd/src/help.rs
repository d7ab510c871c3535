//! The lists behind `--chardev help`, `--chardev KIND,help` and `--device help`.

use std::fmt::Write;
use std::io::{self, Write as _};
use std::process::ExitCode;

use chardev::spec::{OptionSpec, OptionType};
use chardev_qapi::opts::parse_opts;

use crate::cli::Args;
use crate::config;
use crate::devices::DEVICES;

/// What ends the program again, once it has been told.
pub(crate) fn only_tell(args: &Args) -> Option<ExitCode> {
    if let Some(text) = wanted(args) {
        // A reader that left early, such as `head`, is no failure.
        let _ = io::stdout().write_all(text.as_bytes());
        return Some(ExitCode::SUCCESS);
    }
    let file = args.config.as_deref().filter(|_| args.check)?;
    Some(config::check(file))
}

fn wanted(args: &Args) -> Option<String> {
    if args.config_schema {
        return Some(config::schema());
    }
    let list = args.chardev.iter().find_map(|line| chardev(line));
    list.or_else(|| args.device.iter().find_map(|line| device(line)))
}

/// The help that a `--chardev` argument asks for, if it does.
pub fn chardev(text: &str) -> Option<String> {
    if chardev_qapi::cmdline::wants_help(text) {
        let mut list = "Available chardev backend types:\n".to_owned();
        for spec in crate::kinds::specs() {
            let _ = writeln!(list, "  {:<10} {}", spec.name, spec.summary);
        }
        list.push_str("\nUse --chardev KIND,help for the options of a kind.\n");
        return Some(list);
    }
    let opts = parse_opts(text, "backend");
    let asked = text
        .split(',')
        .skip(1)
        .any(|word| word == "help" || word == "?");
    let kind = opts.get("backend").filter(|_| asked)?;
    let spec = crate::kinds::specs()
        .into_iter()
        .find(|spec| spec.name == kind)?;
    let mut list = format!("{}: {}\n\nOptions:\n", spec.name, spec.summary);
    for option in spec.options.iter().chain(chardev::spec::COMMON_OPTIONS) {
        if !option.cli.is_empty() {
            let _ = writeln!(list, "  {:<28} {}", usage(option), option.help);
        } else if matches!(option.ty, OptionType::Address) {
            let _ = writeln!(
                list,
                "  {:<28} {}",
                format!("({})", option.name),
                option.help
            );
        }
    }
    Some(list)
}

/// The help that a `--device` argument asks for, if it does.
pub fn device(text: &str) -> Option<String> {
    let word = text.split(',').next().unwrap_or_default();
    let asked = text
        .split(',')
        .skip(1)
        .any(|word| word == "help" || word == "?");
    if !asked && !["help", "?"].contains(&word) {
        return None;
    }
    let mut list = "Devices (front ends):\n".to_owned();
    for kind in DEVICES.iter().filter(|kind| !asked || kind.name == word) {
        let _ = writeln!(list, "  {:<12} {}", kind.name, kind.summary);
        for (name, help) in kind.options {
            let _ = writeln!(list, "    {name:<10} {help}");
        }
    }
    Some(list)
}

fn usage(option: &OptionSpec) -> String {
    let value = match option.ty {
        OptionType::Bool => "on|off".to_owned(),
        OptionType::Int => "NUMBER".to_owned(),
        OptionType::Size => "SIZE[k|M|G]".to_owned(),
        OptionType::Str => "TEXT".to_owned(),
        OptionType::Enum(words) => words.join("|"),
        OptionType::Address | OptionType::StrList => "…".to_owned(),
    };
    format!("{}={value}", option.cli)
}
