//! `chardevctl demo`: a daemon of its own, a program that prints and reads as fast as it can, and
//! changes of its console in the midst of that, with every byte counted.

mod report;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chardev_load::peers::{Kind, Load};
use chardev_load::program;
use chardev_load::random::Random;
use chardev_load::rig::{Programs, Report, Rig};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::failure::Failure;
use crate::signals::Ignored;

/// How many changes there are if nothing else is asked for.
const CHANGES: u64 = 200;
/// One peer in this many reads slowly.
const SLOW: usize = 10;
/// One change in this many does not wait for the load to build up.
const AT_ONCE: usize = 8;

/// Changes a busy console's back end repeatedly and accounts for every byte; Ctrl-C stops it early
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Number of changes [default: 200, or as many as fit into --seconds]
    #[arg(long, value_name = "N")]
    pub changes: Option<u64>,
    /// Keep changing for this long
    #[arg(long, value_name = "S")]
    pub seconds: Option<u64>,
    /// Path of the daemon [default: the chardevd next to this program]
    #[arg(long, value_name = "PATH")]
    pub daemon: Option<PathBuf>,
    /// Seed for the order of changes [default: random]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Continue when a change is refused
    #[arg(long)]
    pub keep_going: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the demo until it has made its changes or a signal asks it to stop: 0 if everything
/// arrived, 1 if not, 2 if it could not be set up or got stuck.
pub fn run(args: &Args) -> ExitCode {
    let seed = args.seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| {
            u64::from(now.subsec_nanos()) ^ u64::from(std::process::id())
        })
    });
    let report = programs(args).and_then(|programs| drive(args, &programs, seed));
    match report {
        Ok(report) if args.json => {
            println!("{}", report::json(&report, seed));
            ExitCode::from(u8::from(!report.is_clean()))
        }
        Ok(report) => {
            print!("{}", report::table(&report, seed));
            ExitCode::from(u8::from(!report.is_clean()))
        }
        Err(error) => {
            eprintln!("chardevctl demo (--seed {seed}): {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the program behind the demo's console if `arguments` ask for it. It is no subcommand,
/// because clap offers even hidden ones to whoever mistypes another.
pub(super) fn run_program(
    mut arguments: impl Iterator<Item = OsString>,
) -> Option<Result<(), Failure>> {
    if arguments.nth(1)? != program::COMMAND {
        return None;
    }
    let report = PathBuf::from(arguments.next()?);
    let done = program::run(&report);
    Some(done.map_err(|error| Failure::from(error.to_string())))
}

fn programs(args: &Args) -> Result<Programs, Failure> {
    let client = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let daemon = match &args.daemon {
        Some(path) => path.clone(),
        None => client.with_file_name("chardevd"),
    };
    Ok(Programs { daemon, client })
}

fn drive(args: &Args, programs: &Programs, seed: u64) -> Result<Report, Failure> {
    let mut random = Random::new(seed);
    let changes = args.changes.unwrap_or(if args.seconds.is_some() {
        u64::MAX
    } else {
        CHANGES
    });
    let began = Instant::now();
    let stopped = stop_flag().map_err(|error| format!("no signals: {error}"))?;
    let time_is_up = || {
        let seconds = args.seconds.map(Duration::from_secs);
        stopped.load(Ordering::Relaxed) || seconds.is_some_and(|limit| began.elapsed() >= limit)
    };
    let mut progress = Progress::new(args, changes);
    let first = Load {
        kind: Kind::UnixServer,
        slow: false,
    };
    let mut rig = Rig::start_with(first, |setup| {
        let mut daemon = programs.command(setup);
        // Ctrl-C is for us; the daemon is needed to the last byte.
        daemon.process_group(0);
        daemon
    })?;
    let mut made = 0;
    while made < changes {
        let last = made + 1 == changes || time_is_up();
        if !random.one_in(AT_ONCE) {
            rig.wait_for_load()?;
        }
        // The last peer has to be one that reads and writes to the very end.
        let kind = if last {
            Kind::UnixServer
        } else {
            random.pick(&Kind::ALL)
        };
        let before = rig.kind();
        rig.change(Load {
            kind,
            slow: !last && random.one_in(SLOW),
        })?;
        if !args.keep_going && !rig.so_far().refused.is_empty() {
            let refused = rig.so_far().refused.join("\n");
            return Err(format!("a change was refused: {refused}").into());
        }
        made += 1;
        progress.show(made, before, kind, &rig);
        if last {
            break;
        }
    }
    rig.wait_for_load()?;
    progress.end("waiting for the last bytes");
    Ok(rig.finish()?)
}

/// Set once a signal has asked for the end, unless whoever started us wants it ignored.
fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stopped = Arc::new(AtomicBool::new(false));
    let (wanted, ignored) = ([SIGINT, SIGTERM, SIGHUP].into_iter(), Ignored::now());
    for signal in wanted.filter(|signal| !ignored.has(*signal)) {
        signal_hook::flag::register(signal, Arc::clone(&stopped))?;
    }
    Ok(stopped)
}

/// A line that lives on a terminal, and a few lines elsewhere.
struct Progress {
    wanted: bool,
    live: bool,
    changes: u64,
    shown: Instant,
}

impl Progress {
    fn new(args: &Args, changes: u64) -> Self {
        let live = io::stderr().is_terminal();
        Progress {
            wanted: !args.json || live,
            live,
            changes,
            shown: Instant::now(),
        }
    }

    fn show(&mut self, made: u64, from: Kind, to: Kind, rig: &Rig) {
        let pause = Duration::from_millis(if self.live { 50 } else { 2000 });
        if !self.wanted || self.shown.elapsed() < pause {
            return;
        }
        self.shown = Instant::now();
        let of = if self.changes == u64::MAX {
            String::new()
        } else {
            format!("/{}", self.changes)
        };
        let (output, input) = rig.moved();
        let line = format!(
            "{made}{of} changes, {} MB out, {} MB in, {} → {}",
            output / 1_000_000,
            input / 1_000_000,
            from.name(),
            to.name()
        );
        self.put(&line);
    }

    fn end(&mut self, text: &str) {
        if self.live {
            self.put(text);
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn put(&self, line: &str) {
        // Whoever watches may have left; that is no reason to stop counting.
        let _ = match self.live {
            true => write!(io::stderr(), "\r\x1b[K{line}"),
            false => writeln!(io::stderr(), "{line}"),
        };
    }
}
