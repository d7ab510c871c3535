//! `cargo xtask fleet`: many daemons against three servers to which everything happens. What is
//! done is a test of the daemon, `fleet::crowd`; this builds it as it is used, says how much of it,
//! and shows what it tells.

use crate::sh::{self, Result};

const TEST: &str = "fleet::crowd::every_byte_of_a_crowd_is_in_the_stream_once_whatever_happens";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many daemons; one of them is killed, and another's clock moved
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(3..))]
    hosts: u32,
    /// How many consoles each has
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    consoles: u32,
    /// For how many seconds a server is frozen
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(4..))]
    frozen: u32,
    /// By how many MiB a reader lags
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=230))]
    lag: u32,
    /// How often all of it is done
    #[arg(long, default_value_t = 1)]
    rounds: u32,
}

pub(crate) fn run(args: &Args) -> Result {
    for round in 1..=args.rounds {
        println!("round {round} of {}", args.rounds);
        let mut test = sh::cargo(&["test", "--release", "--package", "chardevd"]);
        test.args(["--features", "fleet", "--test", "it", "--"]);
        test.args(["--exact", TEST, "--nocapture"]);
        test.env("CHARDEV_FLEET_HOSTS", args.hosts.to_string())
            .env("CHARDEV_FLEET_CONSOLES", args.consoles.to_string())
            .env("CHARDEV_FLEET_FROZEN", args.frozen.to_string())
            .env("CHARDEV_FLEET_LAG", args.lag.to_string());
        sh::run(&mut test)?;
    }
    Ok(())
}
