//! front → chardev → \[back\] → host: stdio, the standard input and output of the process.
//!
//! Others share these descriptors (the shell, programs in the same pipeline), so nothing is done
//! to them that others would notice: they are never closed, and they become non-blocking only
//! where no descriptor of our own can be had. A terminal is set to raw and set back.

mod terminal;

use std::any::Any;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chardev_core::spec::{KindSpec, OptionSpec, OptionType, Options, Short};
use chardev_core::{
    Answer, Answers, Backend, BackendEvent, BackendId, Drain, Line, LineControl, OpenError, Peers,
    Ready, Sent, Sharing, TerminalSize, WeakChardev,
};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl};
use tokio::signal::unix::{SignalKind, signal};

use super::stream::{Duplex, Input, Output};
use super::{Kind, OpenContext, opening_elsewhere};
use crate::disk;
use crate::first::{First, first};
use crate::offload::sometime;
use crate::port::{OwnedTask, Port};
use crate::sys::failed;
use crate::writer::Target;

use terminal::{Found, NonBlocking, RawTerminal};
pub use terminal::{apply_terminal, restore_terminal, try_restore_terminal};

/// The kind `stdio` (QAPI `ChardevStdio`).
pub(super) static KIND: Kind = Kind {
    spec: KindSpec::new(
        "stdio",
        "standard input and output of the process",
        &[OptionSpec::new(
            "signal",
            OptionType::Bool,
            "let keys such as Ctrl-C send signals (default on)",
        )],
    )
    .spelled(&[Short::Name, Short::Shared("signal=off")])
    .derived_from("chardev-fd"),
    open: |options, context| opening_elsewhere(options, context, open),
};

static IN_USE: AtomicBool = AtomicBool::new(false);

/// A wish for a share in the right to use standard input and output.
struct WantStdio;

fn open(options: &Options, context: &OpenContext) -> Result<Box<dyn Backend>, OpenError> {
    let claim = match context.borrow::<WantStdio, Arc<Claim>>(&WantStdio) {
        Some(claim) => claim,
        None => Arc::new(Claim::new()?),
    };
    let failed = |error: io::Error| failed("Failed to open stdio", error);
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    // Both may be one and the same description, so both flags are read before either is set.
    let flags = |fd| fcntl_getfl(fd).map_err(|error| failed(error.into()));
    let (input_flags, output_flags) = (flags(stdin)?, flags(stdout)?);
    let (input, input_blocking) =
        own_descriptor(stdin, OFlags::RDONLY, input_flags).map_err(failed)?;
    let (output, output_blocking) =
        own_descriptor(stdout, OFlags::WRONLY, output_flags).map_err(failed)?;
    let target = Target::of(output).map_err(|error| failed(error.into()))?;
    Ok(Box::new(Stdio {
        duplex: Duplex::new(
            Input::new(input, false, &context.port).map_err(failed)?,
            Output::new(target, "standard output", &context.port).map_err(failed)?,
        ),
        attached: false,
        size: None,
        echo: false,
        signals: options.bool_or("signal", true),
        port: context.port.clone(),
        caretaker: None,
        found: Found::look(),
        terminal: None,
        _shared: [input_blocking, output_blocking],
        claim,
    }))
}

struct Stdio {
    duplex: Duplex,
    /// A front end is there.
    attached: bool,
    size: Option<TerminalSize>,
    echo: bool,
    signals: bool,
    port: Port,
    /// Watches for the signals that concern a terminal.
    caretaker: Option<OwnedTask>,
    /// The terminal on standard input, if it is one.
    found: Option<Found>,
    terminal: Option<RawTerminal>,
    // Given up in this order: whoever comes next finds everything as it was.
    _shared: [Option<NonBlocking>; 2],
    claim: Arc<Claim>,
}

impl Stdio {
    fn look_at_size(&mut self) {
        if self.terminal.is_some() {
            let size = terminal::size();
            if size.is_some() && size != self.size {
                self.size = size;
                if let Some(size) = size {
                    self.duplex.report(BackendEvent::Resized(size));
                }
            }
        }
    }
}

