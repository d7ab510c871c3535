//! `chardevctl attach`: this terminal as a console's back end, until it leaves.
//!
//! One end of a socket pair goes to the daemon, which makes it the chardev's back end; when our end
//! closes, the former back end comes back. On a terminal the keyboard is raw and an escape key gives
//! commands. Without one, standard input is sent up to its end, and then output is copied until
//! there was none for `--idle` milliseconds.

mod escape;
mod pump;
mod request;
mod terminal;

use std::os::unix::net::UnixStream;

use chardev_qapi::Object;
use chardev_qmp::client::ClientError;
use signal_hook::consts::signal::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::commands::explain;
use super::connect::{Address, connect};

/// The name under which the daemon is given our descriptor.
const FDNAME: &str = "chardevctl-attach";

/// Connects this terminal to a chardev until you leave; then its back end comes back
///
/// On a terminal the escape key begins a command: '.' or 'q' leaves, 'b' sends a break, '?' helps,
/// and the key itself is sent when it is typed twice. Elsewhere standard input is sent up to its
/// end; output is then copied until there was none for a moment.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The chardev
    id: String,
    /// The escape key: ^X for control-X, a character, or none
    #[arg(long, value_name = "KEY", default_value = "^]")]
    escape: String,
    /// Without a terminal: how long the console must be silent after the end of standard input
    #[arg(long, value_name = "MS", default_value_t = 500)]
    idle: u64,
}

/// The signals that concern a terminal.
pub(super) type Signals = SignalDelivery<UnixStream, SignalOnly>;

/// Attaches; returns when the user leaves, the console ends or a signal ends us.
pub(super) fn run(address: &Address, args: &Args) -> Result<(), String> {
    let key = escape::parse_key(&args.escape)?;
    // Before the terminal is touched, so that no signal finds it raw and us unprepared.
    let signals = watch_signals().map_err(|error| format!("signals: {error}"))?;
    let console = attach(address, &args.id)?;
    let terminal =
        terminal::RawTerminal::enter().map_err(|error| format!("standard input: {error}"))?;
    let output = terminal::Output::open().map_err(|error| format!("standard output: {error}"))?;
    let idle = std::time::Duration::from_millis(args.idle);
    let key = key.filter(|_| terminal.is_some());
    let pump = pump::Pump::new(
        address, &args.id, console, terminal, output, signals, key, idle,
    );
    match pump.run()? {
        None => Ok(()),
        Some(signal) => {
            // Everything is restored; now the signal may do what it does.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            Err(format!("ended by signal {signal}"))
        }
    }
}

fn watch_signals() -> std::io::Result<Signals> {
    let (read, write) = UnixStream::pair()?;
    let all = [SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT];
    SignalDelivery::with_pipe(read, write, SignalOnly, all)
}

/// Makes one end of a socket pair the back end and returns the other.
fn attach(address: &Address, id: &str) -> Result<UnixStream, String> {
    let mut monitor = connect(address)?;
    if monitor.stream().unix().is_none() {
        return Err(
            "attach passes a descriptor, which only a unix socket can: use --socket PATH".into(),
        );
    }
    let failed = |error: std::io::Error| format!("socket pair: {error}");
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    monitor.stream_mut().pass(theirs.into());
    let fdname = || Object::new().with("fdname", FDNAME);
    monitor.execute("getfd", fdname()).map_err(explain)?;
    match monitor.execute("x-chardev-attach", fdname().with("id", id)) {
        Ok(_) => Ok(ours),
        Err(ClientError::Command(error)) => {
            let _ = monitor.execute("closefd", fdname());
            Err(explain(ClientError::Command(error)))
        }
        Err(error) => Err(error.to_string()),
    }
}
