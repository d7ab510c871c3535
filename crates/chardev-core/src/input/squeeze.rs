//! front ← [chardev] ← back: which unread events are dropped, oldest first, when there are too
//! many.

use super::{ITEMS_LIMIT, InputQueue, Item};
use crate::event::Event;

impl InputQueue {
    /// Makes room among the events, input staying as it is. A departure and the return after it are
    /// left out as if they had not been, of sizes, changes, answers and requests only the last
    /// counts, and changes of modem lines become one. Breaks go only where that is not enough;
    /// returns how many.
    pub(super) fn squeeze(&mut self) -> u64 {
        let keep = ITEMS_LIMIT / 2;
        self.leave_out_all_but_last(|event| matches!(event, Event::Resized(_)));
        self.leave_out_all_but_last(|event| matches!(event, Event::Changed(_)));
        self.leave_out_all_but_last(|event| matches!(event, Event::LineAnswered(_)));
        self.leave_out_all_but_last(|event| matches!(event, Event::SerialAsked(_)));
        self.leave_out_all_but_last(|event| event == Event::Purged);
        self.merge_purges();
        self.merge_modem_changes();
        for (leaves, returns) in [
            (Event::Closed, Event::Opened),
            (Event::MuxOut, Event::MuxIn),
        ] {
            self.leave_out_returns(leaves, returns, keep);
        }
        self.leave_out_breaks(keep)
    }

    /// The last one wants what all want.
    fn merge_purges(&mut self) {
        let requests = self.items.iter().filter_map(|item| match item {
            Item::Event(Event::PurgeAsked(request)) => Some(*request),
            _ => None,
        });
        let Some(all) = requests.reduce(|earlier, later| earlier.and(later)) else {
            return;
        };
        self.leave_out_all_but_last(|event| matches!(event, Event::PurgeAsked(_)));
        for item in &mut self.items {
            if let Item::Event(Event::PurgeAsked(request)) = item {
                *request = all;
            }
        }
    }

    /// The last one tells of all.
    fn merge_modem_changes(&mut self) {
        let changes = self.items.iter().filter_map(|item| match item {
            Item::Event(Event::Modem(change)) => Some(*change),
            _ => None,
        });
        let Some(all) = changes.reduce(|earlier, later| earlier.and(later)) else {
            return;
        };
        self.leave_out_all_but_last(|event| matches!(event, Event::Modem(_)));
        for item in &mut self.items {
            if let Item::Event(Event::Modem(change)) = item {
                *change = all;
            }
        }
    }

    fn leave_out_all_but_last(&mut self, of_kind: impl Fn(Event) -> bool) {
        let is_it = |item: &Item| matches!(item, Item::Event(event) if of_kind(*event));
        let mut others = self.items.iter().filter(|item| is_it(item)).count();
        self.rebuild(|item| {
            let older = is_it(item) && others > 1;
            others -= usize::from(is_it(item));
            older
        });
    }

    /// Leaves out pairs from the oldest on until `keep` items are left.
    fn leave_out_returns(&mut self, leaves: Event, returns: Event, keep: usize) {
        let is =
            |item: &Item, wanted: Event| matches!(item, Item::Event(event) if *event == wanted);
        let mut left_out = vec![false; self.items.len()];
        let mut excess = self.items.len().saturating_sub(keep);
        let mut away = None;
        for (at, item) in self.items.iter().enumerate() {
            if is(item, leaves) {
                away = Some(at);
            } else if is(item, returns) {
                if let Some(from) = away.take().filter(|_| excess > 0) {
                    (left_out[from], left_out[at]) = (true, true);
                    excess = excess.saturating_sub(2);
                }
            }
        }
        let mut left_out = left_out.into_iter();
        self.rebuild(|_| left_out.next() == Some(true));
    }

    fn leave_out_breaks(&mut self, keep: usize) -> u64 {
        let mut excess = self.items.len().saturating_sub(keep);
        let mut lost = 0;
        self.rebuild(|item| match item {
            Item::Breaks(count) if excess > 0 => {
                excess -= 1;
                lost += *count;
                true
            }
            _ => false,
        });
        lost
    }

    /// Leaves items out and joins what stands side by side then.
    fn rebuild(&mut self, mut leaves_out: impl FnMut(&Item) -> bool) {
        for item in std::mem::take(&mut self.items) {
            if leaves_out(&item) {
                continue;
            }
            match (self.items.back_mut(), item) {
                (Some(Item::Bytes(last)), Item::Bytes(mut more)) => last.append(&mut more),
                (Some(Item::Breaks(last)), Item::Breaks(more)) => *last += more,
                (_, item) => self.items.push_back(item),
            }
        }
    }
}
