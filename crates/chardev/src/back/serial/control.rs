//! front → chardev → back → [host]: setting and reading the state of a serial line.
//!
//! An adapter may take seconds to answer, so whoever wants something of the line only says so, and
//! a thread does it. What is asked for last is what counts, and what the front end sees is what was
//! known last. While the line is set up nothing is written to the device, so that no byte is sent
//! with parameters that it was not meant for, and nothing is read: the kernel makes both wait until
//! the driver has its new parameters, even of those who never wait.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chardev_core::{
    Answer, Answers, FlowControl, Line, ModemChange, ModemLines, Purge, Ready, SerialParams,
};
use rustix::io::Errno;

use super::inputs;
use super::line_break::LineBreak;
use super::options::Defaults;
use super::settings::{Former, Kept, set_params};
use crate::offload::sometime;
use crate::port::Port;
use crate::slow_fd::SlowFd;
use crate::sys;

/// What a line is set up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) params: SerialParams,
    flow: FlowControl,
    outputs: Option<ModemLines>,
}

/// What came of setting a line up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// What the device did not take.
    params: Result<Kept, Errno>,
    outputs: Result<(), Errno>,
    inputs: Option<ModemLines>,
}

/// The line of one device. Dropping it gives up what has not begun.
pub(super) struct Control(Arc<Controlled>);

struct Controlled {
    device: Arc<SlowFd>,
    line_break: LineBreak,
    port: Port,
    defaults: Defaults,
    state: Mutex<Orders>,
}

#[derive(Default)]
struct Orders {
    wanted: Option<Setup>,
    /// The inputs are to be looked at.
    look: bool,
    /// Somebody wants to know the inputs.
    asked: bool,
    /// What is to be thrown away, before anything is set up.
    purge: Purge,
    /// What was thrown away, of input and output, and nobody has counted yet.
    purged: Option<(u64, u64)>,
    /// The line is being set up, or will be at once.
    busy: bool,
    /// A thread is about it.
    running: bool,
    over: bool,
    /// What was set up last, and what came of it.
    set: Option<(Setup, Outcome)>,
    /// As they were seen last.
    inputs: Option<ModemLines>,
    /// Seen since somebody was told last.
    change: Option<ModemChange>,
}

impl Control {
    /// Of `device`, which is looked at: this may wait.
    pub(super) fn new(device: &Arc<SlowFd>, defaults: Defaults, port: &Port) -> Self {
        Control(Arc::new(Controlled {
            device: Arc::clone(device),
            line_break: LineBreak::default(),
            port: port.clone(),
            defaults,
            state: Mutex::new(Orders {
                inputs: look(device),
                ..Orders::default()
            }),
        }))
    }

    /// Whether nothing may be written or read for now. The port is kicked when that is over.
    pub(super) fn is_busy(&self) -> bool {
        self.0.lock().busy
    }

