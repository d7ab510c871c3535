//! chardevctl: the client of the daemon.
//!
//! It talks to the daemon's monitor only, except for [`demo`], which starts a daemon of its own,
//! and with `--fleet` to the servers of a fleet.

mod attach;
mod backend;
mod commands;
mod complete;
pub mod connect;
mod consoles;
pub mod demo;
mod device;
mod events;
mod expect;
mod export;
mod failure;
mod fleet;
mod frames;
mod holder;
mod import;
mod keys;
mod list;
mod logs;
mod meant;
mod play;
mod private;
mod progress;
pub mod proof;
mod raw;
mod record;
mod running;
mod screen;
mod send;
mod suggest;
mod table;
mod time;
mod tls;
mod token;
mod top;
mod trust;
mod tunnel;
mod waiting;
mod watch;
mod web;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chardev::text::shown_lines;
use clap::{CommandFactory, Parser, Subcommand};

use connect::{Address, Target};
use failure::Failure;
use fleet::Meant;
pub(crate) use meant::back_end_meant;
use proof::Proof;
pub(crate) use suggest::nearest;
use waiting::Patience;

/// Control the consoles of a running chardevd.
#[derive(Debug, Parser)]
#[command(name = "chardevctl", version, max_term_width = 100, after_help = failure::STATUSES)]
struct Args {
    /// Unix socket of the daemon's monitor [default: chardevd/qmp.sock in your runtime directory,
    /// and where nobody serves that, /run/chardevd.sock; it must belong to you or root]
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "CHARDEVD_SOCKET",
        hide_env_values = true
    )]
    socket: Option<PathBuf>,
    /// Reach the daemon's monitor over TCP instead; overrides --socket
    #[arg(long, global = true, value_name = "HOST:PORT")]
    host: Option<String>,
    /// Say who you are by the token in this file; without it by the one in CHARDEVD_TOKEN, if any
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CHARDEVD_TOKEN_FILE",
        hide_env_values = true
    )]
    token_file: Option<PathBuf>,
    /// With --host, speak TLS: with ca-cert.pem and, to say who you are, client-cert.pem and
    /// client-key.pem in this directory
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "CHARDEVD_TLS_DIR",
        hide_env_values = true
    )]
    tls_dir: Option<PathBuf>,
    /// Give up after this long; for attach, watch and qmp, the time to connect
    #[arg(long, global = true, value_name = "SECONDS", value_parser = waiting::parse_timeout)]
    timeout: Option<Duration>,
    #[command(flatten)]
    fleet: fleet::Options,
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the chardevs
    List(list::Args),
    /// Add a chardev; takes the same argument as -chardev
    ///
    /// Relative paths in it start where you are; over --host, where the daemon is.
    Add {
        /// KIND,id=ID[,OPTION=VALUE…]
        #[arg(add = complete::back_end(true))]
        line: String,
    },
    /// Change a chardev's back end without losing a byte
    ///
    /// Relative paths start where you are; over --host, where the daemon is. If it fails, or you
    /// give it up with Ctrl-C, the chardev is as it was.
    Change {
        /// The chardev
        #[arg(add = complete::ids())]
        id: String,
        /// KIND[,OPTION=VALUE…]: the argument of -chardev, without an id
        #[arg(add = complete::back_end(false))]
        line: String,
    },
    /// Remove an unused chardev
    Remove {
        /// The chardev
        #[arg(add = complete::ids())]
        id: String,
    },
    /// Send a break to a chardev's front end
    Break {
        /// The chardev
        #[arg(add = complete::ids())]
        id: String,
    },
    /// Restart the program behind a chardev
    Restart {
        /// The chardev
        #[arg(add = complete::ids())]
        id: String,
    },
    /// List, add, remove or restart devices: programs, null modems, guests' ports
    #[command(subcommand)]
    Device(device::Action),
    /// Print everything that is running as arguments for chardevd
    Export {
        /// Print the chardevs as JSON arguments for x-chardev-transaction instead
        #[arg(long)]
        json: bool,
    },
    /// List the consoles of the configuration, and why those that failed did
    Consoles {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read the configuration again and carry out what has changed
    Reload {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the configuration of conserver or ser2net as one of chardevd's, with comments on
    /// what has no place in it
    Import {
        /// conserver.cf or ser2net.yaml
        #[arg(value_parser = crate::cli::path)]
        file: PathBuf,
        /// Whose it is, if that cannot be seen
        #[arg(long, value_enum)]
        from: Option<import::Whose>,
    },
    /// Attach this terminal; the previous back end is restored on detach
    Attach(attach::Args),
    /// Be the peer of a fleet's console whose back end is x-nats: standard input and output, byte
    /// for byte
    ///
    /// Standard input is sent up to its end, and then output is copied until the console goes
    /// elsewhere. On a terminal Ctrl-] ends it.
    Connect {
        /// The console, HOST/CONSOLE
        #[arg(add = complete::ids())]
        id: String,
    },
    /// Follow a chardev's output without disturbing its peer
    Watch(watch::Args),
    /// Print the output that has been kept for a chardev
    History(watch::HistoryArgs),
    /// Type to a console beside whoever is connected to it
    Send(send::Args),
    /// Wait for output that matches a pattern, and answer it: for scripts
    Expect(expect::Args),
    /// Show the consoles and what goes through them, and work with them
    Top(top::Args),
    /// Print what happens to the consoles, as it happens
    Events(events::Args),
    /// Say where a console's log is, and print its last lines
    Logs(logs::Args),
    /// Record a console's output with its times
    Record(record::Args),
    /// Play a recording, or a log that has an index
    Play(play::Args),
    /// Set a marker in a console's output
    Mark {
        /// The chardev
        #[arg(add = complete::ids())]
        id: String,
        /// What it says
        text: String,
    },
    /// Make, list or remove tokens, by which others may use this daemon's monitors
    #[command(subcommand)]
    Token(token::Action),
    /// Print what a console shows, or draw it
    Screen(screen::Args),
    /// End the daemon; what it has accepted is delivered first
    Quit,
    /// Open the web page, logged in as you are here
    Web(web::Args),
    /// Run one QMP command, or relay QMP from standard input
    Qmp {
        /// Command name, such as query-chardev
        #[arg(add = complete::commands())]
        command: Option<String>,
        /// Arguments, as a JSON object
        arguments: Option<String>,
    },
    /// Print a script that makes a shell complete chardevctl's arguments
    Completions(complete::Args),
    /// Change the back end of a busy console repeatedly and account for every byte
    Demo(demo::Args),
}

impl Action {
    /// Whether it sees to it itself that it ends well where a signal ends it.
    fn ends_on_signals(&self) -> bool {
        matches!(self, Action::Attach(_) | Action::Record(_) | Action::Top(_))
    }

    /// The one console that it is about, as it is written.
    fn console(&mut self) -> Option<&mut String> {
        match self {
            Action::Change { id, .. }
            | Action::Remove { id }
            | Action::Break { id }
            | Action::Restart { id }
            | Action::Mark { id, .. } => Some(id),
            Action::Attach(args) => Some(&mut args.id),
            Action::Send(args) => Some(&mut args.id),
            Action::Expect(args) => Some(&mut args.id),
            Action::Logs(args) => Some(&mut args.id),
            Action::Record(args) => Some(&mut args.id),
            Action::Screen(args) => Some(&mut args.id),
            _ => None,
        }
    }
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
    complete::answer::<Args>();
    let mut args: Args = crate::cli::parse(std::env::args_os());
    let fleet = match args.fleet.run(args.timeout, &mut args.command) {
        Ok(Meant::Done) => return finish(Ok(())),
        Ok(Meant::Host(place)) => Some(place),
        Ok(Meant::NoFleet) => None,
        Err(failure) => return finish(Err(failure)),
    };
    let address = match (fleet, args.socket, args.host) {
        (Some(place), _, _) => Address::Fleet(place),
        (None, _, Some(host)) => Address::Tcp(host),
        (None, Some(path), None) => Address::Unix(path),
        (None, None, None) => Address::usual(),
    };
    let proof = match Proof::find(args.token_file.as_deref()) {
        Ok(proof) => proof,
        Err(failure) => return finish(Err(failure)),
    };
    let target = Target {
        address,
        patience: Patience::new(args.timeout),
        proof,
        tls: args.tls_dir,
    };
    let target = &target;
    let done = match args.command {
        Action::Demo(args) => return demo::run(&args),
        Action::List(args) => list::list(target, &args),
        Action::Add { line } => commands::add(target, &line),
        Action::Change { id, line } => commands::change(target, &id, &line),
        Action::Remove { id } => commands::remove(target, &id),
        Action::Break { id } => commands::send_break(target, &id),
        Action::Restart { id } => commands::restart(target, &id),
        Action::Device(action) => device::run(target, &action),
        Action::Export { json } => export::export(target, json),
        Action::Consoles { json } => consoles::consoles(target, json),
        Action::Reload { json } => consoles::reload(target, json),
        Action::Import { file, from } => import::import(&file, from),
        Action::Attach(args) => attach::run(target, &args),
        // A fleet has done that.
        Action::Connect { .. } => Ok(()),
        Action::Watch(args) => watch::watch(target, &args),
        Action::History(args) => watch::history(target, &args),
        Action::Send(args) => send::run(target, &args),
        Action::Expect(args) => expect::run(target, &args),
        Action::Top(args) => top::run(target, &args),
        Action::Events(args) => events::run(target, &args),
        Action::Logs(args) => logs::run(target, &args),
        Action::Record(args) => record::run(target, &args),
        Action::Play(args) => play::run(&args),
        Action::Mark { id, text } => record::mark(target, &id, &text),
        Action::Quit => commands::quit(target),
        Action::Web(args) => web::run(target, &args),
        Action::Completions(args) => complete::run(&args),
        Action::Token(action) => token::run(target, &action),
        Action::Screen(args) => screen::screen(target, &args),
        Action::Qmp {
            command: Some(command),
            arguments,
        } => raw::one(target, &command, arguments.as_deref()),
        Action::Qmp { .. } => raw::all(target),
    };
    target.finish();
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
