//! Transactions: what is changed together, what must come of it, and whose input is whose.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use chardev_core::{
    Backend, Change, ChangeError, ChardevRef, Closed, FrontEnd, Hub, Link, LinkHooks, Mux,
    NewBackend, Old, Step, Users, WantLink, commit,
};

use super::wire::Peer;
use super::{Graph, Host, LEAVES, MIDDLES, NODES, Rests};
use crate::rig::Woken;

/// A chardev's next back end.
struct Next {
    node: usize,
    rests: Rests,
    mux: Option<Mux>,
    users: Option<Users>,
    woken: (Arc<Woken>, Waker),
    /// The chardev, where it is to come into being.
    added: Option<ChardevRef>,
}

pub(super) fn describe(rests: &Rests) -> String {
    match rests {
        Rests::Own(peer) => {
            let wire = peer.wire();
            format!("own {} latency {}", wire.number, wire.latency)
        }
        Rests::Mux(below) => format!("mux over c{below}"),
        Rests::Hub(below) => format!("hub over {below:?}"),
        Rests::Nothing => "nothing".to_owned(),
    }
}

/// What else is in the transaction.
struct Others<'a> {
    targets: &'a [usize],
    removed: &'a [usize],
}

impl Graph {
    /// One more front end on a multiplexer, or one less after all input has been read.
    pub(super) fn further_comes_or_goes(&mut self) {
        if let Some(at) = self
            .consoles
            .iter()
            .position(|console| self.is_further(console))
        {
            self.note("a further front end goes");
            self.read_all();
            self.consoles.remove(at);
            return;
        }
        let at = NODES - 1 - self.rng.below(2) as usize;
        let Some(mux) = self.nodes[at].mux.clone() else {
            return;
        };
        self.note(format!("a further front end of c{at} comes"));
        let label = format!("c{at}");
        let id = self.id();
        let chardev = ChardevRef::new(label.as_str(), id, mux.slot(), Closed::Discard, None);
        self.attach(at, chardev);
        // What has not come to the console yet may come to either front end.
        let new = self.next_reader - 1;
        let first = self.consoles.iter().find(|console| console.node == at);
        let first = first.map_or(new, |console| console.reader);
        for peer in &self.peers {
            for byte in &mut peer.wire().ledger {
                if let Some(owners) = byte.owners.as_mut().filter(|it| it.contains(&first)) {
                    owners.push(new);
                }
            }
        }
    }

    pub(super) fn has_further(&self, at: usize) -> bool {
        let mut consoles = self.consoles.iter();
        consoles.any(|console| console.node == at && self.is_further(console))
    }

    fn is_further(&self, console: &super::Console) -> bool {
        !console.chardev.is(&self.nodes[console.node].chardev)
    }

    /// Some chardevs together.
    pub(super) fn transaction(&mut self) {
        let mut order: Vec<usize> = (0..NODES).collect();
        for at in 0..NODES {
            let other = at + self.rng.below((NODES - at) as u64) as usize;
            order.swap(at, other);
        }
        order.truncate(1 + self.rng.below(4) as usize);
        order.retain(|at| !self.aside.contains(at));
        self.transact(order);
    }