    /// The same for when this is gone.
    pub(super) fn watch_busy(&self) -> impl Fn() -> bool + Send + 'static {
        let shared = Arc::clone(&self.0);
        move || shared.lock().busy
    }

    /// The modem inputs as they were seen last, where there are any.
    pub(super) fn inputs(&self) -> Option<ModemLines> {
        self.0.lock().inputs
    }

    /// Somebody else has seen the modem inputs.
    pub(super) fn learn(&self, inputs: ModemLines) {
        self.0.lock().inputs = Some(inputs);
    }

    /// What was seen to change since the last call.
    pub(super) fn take_change(&self) -> Option<ModemChange> {
        self.0.lock().change.take()
    }

    /// What came of `line` or, as long as it has not been set up, will.
    pub(super) fn answers(&self, line: &Line) -> Answers {
        let mut answers = Answers::unsupported(line, true);
        let state = self.0.lock();
        let wanted = Setup::of(line, self.0.defaults);
        let known = state.set.filter(|(setup, _)| *setup == wanted);
        let known = known.map(|(_, outcome)| outcome);
        let answer = |asked, failed: Option<bool>| match (asked, failed) {
            (Answer::Unsupported, Some(true)) => Answer::Failed,
            (Answer::Unsupported, _) => Answer::Done,
            (other, _) => other,
        };
        answers.serial = match (answers.serial, known) {
            (Answer::Unsupported, None) => Answer::Pending,
            (asked, known) => answer(asked, known.map(|known| !known.is_taken(line))),
        };
        answers.break_on = answer(answers.break_on, None);
        answers.modem_inputs = state.inputs;
        if state.inputs.is_some() {
            answers.modem = answer(answers.modem, known.map(|known| known.outputs.is_err()));
        }
        answers
    }

    /// Whether it is known what came of `line`.
    pub(super) fn knows(&self, line: &Line) -> bool {
        let state = self.0.lock();
        let wanted = Setup::of(line, self.0.defaults);
        !state.busy && state.set.is_some_and(|(setup, _)| setup == wanted)
    }

    /// Has the line set up as `line` says, unless it is.
    pub(super) fn set(&self, line: &Line) {
        self.set_by(line, Setup::carry_out);
    }

    pub(super) fn set_by(
        &self,
        line: &Line,
        carry_out: impl Fn(Setup, &SlowFd) -> Outcome + Send + 'static,
    ) {
        let shared = &self.0;
        let setup = Setup::of(line, shared.defaults);
        let mut state = shared.lock();
        let is_set = |(set, outcome): (Setup, Outcome)| set == setup && outcome.is_success();
        if state.busy || !state.set.is_some_and(is_set) {
            state.wanted = Some(setup);
            state.busy = true;
            // A break has its place after what was set before it.
            shared.line_break.hold();
        }
        shared.line_break.set(&shared.device, line.break_on);
        if state.busy {
            shared.start(state, carry_out);
        }
    }

    /// Sets the line up as `line` says, here, where waiting holds up nobody; what it was before.
    /// Also what the device did not take.
    pub(super) fn set_here(&self, line: &Line) -> Option<(Former, Kept)> {
        let former = Former::of(&self.0.device).ok()?;
        let setup = Setup::of(line, self.0.defaults);
        let outcome = setup.carry_out(&self.0.device);
        self.0.lock().note(setup, outcome);
        Some((former, outcome.params.unwrap_or(Kept::empty())))
    }

    /// Undoes [`Control::set_here`].
    pub(super) fn restore(&self, former: &Former) {
        former.restore(&self.0.device);
        self.0.lock().set = None;
    }

    /// Has what is in the device thrown away; nothing is written or read until that is done.
    pub(super) fn purge(&self, which: Purge) {
        let mut state = self.0.lock();
        state.purge |= which;
        state.busy = true;
        self.0.start(state, Setup::carry_out);
    }

    /// How much of input and output was thrown away since the last call, if anything was to be.
    pub(super) fn take_purged(&self) -> Option<(u64, u64)> {
        self.0.lock().purged.take()
    }

    /// Has the modem inputs looked at; the port is kicked if they have changed.
    pub(super) fn look(&self) {
        let mut state = self.0.lock();
        if state.inputs.is_some() {
            (state.look, state.asked) = (true, true);
            self.0.start(state, Setup::carry_out);
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.line_break.give_up();
    }
}

enum Step {
    Purge(Purge),
    Set(Setup),
    Look,
}

