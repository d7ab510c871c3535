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
mod wait;

use std::os::unix::net::UnixStream;

use chardev::text::shown;
use chardev_qapi::Object;
use chardev_qmp::client::ClientError;
use signal_hook::consts::signal::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::connect::Target;
use super::failure::{Failure, Status};
use escape::key_name;
use wait::Waited;

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
pub(super) fn run(target: &Target, args: &Args) -> Result<(), Failure> {
    let key = escape::parse_key(&args.escape)
        .map_err(|error| Failure::new(Status::Usage, format!("--escape: {error}")))?;
    // Before the terminal is touched, so that no signal finds it raw and us unprepared.
    let signals = watch_signals().map_err(|error| format!("signals: {error}"))?;
    let terminal =
        terminal::RawTerminal::enter().map_err(|error| format!("standard input: {error}"))?;
    let key = key.filter(|_| terminal.is_some());
    let waiting = wait::Waiting::new(signals, terminal, key);
    let attaching = {
        let escape = key.map(|key| format!("Ctrl-C or {} . gives up", key_name(key)));
        let (target, id) = (target.clone().with_escape(escape), args.id.clone());
        move || attach(&target, &id)
    };
    let (console, waiting) = match waiting.run(attaching)? {
        Waited::Done(console, waiting) => (console?, waiting),
        Waited::Left => {
            let text = format!("{} was not attached: you gave up", shown(&args.id));
            return Err(text.into());
        }
        Waited::Signal(signal) => return Err(end_by(signal)),
    };
    let output = terminal::Output::open().map_err(|error| format!("standard output: {error}"))?;
    let idle = std::time::Duration::from_millis(args.idle);
    let pump = pump::Pump::new(target, &args.id, console, waiting, output, idle);
    match pump.run()? {
        None => Ok(()),
        Some(signal) => Err(end_by(signal)),
    }
}

/// Everything is restored; now the signal may do what it does.
fn end_by(signal: i32) -> Failure {
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    format!("ended by signal {signal}").into()
}

fn watch_signals() -> std::io::Result<Signals> {
    let (read, write) = UnixStream::pair()?;
    let all = [SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT];
    SignalDelivery::with_pipe(read, write, SignalOnly, all)
}

/// Makes one end of a socket pair the back end and returns the other.
fn attach(target: &Target, id: &str) -> Result<UnixStream, Failure> {
    let mut monitor = target.connect()?;
    if !monitor.stream().is_unix() {
        return Err(
            "attach passes a descriptor, which only a unix socket can: use --socket PATH".into(),
        );
    }
    let failed = |error: std::io::Error| format!("socket pair: {error}");
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    monitor.stream_mut().pass(theirs.into());
    let fdname = || Object::new().with("fdname", FDNAME);
    let named = monitor.execute("getfd", fdname());
    named.map_err(|error| target.failed(&error))?;
    let attached = monitor.execute("x-chardev-attach", fdname().with("id", id));
    if let Err(ClientError::Command(_)) = attached {
        let _ = monitor.execute("closefd", fdname());
    }
    match attached {
        Ok(_) => Ok(ours),
        Err(error) => Err(target.failed(&error)),
    }
}
