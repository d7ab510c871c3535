//! A back end that is set aside, whatever it rests on, and comes back when the temporary one's peer
//! has left; meanwhile what it rests on changes.

use std::time::Duration;

use chardev_core::{BackendId, Old, Ready, commit};

use super::wire::Sending;
use super::{Graph, NODES, Rests};

impl Graph {
    /// Somebody takes a chardev over for a while.
    pub(super) fn set_aside(&mut self) {
        let at = self.rng.below(NODES as u64) as usize;
        let is_there = !matches!(self.nodes[at].rests, Rests::Nothing);
        if !is_there || self.has_further(at) || self.aside.contains(&at) {
            return;
        }
        let Some(temporary) = self.new_peer() else {
            return;
        };
        temporary.wire().fail_activate = self.rng.one_in(12);
        let fails = temporary.wire().fail_activate;
        self.note(format!("c{at} is taken over for a while (fails {fails})"));
        let chardev = self.nodes[at].chardev.clone();
        let before = chardev.with(|chardev| chardev.backend_id());
        let step = self.change_from(&chardev, temporary.backend(), Old::Park);
        let outcome = commit(vec![step]);
        if outcome.is_err() != fails {
            self.fail("setting a back end aside fails only if the new one does");
        }
        if fails {
            temporary.wire().retired = true;
            return;
        }
        // What is still on its way through it goes on being fetched.
        let now = self.now;
        let drainers = outcome.into_iter().flatten();
        self.drains.extend(drainers.map(|drainer| (drainer, now)));
        self.order_before_temporary(at);
        self.aside.push(at);
        for _ in 0..self.rng.below(4) {
            match self.rng.below(9) {
                0 | 1 => self.send(),
                2 | 3 => self.read(),
                4 | 5 => self.time_passes(),
                6 if self.aside.len() < 3 => self.set_aside(),
                _ => self.transaction(),
            }
        }
        let readers = self.readers_above(at);
        if !readers.is_empty() {
            temporary.send(1 + self.rng.below(9) as usize, false, self.now, self.epoch);
            temporary.arrive(Duration::MAX);
            for byte in &mut temporary.wire().ledger {
                byte.owners = Some(readers.clone());
                byte.due = true;
                byte.beside = self.is_over_hub(at);
            }
        }
        if self.rng.one_in(2) {
            self.read();
        }
        let replaced = self.rng.one_in(4) && self.replace_for_good(at);
        self.aside.retain(|other| *other != at);
        match replaced {
            true => temporary.wire().retired = true,
            false => self.come_back(at, before, &temporary),
        }
    }

    /// A change that what is set aside does not come back from, alone or with one of another
    /// chardev.
    fn replace_for_good(&mut self, at: usize) -> bool {
        let mut order = vec![at];
        let other = self.rng.below(NODES as u64) as usize;
        if other != at && !self.aside.contains(&other) {
            order.insert(self.rng.below(2) as usize, other);
        }
        // It stays if something else that is set aside rests on it.
        self.transact(order) && {
            let chardev = &self.nodes[at].chardev;
            chardev.with(|chardev| chardev.parked_id().is_none())
        }
    }

    /// What has arrived comes before all that the temporary peer sends, where there is one way up.
    fn order_before_temporary(&mut self, at: usize) {
        self.epoch += 1;
        let readers = self.readers_above(at);
        if readers.len() != 1 || !self.aside.is_empty() {
            return;
        }
        for below in (0..NODES).filter(|below| !self.is_over_hub(*below)) {
            let Rests::Own(peer) = &self.nodes[below].rests else {
                continue;
            };
            if !self.rests_on(at, below) {
                continue;
            }
            let mut wire = peer.wire();
            let arrived = |byte: &&mut Sending| byte.owners.is_none() && byte.arrived;
            for byte in wire.ledger.iter_mut().filter(arrived) {
                byte.owners = Some(readers.clone());
                byte.due = true;
                byte.before = Some(self.epoch);
            }
        }
    }

    fn rests_on(&self, above: usize, below: usize) -> bool {
        let on = self.nodes[above].rests.on();
        above == below || on.iter().any(|at| self.rests_on(*at, below))
    }

    fn come_back(&mut self, at: usize, before: BackendId, temporary: &super::Peer) {
        temporary.come_or_go();
        temporary.wire().retired = true;
        self.note(format!("the back end of c{at} comes back"));
        let chardev = &self.nodes[at].chardev;
        let id = chardev.with(|chardev| chardev.backend_id());
        chardev.with(|chardev| chardev.handle_ready(id, Ready::READ | Ready::WRITE));
        if chardev.with(|chardev| chardev.backend_id()) != before {
            self.fail("what was set aside did not come back");
        }
        self.reached[5] += 1;
    }
}
