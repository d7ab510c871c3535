//! [front: null-modem] → chardev → back → host: couples two chardevs.
//!
//! Each direction is a task of its own with its own wakers, so a peer that takes nothing holds
//! back only what is sent to it. A direction has at most one buffer of bytes in hand.

mod hand;
mod lease;
mod pace;
mod setting;
#[cfg(test)]
mod spread;

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use chardev::spec::ParameterError;
use chardev::{Background, Chardevs, Event, FrontEnd, Input, ModemLines, Purge, PurgeRequest};
use chardev_monitor::{RunState, Stop};
use chardev_qapi::opts::Opts;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::hand::{Came, Hand};
use self::pace::Pace;
use self::setting::Setting;
use crate::DaemonError;
use crate::devices::pump::{BUFFER, TURN, end_turn, with_scratch};
use crate::devices::{Device, DeviceKind, Start, first_client, required};

/// How long a break lasts on the other side: what `tcsendbreak` does.
const BREAK: Duration = Duration::from_millis(250);

/// After so many turns with large pieces in each, some ten mebibytes, a relay is taken to go on
/// like that.
const HEAVY: u32 = 64;

/// The kind `null-modem`.
pub(super) static KIND: DeviceKind = DeviceKind {
    name: "null-modem",
    summary: "connects two chardevs: data, breaks, modem lines, and what a peer sets and purges over RFC 2217",
    options: &[("chardev", "one of the two"), ("peer", "the other one")],
    read,
};

fn read(opts: &Opts) -> Result<Box<dyn Device>, ParameterError> {
    Ok(Box::new(NullModem {
        chardev: required(opts, "chardev")?,
        peer: required(opts, "peer")?,
    }))
}

impl Device for NullModem {
    fn chardev(&self) -> &str {
        &self.chardev
    }

    fn start(self: Box<Self>, start: &Start<'_>) -> Result<JoinHandle<()>, DaemonError> {
        let front = start.attach("chardev", &self.chardev)?;
        let peer = start.attach("peer", &self.peer)?;
        let held = [start.is_held(&self.chardev), start.is_held(&self.peer)];
        // It waits so often that waking another thread each time would cost it a third
        // of its CPU; its turns are short enough for the monitors beside it.
        let beside = Beside {
            chardevs: start.chardevs().clone(),
            ids: [self.chardev.clone(), self.peer],
        };
        let (stop, state) = (start.stop.clone(), start.run_state());
        let relay = run([front, peer], held, stop, state, beside.clone());
        let relay = beside.spawn(relay);
        Ok(start.worker().spawn(async move {
            relay.await;
        }))
    }
}

/// The two chardevs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NullModem {
    /// One of them.
    pub chardev: String,
    /// The other one.
    pub peer: String,
}

/// Where a relay is at work: with its chardevs.
#[derive(Clone, Debug)]
struct Beside {
    chardevs: Chardevs,
    ids: [String; 2],
}

impl Beside {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Background<()> {
        let ids = self.ids.each_ref().map(String::as_str);
        self.chardevs.spawn_beside(&ids, task)
    }

    /// Much goes through it, so that it must not share a thread with others of its kind as long as
    /// there are more.
    fn spread_out(&self) {
        let ids = self.ids.each_ref().map(String::as_str);
        self.chardevs.spread_out(&ids);
    }
}

/// Relays between `fronts` until the daemon ends; first waits for the client of each that is held.
async fn run(fronts: [FrontEnd; 2], held: [bool; 2], stop: Stop, run: RunState, beside: Beside) {
    let [a, b] = fronts.map(Arc::new);
    let (end, ended) = oneshot::channel::<()>();
    let mut other = None;
    let relay = async {
        for (front, held) in [(&a, held[0]), (&b, held[1])] {
            if held {
                first_client(front).await;
            }
        }
        for front in [&a, &b] {
            front.set_open(true);
            front.watch_modem(true);
            front.watch_serial(true);
        }
        let [there, back] = Relay::pair([&a, &b], &run, &beside);
        // A client that was waited for is there, but its event is not any more.
        cross_lines(&a, &b);
        cross_lines(&b, &a);
        other = Some(beside.spawn(async move {
            tokio::select! {
                () = back.run() => {}
                _ = ended => {}
            }
        }));
        there.run().await;
    };
    tokio::select! {
        () = relay => {}
        _ = stop.requested() => {}
    }
    drop(end);
    // Its front ends are free once both directions have let go of them.
    if let Some(other) = other {
        other.await;
    }
}

