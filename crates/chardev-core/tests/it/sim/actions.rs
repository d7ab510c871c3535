//! What can happen to a console besides a change.

use std::time::Duration;

use chardev_core::{
    BackendId, DrainStep, Event, Input, ModemLines, Parity, Ready, SerialParams, TerminalSize,
};

use super::Sim;
use super::front::Front;
use super::peer::{Kind, Peer};

pub(super) fn write(sim: &mut Sim) {
    let (count, way) = (sim.rng.size(), sim.rng.next());
    sim.write(count, way);
}

pub(super) fn read(sim: &mut Sim) {
    let (count, way) = (sim.rng.size(), sim.rng.next());
    sim.read(count, way);
}

pub(super) fn read_all(sim: &mut Sim) {
    while sim.read(64, 0).is_some() {}
}

pub(super) fn peer_sends(sim: &mut Sim) {
    let (count, now) = (sim.rng.size(), sim.now);
    sim.some_peer().send(count, now);
}

pub(super) fn peer_receives(sim: &mut Sim) {
    let count = sim.rng.size();
    sim.some_peer().receive(count);
}

pub(super) fn peer_comes(sim: &mut Sim) {
    let room = sim.rng.size();
    sim.some_peer().come(room);
}

pub(super) fn peer_ends(sim: &mut Sim) {
    sim.some_peer().end();
}

pub(super) fn peer_vanishes(sim: &mut Sim) {
    sim.some_peer().vanish();
}

pub(super) fn peer_stalls(sim: &mut Sim) {
    let stalls = sim.rng.one_in(2);
    sim.some_peer().stall(stalls);
}

/// The I/O thread looks once.
pub(super) fn readiness(sim: &mut Sim) {
    sim.report_readiness();
}

/// A report that came too late for its back end, or that nobody asked for.
pub(super) fn wrong_readiness(sim: &mut Sim) {
    let id = sim.rng.below(sim.next_id + 1);
    let ready = Ready::from_bits_truncate(sim.rng.next() as u8);
    sim.chardev
        .with(|chardev| chardev.handle_ready(BackendId(id), ready));
}

pub(super) fn time_passes(sim: &mut Sim) {
    let millis = 1 + sim.rng.below(80);
    sim.pass(Duration::from_millis(millis));
}

pub(super) fn long_time_passes(sim: &mut Sim) {
    let millis = sim.rng.below(40_000);
    sim.pass(Duration::from_millis(millis));
}

/// Everything that is ready is reported, and then nobody may be asleep without a reason.
pub(super) fn rest(sim: &mut Sim) {
    sim.settle_down();
    sim.check_nobody_sleeps();
}

pub(super) fn ring_is_read(sim: &mut Sim) {
    let count = sim.rng.size();
    let bytes = sim
        .chardev
        .with(|chardev| chardev.with_ring(|ring| ring.take(count)));
    let is_ring = matches!(sim.slot.kind(), Kind::Ring { .. });
    sim.expect(bytes.is_some() == is_ring, "a ring is what has a ring");
    sim.book().take(&bytes.unwrap_or_default());
}

pub(super) fn ring_is_written(sim: &mut Sim) {
    let count = sim.rng.size();
    let bytes = sim.book().numbers(count);
    if sim
        .chardev
        .with(|chardev| chardev.ring_write(&bytes))
        .is_some()
    {
        sim.book().accepted += bytes.len() as u64;
    }
}

pub(super) fn log_drains(sim: &mut Sim) {
    let more = sim.rng.size();
    let Some(log) = &sim.log else { return };
    log.state().room += more;
    sim.report_log();
}

/// The front end sets something up.
pub(super) fn line(sim: &mut Sim) {
    let what = sim.rng.below(5);
    let on = sim.rng.one_in(2);
    let Some(front) = &sim.front else { return };
    match what {
        0 => front.handle.set_open(on),
        1 => drop(front.handle.set_echo(on)),
        2 => drop(front.handle.set_break(on)),
        3 => drop(front.handle.set_modem(ModemLines::DTR)),
        _ => drop(front.handle.set_serial(serial(on))),
    }
    match what {
        0 => sim.line.open = on,
        1 => sim.line.echo = on,
        2 => sim.line.break_on = on,
        3 => sim.line.modem = Some(ModemLines::DTR),
        _ => sim.line.serial = Some(serial(on)),
    }
}

fn serial(fast: bool) -> SerialParams {
    SerialParams {
        speed: if fast { 115_200 } else { 9_600 },
        parity: Parity::None,
        data_bits: 8,
        stop_bits: 1,
    }
}

pub(super) fn send_break(sim: &mut Sim) {
    sim.chardev.with(|chardev| chardev.send_break());
}

pub(super) fn resize(sim: &mut Sim) {
    let size = TerminalSize {
        cols: sim.rng.below(200) as u16,
        rows: 24,
    };
    sim.chardev.with(|chardev| chardev.resize(size));
}

pub(super) fn disconnect(sim: &mut Sim) {
    if let Some(front) = &sim.front {
        front.handle.disconnect();
    }
}

pub(super) fn attach_or_detach(sim: &mut Sim) {
    if sim.front.take().is_some() {
        sim.line.open = false;
        sim.line.break_on = false;
    } else {
        sim.fronts += 1;
        sim.front = Some(Front::attach(&sim.chardev));
    }
}

pub(super) fn change_mind(sim: &mut Sim) {
    use std::sync::atomic::Ordering::Relaxed;
    let (fixed, refuses, busy) = (sim.rng.one_in(4), sim.rng.one_in(4), sim.rng.one_in(2));
    if let Some(front) = &sim.front {
        front.hooks.fixed.store(fixed, Relaxed);
        front.hooks.refuses.store(refuses, Relaxed);
        *front.hooks.busy.lock().unwrap() = busy.then(|| sim.chardev.clone());
    }
}

