//! front → [chardev] → back: a back end that is set aside by a temporary one, and comes back when
//! that one's peer leaves.
//!
//! What its peer sent by then comes before anything from the temporary one. Where it rests on
//! others, some of that may still be on its way through it: up to a mark it goes on being read,
//! wherever it is by now, and what it brings settles at its place in the queue.

use std::io::IoSliceMut;

use crate::backend::{Backend, BackendEvent, BackendId, Ready};
use crate::chardev::{Chardev, ChardevRef};
use crate::drain::{Drain, Drainer, Late};
use crate::event::Event;
use crate::input::CARRY_LIMIT;
use crate::policy::Closed;

/// Input is taken in pieces of this size.
const PIECE: usize = 16 << 10;

/// What is still on its way through a back end since it was set aside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    /// Where it settles.
    place: u64,
    /// What ends it.
    mark: u64,
}

impl Chardev {
    /// The id of the back end that comes back when the present one's peer leaves.
    pub fn parked_id(&self) -> Option<BackendId> {
        self.rare.parked.as_ref().map(|(id, _)| *id)
    }

    /// What it rests on, and what is parked does.
    pub(crate) fn all_members(&self) -> Vec<ChardevRef> {
        let parked = self
            .rare
            .parked
            .iter()
            .flat_map(|(_, parked)| parked.members());
        self.backend.members().into_iter().chain(parked).collect()
    }

    /// The back end in the slot is about to be set aside: the place for what is on its way through
    /// it, if anything is.
    pub(crate) fn await_under_way(&mut self) -> Option<u64> {
        let mark = self.input.new_number();
        if !self.backend.mark(mark) {
            return None;
        }
        let earlier = self.rare.awaited.take();
        let place = earlier.map(|awaited| awaited.place);
        let place = place.or_else(|| self.push_cut(Vec::new(), true))?;
        self.rare.awaited = Some(Awaited { place, mark });
        Some(place)
    }

    /// The cut of the back end in the slot, whose rest belongs where what is awaited from it
    /// settles.
    pub(crate) fn place_cut(&mut self, unread: Vec<u8>, more: bool) -> Option<u64> {
        match self.rare.parked.is_none() {
            true => self.place_rest(unread, more),
            false => self.push_cut(unread, more),
        }
    }

    fn place_rest(&mut self, unread: Vec<u8>, more: bool) -> Option<u64> {
        let awaited = self.rare.there().and_then(|rare| rare.awaited.take());
        let Some(Awaited { place, .. }) = awaited else {
            return self.push_cut(unread, more);
        };
        self.settle(Some(place), &unread);
        if !more {
            self.settled(place);
        }
        more.then_some(place)
    }

    /// Sets a back end aside; `place` is for what is on its way through it.
    pub(crate) fn park(
        &mut self,
        id: BackendId,
        mut backend: Box<dyn Backend>,
        this: &ChardevRef,
        place: Option<u64>,
    ) -> Option<Drainer> {
        let Some(place) = place.filter(|_| self.rare.awaited.is_some()) else {
            // It goes on being read when it comes back.
            place.into_iter().for_each(|place| self.settled(place));
            backend.set_attached(false);
            self.rare.parked = Some((id, backend));
            return None;
        };
        self.rare.parked = Some((id, backend));
        let chardev = this.clone();
        let drain = Box::new(AwaitedDrain { chardev, place });
        Some(Drainer::of_awaited(drain, this.clone(), place))
    }

    /// Whether the back end in the slot has come back and still brings what is awaited from it,
    /// which is then taken as far as it has come.
    pub(crate) fn brings_awaited(&mut self) -> bool {
        self.take_awaited();
        self.rare.awaited.is_some() && self.rare.parked.is_none()
    }

    /// Takes what has come of what is awaited.
    fn take_awaited(&mut self) {
        if self.rare.awaited.is_none() {
            return;
        }
        let mut piece = vec![0; PIECE];
        while let Some(Awaited { place, .. }) = self.rare.awaited {
            if self.input.bytes() >= CARRY_LIMIT {
                return;
            }
            let backend = match &mut self.rare.parked {
                Some((_, parked)) => parked,
                None => &mut self.backend,
            };
            let count = backend.read(&mut [IoSliceMut::new(&mut piece)]);
            if count > 0 {
                self.settle(Some(place), &piece[..count]);
            }
            let told = match &mut self.rare.parked {
                Some((_, parked)) => parked.poll_event(),
                None => {
                    if !self.collect_events() && count == 0 {
                        return;
                    }
                    continue;
                }
            };
            match told {
                Some(BackendEvent::Break) => self.settle_breaks(place, 1),
                Some(BackendEvent::Mark(mark)) => self.awaited_passes(mark),
                // How things stand is told when it comes back.
                Some(_) => {}
                None if count == 0 => return,
                None => {}
            }
        }
    }

