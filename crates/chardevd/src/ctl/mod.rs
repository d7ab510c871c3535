//! chardevctl: the client of the daemon.
//!
//! It talks to the daemon's monitor only, except for [`demo`], which starts a daemon of its own.

mod attach;
mod backend;
mod commands;
pub mod connect;
pub mod demo;
mod device;
mod export;
mod failure;
mod frames;
mod holder;
mod list;
mod raw;
mod suggest;
mod trust;
mod waiting;
mod watch;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chardev::text::shown_lines;
use clap::{CommandFactory, Parser, Subcommand};

use connect::{Address, Target};
use failure::Failure;
use waiting::Patience;

/// Controls the consoles of a running chardevd.
#[derive(Debug, Parser)]
#[command(name = "chardevctl", version, max_term_width = 100, after_help = failure::STATUSES)]
struct Args {
    /// The daemon's monitor, a unix socket [default: chardevd/qmp.sock in the runtime directory, if it is yours or root's]
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "CHARDEVD_SOCKET",
        hide_env_values = true
    )]
    socket: Option<PathBuf>,
    /// The daemon's monitor over TCP, whatever --socket says
    #[arg(long, global = true, value_name = "HOST:PORT")]
    host: Option<String>,
    /// Gives up after so long: the whole command; of attach, watch and qmp, until they are connected
    #[arg(long, global = true, value_name = "SECONDS", value_parser = waiting::parse_timeout)]
    timeout: Option<Duration>,
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the chardevs
    List {
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Adds a chardev, in the grammar of -chardev
    Add {
        /// KIND,id=ID[,OPTION=VALUE…]
        line: String,
    },
    /// Gives a chardev another back end, losing nothing
    Change {
        /// The chardev
        id: String,
        /// KIND[,OPTION=VALUE…], in the grammar of -chardev without an id
        line: String,
    },
    /// Removes a chardev that nobody uses
    Remove {
        /// The chardev
        id: String,
    },
    /// Sends a break to a chardev's front end
    Break {
        /// The chardev
        id: String,
    },
    /// Starts the program behind a chardev again, and ends it first if it runs
    Restart {
        /// The chardev
        id: String,
    },
    /// Lists, makes and ends devices: programs, null modems, ports of guests
    #[command(subcommand)]
    Device(device::Action),
    /// Prints all that runs as arguments of chardevd, which start the same again
    Export {
        /// Prints the chardevs as arguments of the QMP command x-chardev-transaction
        #[arg(long)]
        json: bool,
    },
    /// Connects this terminal to a chardev until you leave; then its back end comes back
    Attach(attach::Args),
    /// Prints a chardev's output as it comes, without disturbing its peer
    Watch(watch::Args),
    /// Prints the output of a chardev that is kept
    History(watch::HistoryArgs),
    /// Runs one QMP command, or without one passes QMP on from standard input
    Qmp {
        /// The command, for example query-chardev
        command: Option<String>,
        /// Its arguments, a JSON object
        arguments: Option<String>,
    },
    /// Changes a busy console's back end again and again and counts every byte
    Demo(demo::Args),
}

/// The command line, for man pages and completions.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs `chardevctl` with the arguments of the process.
pub fn main() -> ExitCode {
    if let Some(done) = demo::run_program(std::env::args_os()) {
        return finish(done);
    }
    let args: Args = crate::cli::parse(std::env::args_os());
    let address = match (args.socket, args.host) {
        (_, Some(host)) => Address::Tcp(host),
        (Some(path), None) => Address::Unix(path),
        (None, None) => Address::Unix(crate::default_socket()),
    };
    let target = Target {
        address,
        patience: Patience::new(args.timeout),
    };
    let target = &target;
    let done = match args.command {
        Action::Demo(args) => return demo::run(&args),
        Action::List { json } => list::list(target, json),
        Action::Add { line } => commands::add(target, &line),
        Action::Change { id, line } => commands::change(target, &id, &line),
        Action::Remove { id } => commands::remove(target, &id),
        Action::Break { id } => commands::send_break(target, &id),
        Action::Restart { id } => commands::restart(target, &id),
        Action::Device(action) => device::run(target, &action),
        Action::Export { json } => export::export(target, json),
        Action::Attach(args) => attach::run(target, &args),
        Action::Watch(args) => watch::watch(target, &args),
        Action::History(args) => watch::history(target, &args),
        Action::Qmp {
            command: Some(command),
            arguments,
        } => raw::one(target, &command, arguments.as_deref()),
        Action::Qmp { .. } => raw::all(target),
    };
    finish(done)
}

/// Tells why it failed, and with which status that ends.
fn finish(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                // The status tells it, too, where nobody listens.
                let _ = writeln!(io::stderr(), "chardevctl: {}", shown_lines(text));
            }
            failure.code()
        }
    }
}
