//! A back end that is set aside, whatever it rests on, and comes back when the temporary one's peer
//! has left; meanwhile what it rests on changes.

use std::time::Duration;

use chardev_core::{BackendId, Old, Ready, commit};

use super::{Graph, NODES, Rests};

impl Graph {
    /// Somebody takes a chardev over for a while.
    pub(super) fn set_aside(&mut self) {
        let at = self.rng.below(NODES as u64) as usize;
        if matches!(self.nodes[at].rests, Rests::Nothing) || self.has_further(at) {
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
        for _ in 0..self.rng.below(4) {
            match self.rng.below(4) {
                0 => self.send(),
                1 => self.read(),
                2 => self.time_passes(),
                _ => self.transaction(Some(at)),
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
        self.come_back(at, before, &temporary);
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
