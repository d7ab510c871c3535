//! [front: exec] → chardev → back → host: a program on a terminal of its own.
//!
//! The program leads a session on a new pty, so job control, `^C` and the window size work as on
//! any terminal. A break is what it is on a terminal with BRKINT: SIGINT for the foreground.

mod plain;
mod program;

use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use chardev::spec::ParameterError;
use chardev::text::to_path;
use chardev::{Event, FrontEnd, Input, TerminalSize};
use chardev_monitor::{RunState, Stop};
use chardev_qapi::opts::Opts;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetpgrp, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::DaemonError;
use crate::devices::pump::{Leftover, TURN, with_scratch};
use crate::devices::roll::{Entry, in_words};
use crate::devices::{Device, DeviceKind, Start, first_client, required, switch};

/// The most bytes on their way in one direction.
const BUFFER: usize = 64 << 10;
/// The least time between two starts: a program that ends at once must not use up a CPU.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long a program may take to end after its terminal was hung up, and again after SIGTERM.
const HANG_UP_LIMIT: Duration = Duration::from_secs(1);
/// How often to look meanwhile whether any of its processes is left.
const LOOK: Duration = Duration::from_millis(50);
/// How long the last output may take before its program's end is told.
const TELL_LIMIT: Duration = Duration::from_millis(500);
/// How long the last output may take once the daemon ends.
const LAST_OUTPUT_LIMIT: Duration = Duration::from_millis(500);

/// The kind `exec`.
pub(super) static KIND: DeviceKind = DeviceKind {
    name: "exec",
    summary: "a program on a terminal of its own, run by sh -c",
    options: &[
        ("chardev", "the chardev that is its console"),
        ("command", "what to run; write each comma twice"),
        ("restart", "start it again when it ends (default off)"),
        ("cwd", "the directory to run it in (default: the daemon's)"),
        (
            "tell-end",
            "write a line to the console when it ends (default off)",
        ),
    ],
    read,
};

fn read(opts: &Opts) -> Result<Box<dyn Device>, ParameterError> {
    Ok(Box::new(Exec {
        chardev: required(opts, "chardev")?,
        command: required(opts, "command")?,
        restart: switch(opts, "restart", false)?,
        cwd: opts.get("cwd").map(|path| to_path(path, None)),
        tell_end: switch(opts, "tell-end", false)?,
    }))
}

/// What to run, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The chardev that is its console.
    pub chardev: String,
    /// The command, for `sh -c`.
    pub command: String,
    /// Whether it is started again when it ends.
    pub restart: bool,
    /// Where it runs; the daemon's directory where not given.
    pub cwd: Option<PathBuf>,
    /// Whether its console shows that it has ended.
    pub tell_end: bool,
}

impl Device for Exec {
    fn chardev(&self) -> &str {
        &self.chardev
    }

    fn restart(&self) -> Option<bool> {
        Some(self.restart)
    }

    fn command(&self) -> Option<&str> {
        Some(&self.command)
    }

    fn start(self: Box<Self>, start: &Start<'_>) -> Result<JoinHandle<()>, DaemonError> {
        let front = start.attach("chardev", &self.chardev)?;
        let held = start.is_held(&self.chardev);
        let exec = self.starting_at(start.directory());
        let (entry, stop) = (Arc::clone(start.entry), start.stop.clone());
        let run = exec.run(front, held, entry, stop, start.run_state());
        let most = start.chardevs().io_threads();
        Ok(start.worker().spawn_program(most, run))
    }
}

impl Exec {
    /// The same, where relative paths start at `directory`.
    pub(crate) fn starting_at(mut self, directory: &Path) -> Self {
        let cwd = directory.join(self.cwd.unwrap_or_default());
        self.cwd = Some(cwd).filter(|cwd| !cwd.as_os_str().is_empty());
        self
    }

    /// Runs the program on `front` until it ends for good or the daemon does; first waits for a
    /// client if `held`. What becomes of it is told to `entry`.
    pub(crate) async fn run(
        self,
        front: FrontEnd,
        held: bool,
        entry: Arc<Entry>,
        stop: Stop,
        run: RunState,
    ) {
        let front = Arc::new(front);
        if held {
            entry.is_waiting();
            tokio::select! {
                () = first_client(&front) => {}
                _ = stop.requested() => return,
            }
        }
        loop {
            let began = Instant::now();
            let chardev = &self.chardev;
            let mut life = Life::default();
            let status = self.run_once(&front, &entry, &mut life, &stop, &run).await;
            life.tell_end(chardev, &entry, &status);
            let pause = match self.restart {
                true => RESTART_PAUSE.saturating_sub(began.elapsed()),
                false => Duration::MAX,
            };
            tokio::select! {
                biased;
                _ = stop.requested() => return,
                () = tokio::time::sleep(pause) => {}
                () = entry.again() => {}
            }
        }
    }