impl Controlled {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, Orders>,
        carry_out: impl Fn(Setup, &SlowFd) -> Outcome + Send + 'static,
    ) {
        if std::mem::replace(&mut state.running, true) {
            return;
        }
        drop(state);
        let shared = Arc::clone(self);
        sometime(move || {
            while let Some(step) = shared.next() {
                let tell = match step {
                    Step::Purge(which) => shared.gone(purge(&shared.device, which)),
                    Step::Set(setup) => shared.done(setup, carry_out(setup, &shared.device)),
                    Step::Look => shared.seen(look(&shared.device)),
                };
                if tell {
                    shared.port.kick(Ready::empty());
                }
            }
        });
    }

    fn next(&self) -> Option<Step> {
        let mut state = self.lock();
        let purge = std::mem::take(&mut state.purge);
        let purge = (!purge.is_empty()).then_some(Step::Purge(purge));
        let set = || state.wanted.take().map(Step::Set);
        let set_or_purge = purge.or_else(set);
        // Setting up looks as well.
        let look = || std::mem::take(&mut state.look).then_some(Step::Look);
        let next = set_or_purge.or_else(look).filter(|_| !state.over);
        state.running = next.is_some();
        state.busy &= next.is_some();
        next
    }

    /// Whether there is anything to tell.
    fn done(&self, setup: Setup, outcome: Outcome) -> bool {
        let mut state = self.lock();
        state.note(setup, outcome);
        self.end(state)
    }

    fn gone(&self, (input, output): (u64, u64)) -> bool {
        let mut state = self.lock();
        let (before, sent) = state.purged.unwrap_or_default();
        state.purged = Some((before + input, sent + output));
        self.end(state)
    }

    /// Whether nothing more is to be done before others may use the line again.
    fn end(&self, mut state: MutexGuard<'_, Orders>) -> bool {
        state.busy = state.wanted.is_some() || !state.purge.is_empty();
        if !state.busy {
            self.line_break.release(&self.device);
        }
        !state.busy
    }

    fn seen(&self, inputs: Option<ModemLines>) -> bool {
        let mut state = self.lock();
        state.see(inputs);
        state.change.is_some()
    }
}

impl Orders {
    fn note(&mut self, setup: Setup, outcome: Outcome) {
        self.set = Some((setup, outcome));
        self.see(outcome.inputs);
    }

    fn see(&mut self, inputs: Option<ModemLines>) {
        let Some((inputs, last)) = inputs.zip(self.inputs) else {
            return;
        };
        self.inputs = Some(inputs);
        let changed = inputs ^ last;
        if self.asked && !changed.is_empty() {
            let later = ModemChange { inputs, changed };
            let earlier = self.change.take();
            self.change = Some(earlier.map_or(later, |earlier| earlier.and(later)));
        }
    }
}

impl Outcome {
    /// There is no sense in trying once more, though the device may have kept something.
    fn is_success(&self) -> bool {
        self.params.is_ok() && self.outputs.is_ok()
    }

    /// The device is set as `line` says; of flow control only if that says anything.
    fn is_taken(&self, line: &Line) -> bool {
        let mut told = Kept::all();
        told.set(Kept::FLOW, line.flow.is_some());
        self.params.is_ok_and(|kept| !kept.intersects(told))
    }
}

impl Setup {
    fn of(line: &Line, defaults: Defaults) -> Self {
        let (params, flow) = defaults.with(line);
        Setup {
            params,
            flow,
            outputs: line.modem,
        }
    }

    pub(super) fn carry_out(self, device: &SlowFd) -> Outcome {
        let params = set_params(device, self.params, self.flow);
        let inputs = look(device);
        let outputs = match (self.outputs, inputs) {
            (Some(outputs), Some(_)) => sys::set_modem_outputs(device.as_fd(), outputs.bits()),
            _ => Ok(()),
        };
        Outcome {
            params,
            outputs,
            inputs,
        }
    }
}

fn look(device: &SlowFd) -> Option<ModemLines> {
    sys::modem_lines(device.as_fd()).ok().map(inputs)
}

/// Throws away what is in `device`, and says how much of input and output that was.
fn purge(device: &SlowFd, which: Purge) -> (u64, u64) {
    let fd = device.as_fd();
    let received = || sys::received_by(fd).unwrap_or(0);
    let unsent = || sys::unsent_by(fd).unwrap_or(0);
    let (input, output) = (
        which.contains(Purge::INPUT).then(received),
        which.contains(Purge::OUTPUT).then(unsent),
    );
    match sys::flush(fd, input.is_some(), output.is_some()) {
        Ok(()) => (input.unwrap_or(0), output.unwrap_or(0)),
        Err(_) => (0, 0),
    }
}