    /// All of `order` together; whether that happened.
    pub(super) fn transact(&mut self, mut order: Vec<usize>) -> bool {
        // What is set aside reads on later, so who is above it then is who was above it before.
        let others = self.aside.iter().filter(|aside| !order.contains(aside));
        let others: Vec<usize> = others.copied().collect();
        order.retain(|at| !others.iter().any(|aside| self.is_under(*aside, &[*at])));
        if order.is_empty() {
            return false;
        }
        let mut targets = order.clone();
        targets.sort_unstable();
        let removed = self.choose_removed(&targets);
        let mut planned: Vec<(usize, Option<Next>, Vec<Step>)> = Vec::new();
        let mut taken = Vec::new();
        let mut added = Vec::new();
        for node in targets.clone() {
            let others = Others {
                targets: &targets,
                removed: &removed,
            };
            let part = match removed.contains(&node) {
                true => self.plan_removal(node),
                false => self.plan(node, &others, &mut taken, &mut added),
            };
            let Some((next, steps)) = part else {
                return false;
            };
            planned.push((node, Some(next), steps));
        }
        let mut steps = Vec::new();
        let mut nexts = Vec::new();
        for node in order {
            let part = planned.iter_mut().find(|(at, ..)| *at == node).unwrap();
            steps.append(&mut part.2);
            nexts.extend(part.1.take());
        }
        let fails = nexts.iter().any(|next| fails(&next.rests));
        let text: Vec<String> = nexts
            .iter()
            .map(|next| format!("c{} to {}", next.node, describe(&next.rests)))
            .collect();
        let twice = taken
            .iter()
            .any(|at| taken.iter().filter(|other| *other == at).count() > 1);
        self.note(format!(
            "transaction (fails {fails}, twice {twice}): {}",
            text.join(", ")
        ));
        if self.moves_beside(&nexts) {
            if !self.aside.is_empty() {
                return false;
            }
            self.read_all();
        }
        // What arrives later at a chardev that stays could come to anybody.
        for (at, node) in self.nodes.iter().enumerate() {
            if let Rests::Own(peer) = &node.rests {
                if !targets.contains(&at) {
                    peer.arrive(Duration::MAX);
                }
            }
        }
        match commit(steps) {
            Ok(_) if fails || twice => self.fail("this transaction must fail"),
            Ok(drainers) => {
                let now = self.now;
                self.settle_ownership(nexts);
                self.drains
                    .extend(drainers.into_iter().map(|drainer| (drainer, now)));
                self.reached[0] += 1;
                true
            }
            Err(refused) => {
                let expected = match refused.error {
                    ChangeError::Open(_) => fails,
                    ChangeError::Refused { .. } => twice,
                    _ => false,
                };
                if !expected {
                    self.fail(&format!("refused without a reason: {refused:?}"));
                }
                for next in nexts {
                    if let Rests::Own(peer) = next.rests {
                        peer.wire().retired = true;
                    }
                }
                self.reached[1] += 1;
                false
            }
        }
    }

    /// What `node` is to rest on, and the steps for it and its further front ends.
    fn plan(
        &mut self,
        node: usize,
        others: &Others<'_>,
        taken: &mut Vec<usize>,
        added: &mut Vec<(usize, ChardevRef)>,
    ) -> Option<(Next, Vec<Step>)> {
        let further: Vec<ChardevRef> = self
            .consoles
            .iter()
            .filter(|console| console.node == node && self.is_further(console))
            .map(|console| console.chardev.clone())
            .collect();
        let free: Vec<usize> = (0..node.min(LEAVES + MIDDLES))
            .filter(|below| self.may_rest_on(node, *below, others, added))
            .filter(|below| !taken.contains(below) || self.seed % 4 == 0)
            .collect();
        let kind = match node {
            _ if !further.is_empty() => 1,
            0..LEAVES => 0,
            _ if free.is_empty() => 0,
            _ => self.rng.below(3),
        };
        let rests = match kind {
            0 => Rests::Own(self.new_peer()?),
            1 if free.is_empty() => return None,
            1 => Rests::Mux(free[self.rng.below(free.len() as u64) as usize]),
            _ => {
                let mut below = free.clone();
                below.retain(|_| self.rng.one_in(2));
                match below.is_empty() {
                    true => Rests::Hub(free[..1].to_vec()),
                    false => Rests::Hub(below),
                }
            }
        };
        if let Rests::Own(peer) = &rests {
            peer.wire().fail_activate = self.rng.one_in(12);
        }
        let (mut next, backend) = self.open(node, rests, added)?;
        taken.extend(next.rests.on());
        if matches!(self.nodes[node].rests, Rests::Nothing) {
            let (label, id) = (format!("c{node}"), self.id());
            let reservation = self.registry.reserve(&label).unwrap();
            let chardev = ChardevRef::prepare(label.as_str(), id, backend, Closed::Discard, None);
            added.push((node, chardev.clone()));
            next.added = Some(chardev.clone());
            let step = Step::Add {
                reservation,
                chardev,
            };
            return Some((next, vec![step]));
        }
        let chardev = self.nodes[node].chardev.clone();
        let mut steps = vec![self.change(&chardev, backend)];
        for chardev in &further {
            let slot = next.mux.as_ref().unwrap().slot();
            steps.push(self.change(chardev, slot));
        }
        Some((next, steps))
    }

