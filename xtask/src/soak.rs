//! `cargo xtask soak`: a thousand consoles for an hour. Every byte is accounted for, and the daemon
//! must not grow. What is done is in `chardev_load::soak`; this says for how long, and prints it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chardev_load::soak::{self, Setup};

use crate::server;
use crate::sh::Result;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many consoles
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    consoles: u64,
    /// How long
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Where the random choices begin [default: another each time; it is told]
    #[arg(long)]
    seed: Option<u64>,
    /// How much of a CPU the programs and peers may take, in percent
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=100))]
    share: u32,
    /// The daemon, built already
    #[arg(long, value_name = "PATH")]
    chardevd: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result {
    let daemon = match &args.chardevd {
        Some(path) => path.clone(),
        None => server::build_chardevd("release")?,
    };
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = match args.seed {
        Some(seed) => seed,
        None => u64::from(clock()?.subsec_nanos()),
    };
    let setup = Setup {
        daemon,
        consoles: usize::try_from(args.consoles)?,
        time: Duration::from_secs(60 * args.minutes),
        seed,
        share: args.share,
    };
    println!("{} consoles, --seed {seed}", args.consoles);
    let soaked = soak::run(&setup, &mut |line| eprintln!("xtask: {line}"));
    let report = soaked.map_err(|error| format!("FOUND with --seed {seed}: {error}"))?;
    println!("{report}");
    println!(
        "every byte arrived once and in order, counted {} times in {} s",
        report.rounds,
        report.time.as_secs()
    );
    println!(
        "nothing has grown: {}; when warm {}",
        report.last, report.base
    );
    Ok(())
}
