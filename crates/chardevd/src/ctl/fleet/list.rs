//! `chardevctl list --fleet`: all consoles of the cluster that have printed.

use std::time::Duration;

use chardev::text::shown;
use chardev_fleet::Console;
use chardev_qapi::{Json, Object};

use super::Options;
use super::way::{Way, written};
use crate::ctl::commands::print;
use crate::ctl::failure::{Failure, Status};
use crate::ctl::list::Args;
use crate::ctl::table::{Column, Table, terminal_width};
use crate::ctl::time::utc;

/// Prints them.
pub(in crate::ctl) fn list(
    options: &Options,
    timeout: Option<Duration>,
    args: &Args,
) -> Result<(), Failure> {
    if args.watch.is_some() || args.parts {
        let text = "--watch and --parts are for the list of a daemon, not for that of a fleet";
        return Err(Failure::new(Status::Usage, text)
            .with_hint("leave them out, or name a daemon instead of --fleet"));
    }
    let way = Way::open(options, timeout)?;
    let consoles = way.ask(timeout, way.look.consoles())?;
    match args.json {
        true => {
            let all = Json::Array(consoles.iter().map(described).collect());
            print(&format!("{}\n", all.to_pretty_string()))
        }
        false => print(&table(&consoles).text(terminal_width())),
    }
}

fn described(console: &Console) -> Json {
    Object::new()
        .with("host", console.name.host.as_str())
        .with("console", console.name.console.as_str())
        .with("epoch", console.epoch.to_string())
        .with("output-offset", console.end)
        .with("last-heard", utc(console.heard))
        .with("ended", console.has_ended)
        .into()
}

fn table(consoles: &[Console]) -> Table {
    let mut table = Table::new(&[
        ("CONSOLE", Column::Whole),
        ("OUT", Column::Number),
        ("LAST HEARD", Column::Whole),
        ("ENDED", Column::Whole),
    ]);
    for console in consoles {
        table.push([
            shown(&written(&console.name)).to_string(),
            console.end.to_string(),
            utc(console.heard),
            if console.has_ended { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}