impl Sim {
    /// The back end in the slot, mostly; else one that is parked, new or on its way out.
    pub(super) fn some_peer(&mut self) -> Peer {
        let mut others: Vec<&Peer> = self.drains.iter().map(|drain| &drain.2).collect();
        others.extend(&self.parked);
        others.extend(self.pending.as_ref().and_then(|pending| pending.peer()));
        if others.is_empty() || !self.rng.one_in(3) {
            return self.slot.clone();
        }
        others[self.rng.below(others.len() as u64) as usize].clone()
    }

    pub(super) fn write(&mut self, count: usize, way: u64) -> usize {
        let Some(front) = &mut self.front else {
            return 0;
        };
        let bytes = self.book.lock().unwrap().numbers(count);
        let before = front.handle.stats();
        let accepted = front.write(&bytes, way);
        let after = front.handle.stats();
        self.see_slot();
        self.book().accepted += accepted as u64;
        self.expect(
            after.output_accepted - before.output_accepted == accepted as u64,
            "the absolute offset moves by what was accepted",
        );
        let discarded = after.output_discarded - before.output_discarded;
        self.expect(
            discarded == 0
                || (self.closed == chardev_core::Closed::Discard && self.slot.has_nobody()),
            "output is discarded only where nobody is there and the policy says so",
        );
        if let Some(log) = &self.log {
            let (logged, prompt) = {
                let mut log = log.state();
                (std::mem::take(&mut log.pushed), log.prompt)
            };
            let same = |(logged, byte): (&Option<u8>, &u8)| logged.is_none_or(|own| own == *byte);
            self.expect(
                logged.len() == accepted && logged.iter().zip(&bytes).all(same),
                "the log has what was accepted, or a hole as long",
            );
            let lost = logged.iter().filter(|byte| byte.is_none()).count() as u64;
            self.expect(
                after.log_lost - before.log_lost == lost && (lost == 0 || !prompt),
                "holes in the log are counted, and there are none where output waits",
            );
        }
        accepted
    }

    pub(super) fn read(&mut self, count: usize, way: u64) -> Option<Input> {
        let front = self.front.as_mut()?;
        let mut buf = vec![0; count];
        let input = front.read(&mut buf, way);
        if let Some(Input::Data(count)) = input {
            self.book().read(&buf[..count]);
        }
        // Reading may show that a temporary peer has left, and the change back at once.
        self.see_slot();
        if let (Some(Input::Event(Event::Changed(_))), Some(front)) = (input, &mut self.front) {
            front.owed_changed = false;
        }
        if let Some(fault) = front_fault(&self.front) {
            self.fail(fault);
        }
        input
    }

    /// Reports what the back end in the slot is ready for; false if that is nothing.
    pub(super) fn report_readiness(&mut self) -> bool {
        let Some(ready) = self.slot.ready() else {
            return false;
        };
        let id = BackendId(self.slot.number);
        self.chardev.with(|chardev| chardev.handle_ready(id, ready));
        self.see_slot();
        true
    }

    pub(super) fn report_log(&mut self) -> bool {
        let Some(log) = &self.log else { return false };
        let mut state = log.state();
        if !state.watched || state.room == 0 {
            return false;
        }
        state.watched = false;
        drop(state);
        self.chardev
            .with(|chardev| chardev.handle_ready(BackendId::LOG, Ready::WRITE));
        true
    }

    /// Moves the clock and everything that hangs on it.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        let draining = self.drains.iter().map(|(_, _, peer)| peer);
        for peer in draining.chain(&self.parked).chain([&self.slot]) {
            peer.arrive(self.now);
        }
        let mut drains = std::mem::take(&mut self.drains);
        drains.retain_mut(|(drainer, due, peer)| {
            if *due > self.now {
                return true;
            }
            let late = self.chardev.with(|chardev| chardev.stats().input_late);
            let step = drainer.poll(self.now);
            let late = self.chardev.with(|chardev| chardev.stats().input_late) - late;
            peer.account_late(late);
            match step {
                DrainStep::Again(pause) => {
                    *due = self.now + pause;
                    true
                }
                DrainStep::Done => false,
            }
        });
        self.drains = drains;
    }

    /// The I/O thread reports until nothing is ready.
    pub(super) fn settle_down(&mut self) {
        for _ in 0..10_000 {
            if !self.report_readiness() && !self.report_log() {
                return;
            }
        }
        self.fail("readiness is reported without end");
    }

    /// Learns from the machine which back end is in the slot.
    pub(super) fn see_slot(&mut self) {
        let name = self.chardev.with(|chardev| chardev.filename());
        let number: u64 = name.parse().unwrap_or_default();
        if number == self.slot.number {
            return;
        }
        match self.parked.take() {
            Some(parked) if parked.number == number => {
                self.slot = parked;
                self.returned += 1;
            }
            _ => self.fail("an unknown back end is in the slot"),
        }
        self.owe_changed(false);
    }

    /// The front end has a change coming.
    pub(super) fn owe_changed(&mut self, peer_kept: bool) {
        if let Some(front) = &mut self.front {
            front.owed_changed = true;
            front.peer_kept = peer_kept;
        }
    }

    pub(super) fn retry_write(&mut self) -> usize {
        self.write(1, 0)
    }
}

fn front_fault(front: &Option<Front>) -> Option<&str> {
    front.as_ref()?.fault.as_deref()
}
