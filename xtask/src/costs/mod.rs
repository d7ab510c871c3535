//! `cargo xtask costs`: what pieces of work cost in system calls, allocations and instructions,
//! compared with docs/costs.toml. None of it is a time, so a busy machine counts the same.

mod calls;
mod file;
mod pure;

use std::fs;
use std::path::{Path, PathBuf};

use self::file::{Counts, SECTIONS};
use crate::bench::report;
use crate::server;
use crate::sh::{self, Result};

#[derive(Default, clap::Args)]
pub(crate) struct Args {
    /// Accept what is counted: put it into docs/costs.toml and docs/performance.md
    #[arg(long)]
    write: bool,
    /// Count the system calls of this daemon instead of building one
    #[arg(long, value_name = "PATH")]
    chardevd: Option<PathBuf>,
}

impl Args {
    /// Only compares, with the system calls of that daemon.
    pub(crate) fn of(chardevd: PathBuf) -> Args {
        Args {
            write: false,
            chardevd: Some(chardevd),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result {
    let counted = measure(args.chardevd.as_deref())?;
    let path = sh::root().join("docs/costs.toml");
    if args.write {
        fs::write(&path, file::to_text(&counted))?;
        let rows = file::rows(&counted);
        let title = "What pieces of work cost, counted";
        let table = report::table(title, &["work", "in", "count"], &rows);
        return report::write_by("costs --write", "costs", &table);
    }
    let accepted =
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let accepted = file::parse(&accepted)?;
    let sections = SECTIONS.iter().zip(&accepted).zip(&counted);
    let found = sections.flat_map(|((section, was), is)| file::differences(section, was, is));
    let found: Vec<String> = found.collect();
    if found.is_empty() {
        let count: usize = counted.iter().map(Vec::len).sum();
        eprintln!("xtask: {count} costs are as in docs/costs.toml");
        return Ok(());
    }
    Err(format!(
        "what costs more than docs/costs.toml says:\n  {}\nIf that is as it should be, accept \
         it with `cargo xtask costs --write`, and say in the commit why.",
        found.join("\n  ")
    )
    .into())
}

/// Counts are the same without optimizations, but for instructions.
fn measure(chardevd: Option<&Path>) -> Result<[Counts; 3]> {
    let chardevd = match chardevd {
        Some(path) => path.to_owned(),
        None => server::build_chardevd("dev")?,
    };
    let costs = server::build("chardev-costs", "dev")?;
    let optimized = server::build("chardev-costs", "release")?;
    Ok([
        calls::measure(&chardevd)?,
        pure::allocations(&costs)?,
        pure::instructions(&optimized)?,
    ])
}