impl Backend for Stdio {
    fn kind(&self) -> &'static str {
        "stdio"
    }

    fn filename(&self) -> String {
        "stdio".to_owned()
    }

    fn is_open(&self) -> bool {
        !self.duplex.has_ended()
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
        self.duplex.write(bufs)
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        self.duplex.read(bufs)
    }

    fn watch(&mut self, interest: Ready) {
        self.duplex.watch(interest);
    }

    fn set_attached(&mut self, attached: bool) {
        self.attached = attached;
    }

    /// A front end that is still to come may be one that answers what it reads.
    fn update(&mut self, ready: Ready) {
        if self.attached {
            self.duplex.update(ready);
        }
        // The caretaker reports with nothing ready.
        if ready.is_empty() {
            self.look_at_size();
        }
    }

    fn poll_event(&mut self) -> Option<BackendEvent> {
        self.duplex.poll_event()
    }

    fn go_live(&mut self, _chardev: &WeakChardev, _id: BackendId) {
        self.duplex.go_live(false);
        let found = self.found.clone();
        self.terminal = found.map(|found| RawTerminal::new(found, self.signals, self.echo));
        if self.terminal.is_some() {
            self.caretaker = Some(OwnedTask::spawn(&self.port, care(self.port.clone())));
            self.look_at_size();
        }
    }

    fn cut_input(&mut self) -> (Vec<u8>, bool) {
        (self.duplex.take_input(), false)
    }

    /// What standard output was given stays there for its reader, since the descriptor itself
    /// stays open; only what waits for a disk has to be seen off.
    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        match self.duplex.output() {
            Output::Queued(_) => self.duplex.retire(),
            Output::Direct(_) => Box::new(chardev_core::NothingToDrain),
        }
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }

    fn peers(&mut self) -> Option<&mut dyn Peers> {
        Some(self)
    }

    fn sharing(&mut self) -> Option<&mut dyn Sharing> {
        Some(self)
    }
}

impl LineControl for Stdio {
    fn apply(&mut self, line: &Line) -> Answers {
        self.duplex.set_half_close(line.half_close);
        self.echo = line.echo;
        if let Some(terminal) = &self.terminal {
            terminal.set_echo(line.echo);
        }
        let mut answers = Answers::unsupported(line, self.is_open());
        if line.echo && self.found.is_some() {
            answers.echo = Answer::Done;
        }
        answers
    }
}

impl Peers for Stdio {
    fn input_ended(&self) -> bool {
        self.duplex.input_ended()
    }

    fn disconnect(&mut self) {
        if self.duplex.input_ended() {
            self.duplex.give_up();
        }
    }
}

impl Sharing for Stdio {
    fn lend(&mut self, wanted: &dyn Any) -> Option<Box<dyn Any + Send>> {
        wanted.downcast_ref::<WantStdio>()?;
        Some(Box::new(Arc::clone(&self.claim)))
    }

    /// Whoever is at the terminal stays there.
    fn adopt(&mut self, old: &mut dyn Backend) -> bool {
        old.lend(&WantStdio).is_some()
    }
}

/// The right to use standard input and output; there is one.
struct Claim(());

impl Claim {
    fn new() -> Result<Self, OpenError> {
        if IN_USE.swap(true, Ordering::SeqCst) {
            return Err("cannot use stdio by multiple character devices".into());
        }
        Ok(Claim(()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        IN_USE.store(false, Ordering::SeqCst);
    }
}

/// After a stop the shell has set the terminal its own way; and a window may change its size.
async fn care(port: Port) {
    let continued = SignalKind::from_raw(rustix::process::Signal::CONT.as_raw());
    let (Ok(mut continued), Ok(mut resized)) =
        (signal(continued), signal(SignalKind::window_change()))
    else {
        return;
    };
    loop {
        if let First::One(_) = first(continued.recv(), resized.recv()).await {
            sometime(apply_terminal);
        }
        port.kick(Ready::empty());
    }
}

/// A descriptor for what `shared` refers to that can be used without blocking and without
/// others noticing; where there is none, a copy made non-blocking for as long as needed.
fn own_descriptor(
    shared: BorrowedFd<'_>,
    access: OFlags,
    before: OFlags,
) -> io::Result<(OwnedFd, Option<NonBlocking>)> {
    let copy = shared.try_clone_to_owned()?;
    let stat = disk::fstat(&copy)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice | FileType::Fifo => {}
        // A socket takes a flag with each call, and a file is used by a thread that may wait;
        // there the copy has to share the position with the other users.
        _ => return Ok((copy, None)),
    }
    let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Opening a pty's master again would make another pty.
    let is_master = rustix::pty::ptsname(copy.as_fd(), Vec::new()).is_ok();
    if !is_master {
        if let Ok(own) = disk::open(path, flags, Mode::empty()) {
            return Ok((own, None));
        }
    }
    let non_blocking = NonBlocking::set(shared, before)?;
    Ok((copy, Some(non_blocking)))
}