    /// Which of `targets` are removed: some that nobody rests on.
    fn choose_removed(&mut self, targets: &[usize]) -> Vec<usize> {
        let mut removed = Vec::new();
        for at in targets.iter().copied().filter(|at| *at < LEAVES + MIDDLES) {
            let is_there = !matches!(self.nodes[at].rests, Rests::Nothing);
            let mut others = self.nodes.iter();
            let is_free = others.all(|node| !node.rests.on().contains(&at));
            if is_there && is_free && self.rng.one_in(3) {
                removed.push(at);
            }
        }
        removed
    }

    fn plan_removal(&mut self, node: usize) -> Option<(Next, Vec<Step>)> {
        let removal = match self.registry.begin_removal(&format!("c{node}")) {
            Ok(removal) => removal,
            // Input may be on its way through it to what rested on it.
            Err(_) if self.nodes[node].mux.is_some() => return None,
            Err(error) => self.fail(&error.to_string()),
        };
        let next = Next {
            node,
            rests: Rests::Nothing,
            mux: None,
            users: None,
            woken: Woken::new(),
            added: None,
        };
        Some((next, vec![Step::Remove(removal)]))
    }

    /// Whether `below` is there, and nobody rests on it who is not changed in the same transaction.
    fn may_rest_on(
        &self,
        node: usize,
        below: usize,
        others: &Others<'_>,
        added: &[(usize, ChardevRef)],
    ) -> bool {
        let own = below >= LEAVES && node < NODES - 2 && below >= node;
        let rests = |at: usize| self.nodes[at].rests.on().contains(&below);
        let was_there = !matches!(self.nodes[below].rests, Rests::Nothing);
        let is_there = was_there || added.iter().any(|(at, _)| *at == below);
        let stays = is_there && !others.removed.contains(&below);
        !own && stays && (0..NODES).all(|at| !rests(at) || others.targets.contains(&at))
    }

    fn open(
        &mut self,
        node: usize,
        rests: Rests,
        added: &[(usize, ChardevRef)],
    ) -> Option<(Next, Box<dyn Backend>)> {
        let woken = Woken::new();
        let waker = woken.1.clone();
        let (mut mux, mut users) = (None, None);
        let backend = match &rests {
            Rests::Own(peer) => peer.backend(),
            Rests::Mux(below) => {
                let new = Mux::new(self.link(*below, added)?, 1, Arc::new(Host), waker);
                users = Some(new.users().clone());
                let slot = new.slot();
                mux = Some(new);
                slot
            }
            Rests::Hub(below) => {
                let links: Option<Vec<Link>> =
                    below.iter().map(|at| self.link(*at, added)).collect();
                let hub = Hub::new(links?, waker);
                users = Some(hub.users());
                hub.backend()
            }
            Rests::Nothing => return None,
        };
        let next = Next {
            node,
            rests,
            mux,
            users,
            woken,
            added: None,
        };
        Some((next, backend))
    }

    /// A link to a chardev, lent by whoever rests on it now.
    fn link(&self, below: usize, added: &[(usize, ChardevRef)]) -> Option<Link> {
        let wanted = WantLink(format!("c{below}"));
        for node in &self.nodes {
            let lent = node.chardev.with(|chardev| chardev.lend(&wanted));
            if let Some(link) = lent.and_then(|lent| lent.downcast::<Link>().ok()) {
                return Some(*link);
            }
        }
        let hooks = Arc::new(LinkHooks::default());
        let new = added.iter().find(|(at, _)| *at == below);
        let chardev = new.map_or(&self.nodes[below].chardev, |(_, chardev)| chardev);
        let front = FrontEnd::attach(chardev, hooks.clone()).ok()?;
        Some(Link::new(front, hooks))
    }

