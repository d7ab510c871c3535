//! `cargo xtask bench`: our daemon beside QEMU, socat and its own terminal client, measured in turn
//! in one run.

mod bed;
mod beside;
mod browser;
mod configured;
mod crowd;
mod dresses;
mod echo;
mod fair;
mod fleet;
mod fleet_attach;
mod floods;
pub(crate) mod guest;
mod guests;
mod latency;
mod limits;
mod logs;
mod lookers;
mod machine;
mod paint;
mod pause;
mod publishers;
mod qemu;
mod qmp;
mod relay;
mod relays;
pub(crate) mod report;
mod scale;
mod site;
mod start;
mod stream;
mod threads;
mod transaction;
mod viewers;
mod watched;

use std::path::PathBuf;

use clap::ValueEnum;

use self::qemu::Qemu;
use crate::server;
use crate::sh::{self, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Changes of back end to time, for each server and load; rounded up to a multiple of twenty in
    /// each round
    #[arg(long, default_value_t = 1200)]
    changes: usize,
    /// GiB to move through each relay, in each round
    #[arg(long, default_value_t = 2)]
    gib: u64,
    /// Rounds of what is measured in turn; the tables show medians
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measure QEMU and socat only, for instance to see how noisy the machine is
    #[arg(long, conflicts_with = "write")]
    baseline: bool,
    /// Measure only this; may be given several times
    #[arg(long, value_enum, value_name = "PART", conflicts_with = "baseline")]
    only: Vec<Part>,
    /// Measure this daemon, with the chardevctl beside it, instead of building one
    #[arg(long, value_name = "PATH", conflicts_with = "baseline")]
    chardevd: Option<PathBuf>,
    /// Put the tables of what was measured into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// What can be measured alone. Each has its place in the document.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What the machine itself can do
    Limits,
    /// How long a change of back end takes, beside QEMU
    Changes,
    /// How many commands are answered in a second, beside QEMU
    Qmp,
    /// How long the start takes, and what it leaves in memory
    Start,
    /// How long a start with 10,000 chardevs takes
    Configured,
    /// What a relayed GiB costs, beside socat
    Relay,
    /// What telnet, websocket and TLS cost, beside plain bytes and socat
    Protocols,
    /// What an unrelated relay feels of big and slow things beside it
    Beside,
    /// What a relay feels of floods of the web page
    Floods,
    /// How soon the web page is to be seen, and how much of it comes over the wire
    Paint,
    /// From key to echo in the web page, beside `chardevctl attach`
    Echo,
    /// What output to a browser costs the daemon, beside `chardevctl watch`
    Viewers,
    /// What a hundred web pages that look at one console cost, beside a bare loop
    Crowd,
    /// How fast a console is while many look at it
    Watched,
    /// Output of a real guest's virtio ports, beside QEMU's own
    Guests,
    /// Memory and time with many chardevs, beside QEMU
    Scale,
    /// What many logs cost, beside conserver
    Logs,
    /// What a second I/O thread brings
    Threads,
    /// What each of a thousand busy relays gets
    Fair,
    /// What a fleet costs a daemon, beside other publishers, and a console
    Fleet,
}

pub(crate) fn run(args: &Args) -> Result {
    if args.changes == 0 || args.gib == 0 || args.rounds == 0 {
        return Err("--changes, --gib and --rounds must be at least 1".into());
    }
    let programs = Programs::find(args)?;
    println!("{}", machine::describe(&programs)?);
    for part in Part::value_variants() {
        if !args.only.is_empty() && !args.only.contains(part) {
            continue;
        }
        let when = machine::when()?;
        let table = part.measure(&programs, args)?;
        if table.is_empty() {
            continue;
        }
        let table = report::dated(&table, &when);
        println!("{table}");
        if args.write {
            report::write(&part.name(), &table)?;
        }
    }
    if args.write {
        if args.only.is_empty() {
            report::write("machine", &machine::describe(&programs)?)?;
        }
        crate::plot::write()?;
    }
    Ok(())
}

impl Part {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn measure(self, programs: &Programs, args: &Args) -> Result<String> {
        match self {
            Part::Limits => limits::table(args.gib),
            Part::Changes => latency::table(programs, args.changes, args.rounds),
            Part::Qmp => qmp::table(programs, args.rounds),
            Part::Start => start::table(programs),
            Part::Configured => configured::table(programs, args.rounds),
            Part::Relay => relay::table(programs, args.gib, args.rounds),
            Part::Protocols => dresses::table(programs, args.gib, args.rounds),
            Part::Beside => beside::table(programs),
            Part::Floods => floods::table(programs),
            Part::Paint => paint::table(programs),
            Part::Echo => echo::table(programs, args.rounds),
            Part::Viewers => viewers::table(programs, args.rounds),
            Part::Crowd => crowd::table(programs, args.rounds),
            Part::Watched => watched::table(programs, args.rounds),
            Part::Guests => guests::table(programs, args.rounds),
            Part::Scale => scale::table(programs),
            Part::Logs => logs::table(programs, args.rounds),
            Part::Threads => threads::table(programs, args.gib, args.rounds),
            Part::Fair => fair::table(programs),
            Part::Fleet => fleet::table(programs, args.rounds),
        }
    }
}

/// What is measured. Without the daemon only its columns are left out.
struct Programs {
    qemu: Qemu,
    socat: PathBuf,
    chardevd: Option<PathBuf>,
}

impl Programs {
    fn find(args: &Args) -> Result<Self> {
        let chardevd = match (&args.chardevd, args.baseline) {
            (Some(path), _) => Some(std::path::absolute(path)?),
            (None, true) => None,
            (None, false) => Some(server::build_chardevd("release")?),
        };
        Ok(Programs {
            qemu: Qemu::find()?,
            socat: sh::need("socat", "run ./setup")?,
            chardevd,
        })
    }
}
