//! front → [chardev] → back → host: places of the output that are worth finding again: marks that
//! somebody has set, and changes of the back end.
//!
//! The newest are kept with the chardev, and its log has them in its index.

use std::collections::VecDeque;
use std::time::Duration;

use crate::chardev::Chardev;
use crate::epoch::Epoch;
use crate::seldom::Seldom;

/// The most that are kept of each kind.
const KEPT: usize = 128;
/// The most bytes of a text, and of a name: with its numbers a landmark is a line of an index of
/// less than 256 bytes.
const TEXT: usize = 120;
const NAME: usize = 60;

/// A place of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landmark {
    /// The absolute offset of the byte that comes after it.
    pub offset: u64,
    /// When that was, since the Unix epoch.
    pub time: Duration,
    /// What is there.
    pub what: LandmarkKind,
}

/// What is at a place of the output. All texts are one line, and cut to a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LandmarkKind {
    /// Somebody has set a mark.
    Mark {
        /// What they have written.
        text: String,
        /// Who they are.
        by: String,
    },
    /// Another back end took over.
    Change {
        /// As `query-chardev` shows it.
        to: String,
    },
}

/// A mark that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Which life of the chardev that is, if it is in a registry.
    pub epoch: Option<Epoch>,
    /// The absolute offset of the byte that comes after it.
    pub offset: u64,
    /// Whether the index of the log has room for it; `None` without an index. What it has no room
    /// for is only among the [newest](Chardev::landmarks).
    pub is_indexed: Option<bool>,
}

/// The newest landmarks of one chardev.
#[derive(Debug, Default)]
pub(crate) struct Landmarks {
    /// Says the time, since the Unix epoch; without it nothing is kept.
    clock: Option<fn() -> Duration>,
    kept: Seldom<VecDeque<Landmark>>,
}

impl Landmarks {
    fn push(&mut self, landmark: Landmark) {
        let kind = std::mem::discriminant(&landmark.what);
        let is_same = |other: &Landmark| std::mem::discriminant(&other.what) == kind;
        if self.kept.iter().filter(|other| is_same(other)).count() >= KEPT {
            let oldest = self.kept.iter().position(is_same);
            oldest.and_then(|oldest| self.kept.remove(oldest));
        }
        self.kept.push_back(landmark);
    }
}

impl Chardev {
    /// Keeps landmarks from here on; `clock` says the time, since the Unix epoch.
    pub fn keep_landmarks(&mut self, clock: fn() -> Duration) {
        self.landmarks.clock = Some(clock);
    }

    /// The newest landmarks, the oldest of them first: up to 128 of each kind.
    pub fn landmarks(&self) -> Vec<Landmark> {
        self.landmarks.kept.iter().cloned().collect()
    }

    /// Sets a mark where the output is now.
    pub fn mark(&mut self, text: &str, by: &str) -> Marked {
        self.put_landmark(LandmarkKind::Mark {
            text: line(text, TEXT),
            by: line(by, NAME),
        })
    }

    /// Another back end took over here.
    pub(crate) fn mark_change(&mut self) {
        let to = line(&self.backend.filename(), TEXT);
        self.put_landmark(LandmarkKind::Change { to });
    }

    fn put_landmark(&mut self, what: LandmarkKind) -> Marked {
        let offset = self.stats.output_accepted;
        let mut is_indexed = None;
        if let Some(clock) = self.landmarks.clock {
            let landmark = Landmark {
                offset,
                time: clock(),
                what,
            };
            if let Some(log) = &mut self.log {
                is_indexed = log.note(&landmark);
            }
            self.landmarks.push(landmark);
        }
        Marked {
            epoch: self.epoch(),
            offset,
            is_indexed,
        }
    }
}

/// `text` as one line of at most so many bytes.
fn line(text: &str, most: usize) -> String {
    let plain = |ch: char| if ch.is_control() { ' ' } else { ch };
    let line: String = text.chars().map(plain).collect();
    let mut line = line.trim().to_owned();
    if line.len() > most {
        let mut cuts = (0..=most - '…'.len_utf8()).rev();
        let cut = cuts.find(|at| line.is_char_boundary(*at));
        line.truncate(cut.unwrap_or(0));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_line_and_not_too_long() {
        assert_eq!(line(" boot\n17\tbegins\x1b ", 20), "boot 17 begins");
        assert_eq!(line("ééééé", 8), "éé…");
        assert_eq!(line("eight by", 8), "eight by");
    }

    #[test]
    fn many_of_one_kind_push_no_other_out() {
        let mut landmarks = Landmarks::default();
        let put = |landmarks: &mut Landmarks, offset, what| {
            landmarks.push(Landmark {
                offset,
                time: Duration::ZERO,
                what,
            });
        };
        let to = String::from("null");
        put(&mut landmarks, 0, LandmarkKind::Change { to });
        for offset in 1..=1000 {
            let (text, by) = (String::new(), String::new());
            put(&mut landmarks, offset, LandmarkKind::Mark { text, by });
        }
        let offsets: Vec<u64> = landmarks.kept.iter().map(|it| it.offset).collect();
        assert_eq!((offsets.len(), offsets[0]), (KEPT + 1, 0));
        assert_eq!((offsets[1], offsets[KEPT]), (1001 - KEPT as u64, 1000));
    }
}
