//! `cargo xtask bench`: our daemon beside QEMU and socat, measured in turn in one run.

mod bed;
mod beside;
mod dresses;
pub(crate) mod guest;
mod latency;
mod limits;
mod machine;
mod relay;
mod report;

use std::path::PathBuf;

use crate::server;
use crate::sh::{self, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Changes of back end to time, for each server and load; rounded up to a multiple of twelve
    #[arg(long, default_value_t = 1200)]
    changes: usize,
    /// GiB to move through each relay, in each round
    #[arg(long, default_value_t = 2)]
    gib: u64,
    /// Rounds of the relay; the table shows the median
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measure QEMU and socat only, for instance to see how noisy the machine is
    #[arg(long, conflicts_with = "write")]
    baseline: bool,
    /// Measure only what an unrelated relay feels of big and slow things beside it
    #[arg(long, conflicts_with_all = ["write", "baseline"])]
    beside: bool,
    /// Measure only what telnet, websocket and TLS cost
    #[arg(long, conflicts_with_all = ["write", "baseline", "beside"])]
    protocols: bool,
    /// Put the tables into docs/performance.md
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    if args.changes == 0 || args.gib == 0 || args.rounds == 0 {
        return Err("--changes, --gib and --rounds must be at least 1".into());
    }
    let programs = Programs::find(args.baseline)?;
    if args.beside {
        println!("{}", beside::table(&programs)?);
        return Ok(());
    }
    if args.protocols {
        println!("{}", dresses::table(&programs, args.gib, args.rounds)?);
        return Ok(());
    }
    let mut text = machine::describe(&programs)?;
    text += &limits::table(args.gib)?;
    text += &latency::table(&programs, args.changes)?;
    text += &relay::table(&programs, args.gib, args.rounds)?;
    text += &dresses::table(&programs, args.gib, args.rounds)?;
    text += &beside::table(&programs)?;
    println!("{text}");
    if args.write {
        report::write(&text)
    } else {
        Ok(())
    }
}

/// What is measured. Without the daemon only its columns are left out.
struct Programs {
    qemu: PathBuf,
    socat: PathBuf,
    chardevd: Option<PathBuf>,
}

impl Programs {
    fn find(baseline: bool) -> Result<Self> {
        Ok(Programs {
            qemu: server::qemu()?,
            socat: sh::need("socat", "run ./setup")?,
            chardevd: if baseline {
                None
            } else {
                Some(server::build_chardevd("release")?)
            },
        })
    }
}
