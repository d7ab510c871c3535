//! What must hold after every step, at rest, and at the end of a script.

use std::time::Duration;

use chardev_core::{Closed, DrainStep, Registry};

use super::Sim;
use super::peer::{Kind, Peer};

impl Sim {
    /// The books and the machine's counters agree.
    pub(super) fn check_step(&mut self) {
        self.see_slot();
        let (stats, ring, pending) = self.chardev.with(|chardev| {
            let pending = chardev.output_pending() as u64;
            let ring = chardev.ring_len().unwrap_or(0) as u64;
            (chardev.stats(), ring, pending)
        });
        let book = self.book();
        let lost = stats.output_discarded + stats.output_overwritten;
        let fault = if let Some(fault) = book.faults.first() {
            Some(fault.clone())
        } else if book.accepted != book.taken + ring + pending + lost {
            Some(format!(
                "accepted {} is not taken {} + in the ring {ring} + pending {pending} + lost {lost}",
                book.accepted, book.taken
            ))
        } else if book.accepted != stats.output_accepted + stats.output_injected
            || book.accepted != stats.output_delivered + pending + lost
        {
            Some(format!(
                "the counters do not add up to accepted {}, pending {pending}",
                book.accepted
            ))
        } else if book.skipped > lost {
            Some(format!(
                "{} bytes are missing, {lost} are counted",
                book.skipped
            ))
        } else if stats.output_undrained != book.undrained {
            Some(format!("{} bytes were given up by drains", book.undrained))
        } else if stats.input_late != book.late {
            Some(format!("{} bytes of input were late", book.late))
        } else if (stats.changes, stats.changes_failed) != (self.changes, self.failures) {
            Some(format!(
                "{} changes, {} failed",
                self.changes, self.failures
            ))
        } else {
            None
        };
        drop(book);
        if let Some(fault) = fault {
            self.fail(&fault);
        }
        self.expect(
            self.slot.world().line == self.line,
            "the back end in the slot has the front end's line",
        );
        let attached = self.front.is_some();
        let holds = self.closed == Closed::Hold;
        self.expect(
            self.slot.world().attached == attached,
            "the back end in the slot knows whether a front end is there",
        );
        self.expect(
            self.slot.world().holds == holds,
            "the back end in the slot has the policy",
        );
        self.expect(
            !self.slot.is_refused(),
            "the peer of the back end in the slot goes on",
        );
        let aside = |peer: &Peer| {
            let world = peer.world();
            let set_aside = !world.attached && !world.retired;
            drop(world);
            set_aside && !peer.is_refused()
        };
        self.expect(
            self.parked.as_ref().is_none_or(aside),
            "a back end set aside has no front end, and its peer goes on",
        );
    }

    /// Whoever was told to wait and has not been woken still has to.
    pub(super) fn check_nobody_sleeps(&mut self) {
        let Some(front) = &mut self.front else { return };
        if front.waits_to_write && front.can_write.0.count() == 0 && self.retry_write() > 0 {
            self.fail("a writer was not woken");
        }
        let Some(front) = &mut self.front else { return };
        if front.waits_to_read && front.can_read.0.count() == 0 && self.read(1, 0).is_some() {
            self.fail("a reader was not woken");
        }
    }

    /// With a front end that has read all there is, nothing is kept back.
    fn check_all_read(&mut self) {
        let unread = self.book().unread();
        let open = self.chardev.with(|chardev| chardev.is_open());
        let Some(front) = &self.front else { return };
        self.expect(unread == 0, "input is kept from the front end");
        self.expect(
            front.open == open,
            "the front end knows whether a peer is there",
        );
        self.expect(
            !front.owed_changed,
            "the front end was not told of a change",
        );
        self.expect(
            front.told_kept == front.peer_kept,
            "the front end knows whether its peer is the same",
        );
    }
}

/// Everybody behaves from here on: all that can arrive does.
pub(super) fn end(sim: &mut Sim) {
    super::abandon_change(sim);
    if sim.front.is_none() {
        super::attach_or_detach(sim);
    }
    for _ in 0..2_000 {
        let before = (sim.slot.number, sim.chardev.with(|chardev| chardev.stats()));
        sim.slot.behave();
        for (_, _, peer) in &sim.drains {
            peer.behave();
        }
        if let Some(log) = &sim.log {
            log.state().room += 64;
        }
        sim.pass(Duration::from_millis(50));
        sim.settle_down();
        sim.check_nobody_sleeps();
        super::read_all(sim);
        let after = (sim.slot.number, sim.chardev.with(|chardev| chardev.stats()));
        if sim.drains.is_empty() && after == before {
            break;
        }
    }
    sim.expect(sim.drains.is_empty(), "a replaced back end never ends");
    sim.check_all_read();
    let pending = sim.chardev.with(|chardev| chardev.output_pending());
    let takes = match sim.slot.kind() {
        Kind::Null => true,
        Kind::Stream { .. } => !sim.slot.has_nobody(),
        Kind::Ring { .. } => sim.closed == Closed::Discard,
    };
    sim.expect(pending == 0 || !takes, "output waits although it could go");
}

/// The chardev is removed; its last peer still gets everything.
pub(super) fn remove(sim: &mut Sim) {
    let registry = Registry::default();
    registry.reserve("con0").unwrap().fill(sim.chardev.clone());
    let undrained = sim.chardev.with(|chardev| chardev.stats().output_undrained);
    let pending = sim.chardev.with(|chardev| chardev.output_pending()) as u64;
    let drainers = if sim.rng.one_in(2) {
        registry.retire_all()
    } else {
        sim.expect(registry.remove("con0").is_err(), "a front end is attached");
        sim.front = None;
        registry.remove("con0").unwrap()
    };
    for mut drainer in drainers {
        let done = (0..1_000).any(|_| {
            sim.slot.behave();
            sim.parked.iter().for_each(Peer::behave);
            sim.now += Duration::from_millis(50);
            drainer.poll(sim.now) == DrainStep::Done
        });
        sim.expect(done, "a removed back end never ends");
    }
    sim.expect(
        sim.book().undrained == undrained,
        "a peer that reads gets everything",
    );
    let after = sim.chardev.with(|chardev| chardev.stats().output_undrained);
    sim.expect(after == undrained + pending, "what was pending is counted");
}