    /// A break of the back end in the slot, at its place.
    pub(crate) fn take_break(&mut self) {
        match self.rare.awaited.filter(|_| self.rare.parked.is_none()) {
            Some(Awaited { place, .. }) => self.settle_breaks(place, 1),
            None => self.push_event(Event::Break),
        }
    }

    /// The back end that is awaited has come to a mark: that of a tail, of the reader above, or the
    /// last.
    pub(crate) fn awaited_passes(&mut self, mark: u64) {
        let Some(awaited) = self.rare.awaited else {
            return;
        };
        match mark == awaited.mark {
            true => self.settled(awaited.place),
            false => self.settling_passes(awaited.place, mark),
        }
    }

    /// Nothing more is awaited at `place`.
    pub(crate) fn end_awaited(&mut self, place: u64) {
        if self
            .rare
            .awaited
            .is_none_or(|awaited| awaited.place != place)
        {
            return;
        }
        self.rare.awaited = None;
        match &mut self.rare.parked {
            Some((_, parked)) => parked.set_attached(false),
            None => self.rest_if_unused(),
        }
    }

    /// The parked back end will not come back: what its peer has sent is still input.
    pub(crate) fn cut_parked(&mut self) -> Option<u64> {
        self.rare.parked.as_ref()?;
        self.take_awaited();
        let (id, mut parked) = self.rare.parked.take()?;
        parked.update(Ready::all());
        // What rests on others hands out by itself only what is held or under way.
        let draws = !parked.members().is_empty() && self.rare.awaited.is_none();
        let mut piece = vec![0; PIECE];
        loop {
            let room = match draws {
                true => self.input.room().min(PIECE),
                false => 0,
            };
            let count = match room > 0 {
                true => parked.read(&mut [IoSliceMut::new(&mut piece[..room])]),
                false => 0,
            };
            self.push_remaining_input(piece[..count].to_vec());
            match parked.poll_event() {
                Some(BackendEvent::Closed { unread }) => self.push_remaining_input(unread),
                Some(BackendEvent::Break) => self.push_event(Event::Break),
                None if count == 0 => break,
                _ => {}
            }
        }
        parked.refuse_input();
        let (unread, more) = parked.cut_input();
        for _ in 0..parked.take_cut_breaks() {
            self.push_event(Event::Break);
        }
        self.rare.parked = Some((id, parked));
        self.place_rest(unread, more)
    }

    /// The same of a chardev that is removed: what nobody waits for is left to who comes next to
    /// what the parked back end rests on.
    pub(crate) fn cut_parked_removed(&mut self) -> Option<u64> {
        let (_, parked) = self.rare.parked.as_ref()?;
        match parked.members().is_empty() || self.brings_to_tail() {
            true => self.cut_parked(),
            false => self.place_rest(Vec::new(), false),
        }
    }

    /// Whether somebody who was above waits for more of what is awaited, which is then taken as far
    /// as it has come.
    pub(crate) fn brings_to_tail(&mut self) -> bool {
        let place = self.rare.awaited.map(|awaited| awaited.place);
        let Some(place) = place.filter(|place| self.input.is_of_tail(*place)) else {
            return false;
        };
        self.take_awaited();
        self.rare
            .awaited
            .is_some_and(|awaited| awaited.place == place)
    }

    pub(crate) fn retire_parked(
        &mut self,
        this: &ChardevRef,
        marker: Option<u64>,
    ) -> Option<Drainer> {
        let (_, parked) = self.rare.there()?.parked.take()?;
        Some(self.drainer(parked, this, marker))
    }

    /// The temporary back end's peer has left: the parked one takes the slot again.
    pub(crate) fn unpark(&mut self) {
        let Some((id, backend)) = self.rare.parked.take() else {
            return;
        };
        // Nothing comes through the temporary one any more.
        self.marks_come(None);
        self.id = id;
        let temporary = std::mem::replace(&mut self.backend, backend);
        drop(temporary);
        let answers = self.backend.apply(&self.line);
        self.backend.set_hold(self.policy.closed == Closed::Hold);
        let attached = self.front.is_some() || self.rare.awaited.is_some();
        self.backend.set_attached(attached);
        self.go_live(answers);
    }
}

/// Fetches what is awaited.
struct AwaitedDrain {
    chardev: ChardevRef,
    place: u64,
}

impl Drain for AwaitedDrain {
    fn pending(&mut self) -> u64 {
        0
    }

    fn read_late(&mut self, _: &mut [u8]) -> Late {
        let waits = self.chardev.with(|chardev| {
            chardev.take_awaited();
            chardev.input.has_place(self.place)
        });
        match waits {
            true => Late::Quiet,
            false => Late::End,
        }
    }

    fn rests_on_others(&self) -> bool {
        true
    }
}