/// Bytes in hand, which the other direction may throw away.
type SharedHand = Arc<Mutex<Hand>>;

/// One direction.
struct Relay {
    from: Arc<FrontEnd>,
    to: Arc<FrontEnd>,
    setting: Setting,
    run: RunState,
    beside: Beside,
    /// For how many turns it has been moving large pieces.
    heavy_turns: u32,
    hand: SharedHand,
    others_hand: SharedHand,
    /// The peer of `from` speaks of the line, so it may also purge it.
    sets_up: bool,
    /// It came while there were bytes in hand, behind which it has its place.
    later: Option<Event>,
    pace: Pace,
}

impl Relay {
    /// The two directions between `a` and `b`.
    fn pair([a, b]: [&Arc<FrontEnd>; 2], run: &RunState, beside: &Beside) -> [Self; 2] {
        let hands = [SharedHand::default(), SharedHand::default()];
        let [there, back] = Setting::pair();
        let relay = |from: &Arc<FrontEnd>, to: &Arc<FrontEnd>, setting, at: usize| Relay {
            from: Arc::clone(from),
            to: Arc::clone(to),
            setting,
            run: run.clone(),
            beside: beside.clone(),
            heavy_turns: 0,
            hand: Arc::clone(&hands[at]),
            others_hand: Arc::clone(&hands[1 - at]),
            sets_up: false,
            later: None,
            pace: Pace::default(),
        };
        [relay(a, b, there, 0), relay(b, a, back, 1)]
    }

    async fn run(mut self) {
        loop {
            let event = poll_fn(|cx| self.poll_data(cx)).await;
            match event {
                Event::SerialAsked(_) | Event::PurgeAsked(_) => self.sets_up = true,
                Event::Closed | Event::Changed(_) => self.sets_up = false,
                _ => {}
            }
            let (from, to) = (&self.from, &self.to);
            match event {
                Event::Opened | Event::Modem(_) => cross_lines(from, to),
                Event::Closed => {
                    cross_lines(from, to);
                    self.setting.purged(to);
                }
                Event::Changed(answers) => {
                    cross_lines(from, to);
                    self.setting.line_answered(to, from, answers.serial);
                    self.setting.purged(to);
                }
                Event::SerialAsked(request) => self.setting.set_up(from, to, request),
                Event::LineAnswered(answers) => {
                    self.setting.line_answered(to, from, answers.serial);
                }
                Event::PurgeAsked(request) => self.purge(request),
                Event::Purged => self.setting.purged(to),
                Event::Break => {
                    to.set_break(true);
                    tokio::time::sleep(BREAK).await;
                    to.set_break(false);
                }
                Event::MuxIn | Event::MuxOut | Event::Resized(_) => {}
            }
        }
    }

