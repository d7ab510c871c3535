//! `chardevctl attach`: this terminal as a console's back end, until it leaves.
//!
//! One end of a socket pair goes to the daemon, which makes it the chardev's back end; when our end
//! closes, the former back end comes back. On a terminal the keyboard is raw and an escape key
//! gives commands. Without one, standard input is sent up to its end, and then output is copied
//! until there was none for `--idle` milliseconds.

mod aside;
mod ask;
mod escape;
mod file;
mod join;
mod link;
mod lookback;
mod menu;
mod modes;
mod news;
mod pump;
mod ready;
mod reason;
mod replay;
mod screen;
mod terminal;
mod wait;
mod within;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chardev::text::shown;
use signal_hook::consts::signal::{
    SIGABRT, SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1,
    SIGUSR2, SIGVTALRM, SIGWINCH, SIGXCPU,
};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::complete;
use super::connect::Target;
use super::failure::{Failure, Status};
use chardev::screen::Size;
use escape::key_name;
use join::Manner;
pub(super) use join::what_is_behind;
pub(super) use modes::Modes;
pub(super) use reason::{Reason, how_it_ended};
use rustix::termios::isatty;
pub(super) use terminal::RawTerminal;
use wait::Waited;
pub(super) use wait::suspend;

/// Connects this terminal to a chardev; the previous back end is restored when you leave
///
/// On a terminal the console's last screen is shown again, and the escape key starts a command: '.'
/// or 'q' leaves, 'b' sends a break, 'w' says who is here, 'r' makes it read only, 'c' changes the
/// back end, 'm' sets a marker, 's' sends a file, 'l' looks back through what the console has said,
/// '?' shows help, and typing the key twice sends it. Otherwise standard input is sent up to its
/// end, and output is then copied until there has been none for a moment.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The chardev
    #[arg(add = complete::ids())]
    pub(super) id: String,
    /// Escape key: ^X for Ctrl-X, a single character, or none
    #[arg(long, value_name = "KEY", default_value = "^]")]
    escape: String,
    /// Take over the console; whoever is attached is told who did
    #[arg(long, conflicts_with_all = ["share", "read_only"])]
    force: bool,
    /// Share the console: everyone attached sees the output and can type
    #[arg(long, conflicts_with = "read_only")]
    share: bool,
    /// Watch alongside whoever is attached; nothing you type is sent
    #[arg(long)]
    read_only: bool,
    /// Do not show the console's last screen again
    #[arg(long)]
    no_replay: bool,
    /// Without a terminal: exit after standard input ends and the console has been silent this long
    #[arg(long, value_name = "MS", default_value_t = 500)]
    idle: u64,
}

/// The signals that end a process that does not know better, and must not find the terminal raw.
const ENDING: [i32; 11] = [
    SIGABRT, SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM,
    SIGXCPU,
];

/// The signals that concern a terminal.
pub(super) type Signals = SignalDelivery<UnixStream, SignalOnly>;

/// Attaches; returns when the user leaves, the console ends or a signal ends us.
pub(super) fn run(target: &Target, args: &Args) -> Result<(), Failure> {
    let key = escape::parse_key(&args.escape)
        .map_err(|error| Failure::new(Status::Usage, format!("--escape: {error}")))?;
    // Before the terminal is touched, so that no signal finds it raw and us unprepared.
    let over = Arc::new(AtomicBool::new(false));
    let signals = watch_signals(&over).map_err(|error| format!("signals: {error}"))?;
    let ended = attached(target, args, key, signals);
    // Everything is restored; from here on a signal does what it does.
    over.store(true, Ordering::SeqCst);
    let (reason, told) = ended?;
    if let Reason::Signal(signal) = reason {
        target.finish();
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    match reason.result(&args.id) {
        Err(failure) if told => Err(failure.told()),
        result => result,
    }
}

/// Why it ended, and whether the user was told so.
fn attached(
    target: &Target,
    args: &Args,
    key: Option<u8>,
    signals: Signals,
) -> Result<(Reason, bool), Failure> {
    let terminal =
        terminal::RawTerminal::enter().map_err(|error| format!("standard input: {error}"))?;
    let is_terminal = terminal.is_some();
    let key = key.filter(|_| is_terminal);
    let mut waiting = wait::Waiting::new(signals, terminal, key);
    let mut manner = args.manner();
    let (joined, waiting) = loop {
        let size = replay_size(args, &waiting);
        match waiting.run(joining(target, args, key, manner, size))? {
            Waited::Done(Err(failure), mut same) if ask::can_help(&failure, &same) => {
                match ask::ask(&failure, &mut same)? {
                    ask::Wish::Join(wanted) => manner = wanted,
                    ask::Wish::Leave => return Err(failure),
                    ask::Wish::Signal(signal) => return Ok((Reason::Signal(signal), true)),
                }
                waiting = same;
            }
            Waited::Done(joined, waiting) => break (joined?, waiting),
            Waited::Left => {
                let text = format!("{} was not attached: you gave up", shown(&args.id));
                return Err(text.into());
            }
            Waited::Signal(signal) => return Ok((Reason::Signal(signal), true)),
        }
    };
    let screen = screen::Screen::open(is_terminal);
    let screen = screen.map_err(|error| format!("standard output: {error}"))?;
    let idle = std::time::Duration::from_millis(args.idle);
    let driver = target.drive();
    let pump = pump::Pump::new(&args.id, joined, waiting, screen, driver, idle);
    Ok((pump.run()?, is_terminal))
}

/// The size of the terminal that the console's last screen is for, if that is wanted.
fn replay_size(args: &Args, waiting: &wait::Waiting) -> Option<Size> {
    let size = waiting.terminal.as_ref().and_then(RawTerminal::size);
    let size = size.filter(|_| !args.no_replay && isatty(std::io::stdout()));
    size.and_then(|(cols, rows)| Size::new(cols.into(), rows.into()))
}

/// The work of attaching in this manner.
fn joining(
    target: &Target,
    args: &Args,
    key: Option<u8>,
    manner: Manner,
    size: Option<Size>,
) -> impl FnOnce() -> Result<join::Joined, Failure> + Send + 'static {
    let escape = key.map(|key| format!("Ctrl-C or {} . gives up", key_name(key)));
    let (target, id) = (target.clone().with_escape(escape), args.id.clone());
    move || join::join(&target, &id, manner, size)
}

impl Args {
    fn manner(&self) -> Manner {
        match (self.force, self.share, self.read_only) {
            (true, _, _) => Manner::Force,
            (_, true, _) => Manner::Share,
            (_, _, true) => Manner::ReadOnly,
            _ => Manner::Alone,
        }
    }
}

/// Signals are noted, until it is `over`.
pub(super) fn watch_signals(over: &Arc<AtomicBool>) -> std::io::Result<Signals> {
    for signal in ENDING.into_iter().chain([SIGTSTP]) {
        register_conditional_default(signal, Arc::clone(over))?;
    }
    let (read, write) = UnixStream::pair()?;
    let all = ENDING.into_iter().chain([SIGTSTP, SIGCONT, SIGWINCH]);
    SignalDelivery::with_pipe(read, write, SignalOnly, all)
}