    async fn run_once(
        &self,
        front: &Arc<FrontEnd>,
        entry: &Entry,
        life: &mut Life,
        stop: &Stop,
        run: &RunState,
    ) -> io::Result<ExitStatus> {
        let (master, slave) = open_terminal(front.size())?;
        let slave = Arc::new(slave);
        let program = self.program(&slave).await?;
        let pid = program.pid;
        life.pid = Some(pid.as_raw_nonzero().get().unsigned_abs());
        entry.has_started(life.pid);
        let mut ended = tokio::spawn(program::ended(program));
        let master = Arc::new(chardev::async_fd(master)?);
        front.set_open(true);
        let keyboard = tokio::spawn(type_in(Arc::clone(front), Arc::clone(&master), run.clone()));
        let mut screen = Screen {
            front,
            master: &master,
            run,
            leftover: Leftover::default(),
        };

        let status = tokio::select! {
            biased;
            _ = stop.requested() => hang_up(&mut screen, &mut ended, pid).await,
            () = entry.again() => {
                let status = hang_up(&mut screen, &mut ended, pid).await;
                // It is wanted again at once.
                entry.again_soon();
                life.again = true;
                status
            }
            status = screen.show_until(&mut ended) => status,
        };
        keyboard.abort();
        // With the last copy of the slave gone, what is left ends with an end of file.
        drop(slave);
        let last_output = async {
            poll_fn(|cx| screen.poll(cx, true)).await;
            if self.tell_end {
                let line = format!("\r\n[{}: {}]\r\n", self.chardev, in_words(&status));
                screen.leftover.keep(line.as_bytes());
                poll_fn(|cx| screen.leftover.poll_flush(cx, front)).await;
            }
        };
        // Nobody waits for a console that takes nothing to learn that its program has ended.
        let tell = async {
            tokio::time::sleep(TELL_LIMIT).await;
            life.tell_end(&self.chardev, entry, &status);
            pending().await
        };
        tokio::select! {
            () = last_output => {}
            () = tell => {}
            () = async {
                stop.requested().await;
                tokio::time::sleep(LAST_OUTPUT_LIMIT).await;
            } => {}
        }
        front.set_open(false);
        status
    }
}

/// One start of the program.
#[derive(Debug, Default)]
struct Life {
    pid: Option<u32>,
    end_is_told: bool,
    /// It was ended in order to be started again.
    again: bool,
}

impl Life {
    /// Tells once how it ended, or that it could not begin.
    fn tell_end(&mut self, chardev: &str, entry: &Entry, status: &io::Result<ExitStatus>) {
        if std::mem::replace(&mut self.end_is_told, true) {
            return;
        }
        match status {
            Ok(_) => tracing::info!(
                console = chardev,
                event = "program-ended",
                "exec on '{chardev}': {}",
                in_words(status)
            ),
            Err(_) => tracing::error!(
                console = chardev,
                event = "program-failed",
                "exec on '{chardev}': {}",
                in_words(status)
            ),
        }
        entry.has_ended(self.pid, status, self.again);
    }
}

/// The way from the program to the chardev.
struct Screen<'a> {
    front: &'a FrontEnd,
    master: &'a AsyncFd<OwnedFd>,
    run: &'a RunState,
    leftover: Leftover,
}