    /// Moves bytes until an event comes, which is ready only after what was sent before it. A purge
    /// and its answer do not wait for bytes that the other side does not take.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let hand = Arc::clone(&self.hand);
        let mut hand = lock(&hand);
        self.weigh(&hand);
        let mut flushed = hand.poll_flush(cx, &self.to);
        for _ in 0..TURN {
            ready!(self.run.poll_running(cx));
            if flushed.is_pending() {
                if self.later.is_none() {
                    self.later = ready!(self.poll_ahead(cx, &mut hand));
                }
                let urgent =
                    |event: &mut Event| matches!(event, Event::PurgeAsked(_) | Event::Purged);
                match self.later.take_if(urgent) {
                    Some(event) => return Poll::Ready(event),
                    None if self.later.is_some() => return Poll::Pending,
                    None => {
                        flushed = hand.poll_flush(cx, &self.to);
                        continue;
                    }
                }
            }
            if let Some(event) = self.later.take() {
                return Poll::Ready(event);
            }
            ready!(self.pace.poll(cx));
            let moved = hand.poll_move(cx, &self.from, &self.to, self.pace.will_rest());
            flushed = moved.flushed;
            let unseen = moved.unseen;
            let rests = unseen > 0 && self.pace.rests(unseen, Instant::now());
            match moved.came {
                Came::Event(event) => self.later = Some(event),
                Came::Bytes => {}
                Came::Nothing if rests => {}
                Came::Nothing => return Poll::Pending,
            }
        }
        end_turn(cx);
        Poll::Pending
    }

    /// One that goes on moving large pieces says so, once.
    fn weigh(&mut self, hand: &Hand) {
        self.heavy_turns = match hand.is_bulk() {
            true => self.heavy_turns.saturating_add(1),
            false => 0,
        };
        if self.heavy_turns == HEAVY {
            self.beside.spread_out();
        }
    }

    /// Looks for a purge, while the other side takes nothing: of a peer that sets lines up also
    /// behind what it has sent, as far as that fits in hand.
    fn poll_ahead(&self, cx: &mut Context<'_>, hand: &mut Hand) -> Poll<Option<Event>> {
        let room = BUFFER.saturating_sub(hand.len());
        if !self.sets_up || room == 0 {
            return self.from.poll_event(cx).map(Some);
        }
        with_scratch(|buffer| {
            let room = room.min(buffer.len());
            match ready!(self.from.poll_read(cx, &mut buffer[..room])) {
                Input::Event(event) => Poll::Ready(Some(event)),
                Input::Data(count) => {
                    hand.keep_more(&buffer[..count]);
                    Poll::Ready(None)
                }
            }
        })
    }

    /// The peer of `from` wants the line of `to` purged: what is in hand goes as well.
    fn purge(&self, request: PurgeRequest) {
        if request.which.contains(Purge::OUTPUT) {
            self.to.count_purged(lock(&self.hand).clear());
        }
        if request.which.contains(Purge::INPUT) {
            self.from.count_purged(lock(&self.others_hand).clear());
        }
        self.setting.purge(&self.from, &self.to, request);
    }
}

fn lock(hand: &SharedHand) -> MutexGuard<'_, Hand> {
    hand.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What drives the lines of one side drives the other's: DTR is seen as DSR and carrier, RTS as
/// CTS. A back end without lines counts as a terminal that is switched on while a peer is there.
fn cross_lines(from: &FrontEnd, to: &FrontEnd) {
    let outputs = match from.modem_inputs() {
        Some(inputs) => crossed(inputs),
        None if from.is_open() => ModemLines::DTR | ModemLines::RTS,
        None => ModemLines::empty(),
    };
    to.relay_modem(outputs, from.modem_inputs());
}

