//! front → chardev → [hub] → chardevs → host: events a hub has collected and nobody has read yet.

use std::collections::VecDeque;

use crate::backend::BackendEvent;
use crate::event::Event;
use crate::line::{ModemChange, PurgeRequest};

/// Events that wait before the oldest are merged.
const LIMIT: usize = 64;

/// Events, oldest first. None holds input: members keep what was not read.
#[derive(Default)]
pub(super) struct Events {
    waiting: VecDeque<BackendEvent>,
    /// Breaks that wait at the head, once there were too many events to keep their places.
    breaks: u64,
}

impl Events {
    pub(super) fn push(&mut self, event: BackendEvent) {
        if self.waiting.len() >= LIMIT {
            self.merge();
        }
        self.waiting.push_back(event);
    }

    pub(super) fn pop(&mut self) -> Option<BackendEvent> {
        if self.breaks > 0 {
            self.breaks -= 1;
            return Some(BackendEvent::Break);
        }
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.breaks == 0 && self.waiting.is_empty()
    }

    /// Whether all that is under way has been read and that has to be told first.
    pub(super) fn has_mark(&self) -> bool {
        let is_mark = |event: &BackendEvent| matches!(event, BackendEvent::Mark(_));
        self.waiting.iter().any(is_mark)
    }

    /// Whether somebody is there, of sizes, changes, answers and requests the last count; all
    /// breaks are kept.
    fn merge(&mut self) {
        let (mut open, mut resized, mut changed) = (None, None, None);
        let (mut answered, mut asked) = (None, None);
        let mut marks = VecDeque::new();
        let mut first_open = None;
        let mut modem: Option<ModemChange> = None;
        let mut purge: Option<PurgeRequest> = None;
        for event in std::mem::take(&mut self.waiting) {
            match event {
                BackendEvent::Break => self.breaks += 1,
                BackendEvent::Resized(_) => resized = Some(event),
                BackendEvent::Tell(Event::Changed(_)) => changed = Some(event),
                BackendEvent::Tell(Event::LineAnswered(_)) => answered = Some(event),
                BackendEvent::Tell(Event::SerialAsked(_)) => asked = Some(event),
                BackendEvent::Tell(Event::Modem(later)) => {
                    modem = Some(modem.map_or(later, |earlier| earlier.and(later)));
                }
                BackendEvent::Tell(Event::PurgeAsked(later)) => {
                    purge = Some(purge.map_or(later, |earlier| earlier.and(later)));
                }
                BackendEvent::Opened | BackendEvent::Closed { .. } => {
                    first_open.get_or_insert_with(|| event.clone());
                    open = Some(event);
                }
                BackendEvent::Tell(_) | BackendEvent::Purged { .. } | BackendEvent::Mark(_) => {
                    marks.push_back(event)
                }
            }
        }
        // Openings and closings take turns: where the first is not the last, nothing has changed.
        let open = open.filter(|last| first_open.as_ref() == Some(last));
        let modem = modem.map(|change| BackendEvent::Tell(Event::Modem(change)));
        let purge = purge.map(|request| BackendEvent::Tell(Event::PurgeAsked(request)));
        let last = [open, changed, answered, resized, asked, purge, modem];
        self.waiting.extend(last.into_iter().flatten());
        self.waiting.append(&mut marks);
    }
}

#[cfg(test)]
mod tests {
    use super::{BackendEvent, Event, Events, LIMIT};
    use crate::line::{
        FlowControl, ModemChange, ModemLines, Parity, SerialParams, SerialRequest, TerminalSize,
    };

    fn resized(cols: u16) -> BackendEvent {
        BackendEvent::Resized(TerminalSize { cols, rows: 25 })
    }

    fn modem(inputs: ModemLines, changed: ModemLines) -> BackendEvent {
        BackendEvent::Tell(Event::Modem(ModemChange { inputs, changed }))
    }

    fn asked(number: u64) -> BackendEvent {
        BackendEvent::Tell(Event::SerialAsked(SerialRequest {
            number,
            params: SerialParams {
                speed: 9600,
                parity: Parity::None,
                data_bits: 8,
                stop_bits: 1,
            },
            flow: FlowControl::None,
        }))
    }

    const CLOSED: BackendEvent = BackendEvent::Closed { unread: Vec::new() };

    /// What comes out of a queue that was given these, and says in time that it is empty.
    fn through(given: &[BackendEvent]) -> Vec<BackendEvent> {
        let mut events = Events::default();
        given.iter().for_each(|event| events.push(event.clone()));
        let mut came = Vec::new();
        while !events.is_empty() {
            came.extend(events.pop());
        }
        assert_eq!(events.pop(), None);
        came
    }

    #[test]
    fn a_few_keep_their_order_and_none_is_left_out() {
        let few = [
            BackendEvent::Opened,
            resized(80),
            BackendEvent::Break,
            resized(100),
            CLOSED,
            BackendEvent::Mark(1),
        ];
        assert_eq!(through(&few), few);
    }

    #[test]
    fn of_too_many_all_breaks_are_kept_and_how_things_stand() {
        let filler = |count| vec![BackendEvent::Break; count];
        for (told, left) in [
            (vec![resized(80), resized(100)], vec![resized(100)]),
            (vec![asked(1), asked(2)], vec![asked(2)]),
            (vec![BackendEvent::Opened, CLOSED], vec![]),
            (
                vec![BackendEvent::Opened, CLOSED, BackendEvent::Opened],
                vec![BackendEvent::Opened],
            ),
            (vec![CLOSED], vec![CLOSED]),
            (
                vec![
                    modem(ModemLines::CTS, ModemLines::CTS),
                    modem(ModemLines::DSR, ModemLines::CTS | ModemLines::DSR),
                    modem(ModemLines::empty(), ModemLines::DSR),
                ],
                vec![modem(
                    ModemLines::empty(),
                    ModemLines::CTS | ModemLines::DSR,
                )],
            ),
            (vec![BackendEvent::Mark(7)], vec![BackendEvent::Mark(7)]),
        ] {
            let given = [told.clone(), filler(2 * LIMIT)].concat();
            let came = through(&given);
            let is_break = |event: &&BackendEvent| **event == BackendEvent::Break;
            assert_eq!(came.iter().filter(is_break).count(), 2 * LIMIT, "{told:?}");
            let others: Vec<_> = came.into_iter().filter(|event| !is_break(&event)).collect();
            assert_eq!(others, left, "{told:?}");
        }
    }

    #[test]
    fn however_many_come_no_more_than_the_limit_are_held() {
        let mut events = Events::default();
        for cols in 0..1000 {
            events.push(resized(cols));
            assert!(events.waiting.len() <= LIMIT);
        }
    }
}
