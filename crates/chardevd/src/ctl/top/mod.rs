//! `chardevctl top`: the consoles, what goes through them, and keys to work with one.

mod backend;
mod change;
mod draw;
mod keys;
mod state;
mod work;

use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::widgets::TableState;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::termios::isatty;
use signal_hook::consts::signal::{SIGCONT, SIGTSTP, SIGWINCH};

use super::attach::{RawTerminal, Signals, suspend, watch_signals};
use super::connect::{Monitor, Target};
use super::failure::{Failure, Status};
use super::list::{entries, without_parts};
use super::waiting::{parse_timeout, timespec};
use backend::Ansi;
use change::Changing;
use keys::Key;
use state::{Console, Consoles};

/// Shows the consoles and what goes through them, until q
///
/// Keys: up and down choose a console, Enter or a attaches to it, c changes its back end, l shows
/// its last output, q leaves.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Look every so many seconds
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = parse_timeout)]
    delay: Duration,
}

/// How often it is seen whether a change is done.
const GLANCE: Duration = Duration::from_millis(100);

/// Everything that is shown.
pub(super) struct Top {
    target: Target,
    monitor: Monitor,
    consoles: Consoles,
    chosen: usize,
    /// The last output of the one that is chosen, if that is wanted.
    output: Option<Vec<String>>,
    /// The back end that is being typed.
    prompt: Option<String>,
    /// The change that is in work.
    changing: Option<Changing>,
    /// What the user should know.
    said: Option<String>,
    /// It is to end.
    over: bool,
}

/// Shows it.
pub(super) fn run(target: &Target, args: &Args) -> Result<(), Failure> {
    if !isatty(io::stdin()) || !isatty(io::stdout()) {
        let text = "top needs a terminal\n'chardevctl list --watch' goes anywhere";
        return Err(Failure::new(Status::Usage, text));
    }
    let over = Arc::new(AtomicBool::new(false));
    let signals = watch_signals(&over).map_err(|error| format!("signals: {error}"))?;
    let mut top = Top {
        target: target.clone(),
        monitor: target.private(|_| Ok(()))?,
        consoles: Consoles::default(),
        chosen: 0,
        output: None,
        prompt: None,
        changing: None,
        said: None,
        over: false,
    };
    top.look()?;
    let ended = top.show(signals, args.delay);
    over.store(true, Ordering::SeqCst);
    let signal = ended?;
    if let Some(signal) = signal {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    Ok(())
}

/// The terminal while it is ours; it is as it was afterwards.
struct Ours(RawTerminal);

impl Ours {
    fn take() -> Result<Self, Failure> {
        let failed = |error: io::Error| format!("the terminal: {error}");
        let raw = RawTerminal::enter().map_err(failed)?;
        let raw = raw.ok_or("standard input is no terminal")?;
        raw.make_raw().map_err(failed)?;
        put("\x1b[?1049h\x1b[?25l\x1b[2J");
        Ok(Ours(raw))
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        put("\x1b[m\x1b[?25h\x1b[?1049l");
        self.0.restore();
    }
}

/// Writes to a terminal, which may have hung up: reading it tells.
fn put(text: &str) {
    let mut stdout = io::stdout();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

impl Top {
    /// Runs until the user leaves, or this signal is to end us.
    fn show(&mut self, mut signals: Signals, delay: Duration) -> Result<Option<i32>, Failure> {
        let failed = |error: io::Error| Failure::from(format!("the terminal: {error}"));
        let mut ours = Some(Ours::take()?);
        let mut terminal = Terminal::new(Ansi::default()).map_err(failed)?;
        let mut table = TableState::default();
        let mut next = Instant::now() + delay;
        while !self.over {
            table.select(Some(self.chosen));
            let drawn = terminal.draw(|frame| draw::draw(frame, self, &mut table));
            drawn.map_err(failed)?;
            let mut left = next.saturating_duration_since(Instant::now());
            if self.changing.is_some() {
                left = left.min(GLANCE);
            }
            let (typed, signal) = wait(&signals, left)?;
            if signal {
                let pending: Vec<i32> = signals.pending().collect();
                for signal in pending {
                    match signal {
                        SIGWINCH => terminal.clear().map_err(failed)?,
                        SIGTSTP => {
                            ours = None;
                            suspend(None);
                        }
                        SIGCONT => {}
                        signal => return Ok(Some(signal)),
                    }
                }
                if ours.is_none() {
                    ours = Some(Ours::take()?);
                    terminal.clear().map_err(failed)?;
                }
            }
            if typed {
                for key in read_keys()? {
                    if self.press(key)? {
                        drop(ours.take());
                        self.attach();
                        ours = Some(Ours::take()?);
                        terminal.clear().map_err(failed)?;
                    }
                }
            }
            if self.is_changed() || next <= Instant::now() {
                self.look()?;
                next = Instant::now() + delay;
            }
        }
        drop(ours);
        Ok(None)
    }

    /// The console that is chosen.
    fn chosen(&self) -> Option<&Console> {
        self.consoles.all.get(self.chosen)
    }

    /// Asks how things are.
    fn look(&mut self) -> Result<(), Failure> {
        let entries = without_parts(entries(&self.target, &mut self.monitor)?);
        let id = self.chosen().map(|console| console.id.clone());
        self.consoles.update(&entries, Instant::now());
        // The choice stays with the console.
        let same = self
            .consoles
            .all
            .iter()
            .position(|one| Some(&one.id) == id.as_ref());
        let last = self.consoles.all.len().saturating_sub(1);
        self.chosen = same.unwrap_or(self.chosen).min(last);
        if self.output.is_some() {
            self.look_at_output();
        }
        Ok(())
    }
}

/// Waits for keys and signals.
fn wait(signals: &Signals, time: Duration) -> Result<(bool, bool), Failure> {
    let stdin = io::stdin();
    let mut fds = [
        PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(signals.get_read().as_fd(), PollFlags::IN),
    ];
    match poll(&mut fds, Some(&timespec(time))) {
        Ok(_) => Ok((!fds[0].revents().is_empty(), !fds[1].revents().is_empty())),
        Err(Errno::INTR) => Ok((false, true)),
        Err(error) => Err(format!("poll: {error}").into()),
    }
}

fn read_keys() -> Result<Vec<Key>, Failure> {
    let mut buffer = [0; 4096];
    match read(io::stdin(), &mut buffer) {
        // The terminal hung up.
        Ok(0) | Err(Errno::IO) => Ok(vec![Key::Letter('q')]),
        Ok(count) => Ok(keys::read(&buffer[..count])),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Vec::new()),
        Err(error) => Err(format!("standard input: {error}").into()),
    }
}