fn crossed(inputs: ModemLines) -> ModemLines {
    let mut outputs = ModemLines::empty();
    if inputs.intersects(ModemLines::DSR | ModemLines::CAR) {
        outputs |= ModemLines::DTR;
    }
    if inputs.contains(ModemLines::CTS) {
        outputs |= ModemLines::RTS;
    }
    outputs
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, IoSliceMut};
    use std::os::fd::OwnedFd;
    use std::sync::Mutex;

    use chardev::{
        Answers, Backend, BackendEvent, BackendId, ChardevRef, Closed, Drain, Line, LineControl,
        ModemChange, Ready, Sent,
    };

    use super::*;

    /// A line whose other end changes its modem lines, and what it sees of ours.
    #[derive(Clone, Default)]
    struct Wire(Arc<Mutex<(ModemLines, Option<ModemChange>, Line)>>);

    impl Wire {
        /// The other end drives `inputs`.
        fn drive(&self, inputs: ModemLines, chardev: &ChardevRef) {
            let mut wire = self.0.lock().unwrap();
            let changed = wire.0 ^ inputs;
            wire.0 = inputs;
            if wire.2.modem_watched {
                wire.1 = Some(ModemChange { inputs, changed });
            }
            drop(wire);
            chardev.with(|chardev| chardev.handle_ready(BackendId(1), Ready::empty()));
        }

        fn outputs(&self) -> Option<ModemLines> {
            self.0.lock().unwrap().2.modem
        }
    }

    impl Backend for Wire {
        fn kind(&self) -> &'static str {
            "wire"
        }

        fn filename(&self) -> String {
            "wire".to_owned()
        }

        fn is_open(&self) -> bool {
            true
        }

        fn write(&mut self, _bufs: &[IoSlice<'_>], _fds: &mut Vec<OwnedFd>) -> Sent {
            Sent::Full
        }

        fn read(&mut self, _bufs: &mut [IoSliceMut<'_>]) -> usize {
            0
        }

        fn watch(&mut self, _interest: Ready) {}

        fn poll_event(&mut self) -> Option<BackendEvent> {
            let change = self.0.lock().unwrap().1.take();
            change.map(|change| BackendEvent::Tell(Event::Modem(change)))
        }

        fn retire(self: Box<Self>) -> Box<dyn Drain> {
            self
        }

        fn line(&mut self) -> Option<&mut dyn LineControl> {
            Some(self)
        }
    }

    impl LineControl for Wire {
        fn apply(&mut self, line: &Line) -> Answers {
            self.0.lock().unwrap().2 = line.clone();
            Answers::unsupported(line, true)
        }

        fn modem_inputs(&mut self) -> Option<ModemLines> {
            Some(self.0.lock().unwrap().0)
        }
    }

    impl Drain for Wire {
        fn pending(&mut self) -> u64 {
            0
        }
    }

    #[test]
    fn a_line_that_changes_on_one_side_changes_on_the_other() {
        let wires = [Wire::default(), Wire::default()];
        let chardevs = wires
            .clone()
            .map(|wire| ChardevRef::new("wire", BackendId(1), Box::new(wire), Closed::Hold, None));
        let fronts = chardevs
            .each_ref()
            .map(|chardev| FrontEnd::attach(chardev, Arc::new(())).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().unwrap();
        runtime.block_on(async {
            let beside = Beside {
                chardevs: Chardevs::new().unwrap(),
                ids: ["a".to_owned(), "b".to_owned()],
            };
            let state = RunState::default();
            let device = run(fronts, [false; 2], Stop::default(), state, beside);
            let script = async {
                for (from, to) in [(0, 1), (1, 0)] {
                    for inputs in [
                        ModemLines::DSR | ModemLines::CAR | ModemLines::CTS,
                        ModemLines::DSR | ModemLines::CAR,
                        ModemLines::empty(),
                        ModemLines::CTS,
                    ] {
                        wires[from].drive(inputs, &chardevs[from]);
                        while wires[to].outputs() != Some(crossed(inputs)) {
                            tokio::task::yield_now().await;
                        }
                    }
                }
            };
            let limit = tokio::time::timeout(Duration::from_secs(20), script);
            tokio::select! {
                () = device => panic!("the device has ended"),
                done = limit => done.expect("the lines cross"),
            }
        });
    }

    #[test]
    fn lines_are_crossed_as_in_the_cable() {
        for (inputs, outputs) in [
            (ModemLines::empty(), ModemLines::empty()),
            (ModemLines::DSR, ModemLines::DTR),
            (ModemLines::CAR, ModemLines::DTR),
            (ModemLines::CTS, ModemLines::RTS),
            (ModemLines::RI, ModemLines::empty()),
            (ModemLines::all(), ModemLines::DTR | ModemLines::RTS),
        ] {
            assert_eq!(crossed(inputs), outputs, "{inputs:?}");
        }
    }
}