    fn change(&mut self, chardev: &ChardevRef, backend: Box<dyn Backend>) -> Step {
        self.change_from(chardev, backend, Old::Retire)
    }

    pub(super) fn change_from(
        &mut self,
        chardev: &ChardevRef,
        backend: Box<dyn Backend>,
        old: Old,
    ) -> Step {
        let change = Change::begin(chardev).unwrap();
        let mut new = NewBackend::new(self.id(), backend);
        let offer = change.offer(&mut new).unwrap();
        Step::Change {
            change,
            offer,
            new,
            old,
        }
    }

    /// The transaction has happened: what had been sent belongs to whom it would have reached.
    fn settle_ownership(&mut self, nexts: Vec<Next>) {
        self.epoch += 1;
        let before: Vec<_> = (0..NODES).map(|at| self.readers_above(at)).collect();
        let changed: Vec<usize> = nexts.iter().map(|next| next.node).collect();
        let on_changed_path: Vec<bool> = (0..NODES).map(|at| self.is_under(at, &changed)).collect();
        for at in 0..NODES {
            let Rests::Own(peer) = &self.nodes[at].rests else {
                continue;
            };
            let replaced = changed.contains(&at);
            let over_hub = self.is_over_hub(at);
            if replaced {
                peer.wire().retired = true;
            }
            let idle = before[at].is_empty();
            if !on_changed_path[at] {
                continue;
            }
            let whole = |console: &super::Console| changed.contains(&console.node);
            let strict = self
                .consoles
                .iter()
                .any(|console| before[at] == [console.reader] && whole(console));
            let mut wire = peer.wire();
            for byte in wire.ledger.iter_mut().filter(|byte| byte.owners.is_none()) {
                // What nobody was there to read is for whoever comes.
                let sure = !idle && (replaced || byte.arrived);
                byte.owners = Some(match sure {
                    true => before[at].clone(),
                    false => Vec::new(),
                });
                byte.due = sure;
                byte.beside = over_hub;
                byte.before = (sure && strict).then_some(self.epoch);
            }
        }
        for next in nexts {
            let node = &mut self.nodes[next.node];
            self.reached[3] += u64::from(matches!(next.rests, Rests::Nothing));
            if let Some(chardev) = next.added {
                node.chardev = chardev;
                self.reached[4] += 1;
            }
            node.rests = next.rests;
            node.mux = next.mux;
            node.users = next.users;
            node.woken = next.woken;
        }
    }

    /// Whether a peer that stays comes to its console over another member of a hub than before:
    /// what it had sent and what it will send are then two streams.
    fn moves_beside(&self, nexts: &[Next]) -> bool {
        let changed: Vec<usize> = nexts.iter().map(|next| next.node).collect();
        let after = |above: usize| {
            let next = nexts.iter().find(|next| next.node == above);
            next.map_or(&self.nodes[above].rests, |next| &next.rests)
        };
        (0..NODES).filter(|at| !changed.contains(at)).any(|at| {
            let before = self.readers_above(at);
            let then = self.readers_over(at, &after);
            let moves = self.is_under(at, &changed) || before != then;
            let mut earlier = before;
            if let Rests::Own(peer) = &self.nodes[at].rests {
                let wire = peer.wire();
                let owners = wire
                    .ledger
                    .iter()
                    .flat_map(|byte| byte.owners.iter().flatten());
                earlier.extend(owners);
            }
            let over_hub = self.is_over_hub(at) || self.is_over_hub_where(at, &after);
            over_hub && moves && earlier.iter().any(|reader| then.contains(reader))
        })
    }

    /// Whether `at` or something that rests on it is changed.
    fn is_under(&self, at: usize, changed: &[usize]) -> bool {
        changed.contains(&at)
            || (0..NODES).any(|above| {
                self.nodes[above].rests.on().contains(&at) && self.is_under(above, changed)
            })
    }
}

fn fails(rests: &Rests) -> bool {
    matches!(rests, Rests::Own(peer) if Peer::wire(peer).fail_activate)
}