impl Screen<'_> {
    /// Shows what the program prints until it has ended. We hold the slave open meanwhile, so
    /// there is no end of file even if the program closes its terminal.
    async fn show_until(
        &mut self,
        ended: &mut JoinHandle<io::Result<ExitStatus>>,
    ) -> io::Result<ExitStatus> {
        tokio::select! {
            biased;
            status = ended => joined(status),
            () = poll_fn(|cx| self.poll(cx, false)) => Err(Errno::IO.into()),
        }
    }

    /// Ready at the end of the output; `last` says that the program has ended, and that nothing
    /// follows what can be read now.
    fn poll(&mut self, cx: &mut Context<'_>, last: bool) -> Poll<()> {
        for _ in 0..TURN {
            ready!(self.run.poll_running(cx));
            ready!(self.leftover.poll_flush(cx, self.front));
            let step = with_scratch(|buffer| {
                let (count, end) = fill(self.master.get_ref(), &mut buffer[..BUFFER]);
                if count > 0 {
                    self.leftover.send(cx, self.front, &buffer[..count]);
                }
                (count, end)
            });
            match step {
                (_, Fill::More) => {}
                (0, Fill::End) => return Poll::Ready(()),
                // The hang-up follows the program's end, so it was told to be the last by us.
                (0, Fill::Empty) if last => return Poll::Ready(()),
                (0, Fill::Empty) => match ready!(self.master.poll_read_ready(cx)) {
                    Ok(mut guard) => guard.clear_ready(),
                    Err(_) => return Poll::Ready(()),
                },
                _ => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Why [`fill`] stopped.
enum Fill {
    /// The buffer is full.
    More,
    /// Nothing more now.
    Empty,
    /// Nothing more ever.
    End,
}

/// Reads as much as there is: a pty gives at most 4 KiB at a time, and one write of many is
/// cheaper.
fn fill(master: &OwnedFd, buffer: &mut [u8]) -> (usize, Fill) {
    let mut count = 0;
    while count < buffer.len() {
        match rustix::io::read(master, &mut buffer[count..]) {
            Ok(0) => return (count, Fill::End),
            Ok(more) => count += more,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return (count, Fill::Empty),
            Err(_) => return (count, Fill::End),
        }
    }
    (count, Fill::More)
}

/// The way from the chardev to the program, until the task is aborted.
async fn type_in(front: Arc<FrontEnd>, master: Arc<AsyncFd<OwnedFd>>, run: RunState) {
    let mut leftover = Leftover::default();
    loop {
        match poll_fn(|cx| poll_keys(cx, &front, &master, &run, &mut leftover)).await {
            Ok(Event::Break) => interrupt(master.get_ref()),
            Ok(Event::Resized(size)) => {
                // A terminal that takes no size has none.
                let _ = tcsetwinsize(master.get_ref(), winsize(size));
            }
            Ok(_) => {}
            Err(error) => {
                let label = front.label();
                tracing::warn!(
                    console = label,
                    event = "input-lost",
                    "exec on '{label}': input was lost: {error}"
                );
                return;
            }
        }
    }
}

fn poll_keys(
    cx: &mut Context<'_>,
    front: &FrontEnd,
    master: &AsyncFd<OwnedFd>,
    run: &RunState,
    leftover: &mut Leftover,
) -> Poll<io::Result<Event>> {
    for _ in 0..TURN {
        ready!(run.poll_running(cx));
        while !leftover.is_empty() {
            match rustix::io::write(master.get_ref(), leftover.rest()) {
                Ok(count) => leftover.consume(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match ready!(master.poll_write_ready(cx)) {
                    Ok(mut guard) => guard.clear_ready(),
                    Err(error) => return Poll::Ready(Err(error)),
                },
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        let input = with_scratch(|buffer| {
            let input = front.poll_read(cx, &mut buffer[..BUFFER]);
            if let Poll::Ready(Input::Data(count)) = input {
                leftover.keep(&buffer[..count]);
            }
            input
        });
        if let Input::Event(event) = ready!(input) {
            return Poll::Ready(Ok(event));
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Ends the program as a terminal does that is hung up, then as a service is ended, and by force if
/// it takes neither hint: also what is left of it when the shell it was started by has ended, or
/// there would be two of them after a restart.
async fn hang_up(
    screen: &mut Screen<'_>,
    ended: &mut JoinHandle<io::Result<ExitStatus>>,
    pid: Pid,
) -> io::Result<ExitStatus> {
    let mut groups = vec![pid];
    groups.extend(
        tcgetpgrp(screen.master.get_ref())
            .ok()
            .filter(|group| *group != pid),
    );
    let mut status = None;
    for hint in [Signal::HUP, Signal::TERM] {
        signal(&groups, &[hint, Signal::CONT]);
        let end = async {
            if status.is_none() {
                status = Some(screen.show_until(ended).await);
            }
            while groups.iter().any(|group| is_alive(*group)) {
                let show = async {
                    poll_fn(|cx| screen.poll(cx, false)).await;
                    pending::<()>().await;
                };
                let _ = timeout(LOOK, show).await;
            }
        };
        if timeout(HANG_UP_LIMIT, end).await.is_ok() {
            break;
        }
    }
    if groups.iter().any(|group| is_alive(*group)) {
        let label = screen.front.label();
        tracing::warn!(
            console = label,
            event = "program-killed",
            "exec on '{label}': it ignored SIGHUP and SIGTERM; killing it"
        );
        signal(&groups, &[Signal::KILL]);
    }
    match status {
        Some(status) => status,
        None => joined(ended.await),
    }
}

/// Whether a process of the group is left that has not ended: one that has is still there for
/// signals until somebody asks for its status, which in a container may be nobody.
#[expect(clippy::disallowed_methods, reason = "these files are on no disk")]
fn is_alive(group: Pid) -> bool {
    if test_kill_process_group(group).is_err() {
        return false;
    }
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    let group = group.as_raw_nonzero().to_string();
    processes.flatten().any(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // Behind the name: the state, the parent, the group.
        let behind = stat.rsplit(')').next().unwrap_or_default();
        let mut words = behind.split_whitespace();
        let state = words.next();
        words.nth(1) == Some(&group) && !matches!(state, Some("Z" | "X"))
    })
}

fn signal(groups: &[Pid], signals: &[Signal]) {
    for group in groups {
        for signal in signals {
            // A group that is gone already needs no signal.
            let _ = kill_process_group(*group, *signal);
        }
    }
}

fn interrupt(master: &OwnedFd) {
    if let Ok(foreground) = tcgetpgrp(master) {
        signal(&[foreground], &[Signal::INT]);
    }
}

fn joined(
    status: Result<io::Result<ExitStatus>, tokio::task::JoinError>,
) -> io::Result<ExitStatus> {
    status.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A new terminal: its master, which never blocks, and its slave.
fn open_terminal(size: Option<TerminalSize>) -> io::Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
    let slave = ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    if let Some(size) = size {
        tcsetwinsize(&master, winsize(size))?;
    }
    Ok((master, slave))
}

fn winsize(size: TerminalSize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
