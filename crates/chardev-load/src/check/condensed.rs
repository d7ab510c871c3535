//! Lines, condensed to what is worth remembering of them.

use std::ops::Range;

use crate::lines::{Form, Last, Line};

/// The longest line worth keeping: the longest number, and the words of the last line.
pub(super) const MAX_LINE: usize = 40;
/// How many separate runs of lines are kept; a stream with more is damaged beyond counting.
const MAX_RUNS: usize = 100_000;
/// How many damaged lines are shown.
const MAX_SAMPLES: usize = 4;

/// Part of a line, cut off where no line of ours can be so long.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    pub(super) text: Vec<u8>,
    overflowed: bool,
}

/// Whole lines, condensed.
#[derive(Debug)]
pub(super) struct Condensed {
    pub(super) form: Form,
    pub(super) runs: Vec<Range<u64>>,
    expected: Line,
    pub(super) damaged: u64,
    /// The first damaged lines, as evidence.
    pub(super) samples: Vec<String>,
    pub(super) last: Option<Last>,
}

impl Default for Condensed {
    fn default() -> Self {
        Condensed::new(Form::default())
    }
}

impl Fragment {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && !self.overflowed
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.text.len();
        self.overflowed |= bytes.len() > room;
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub(super) fn join(&mut self, next: &Fragment) {
        self.push(&next.text);
        self.overflowed |= next.overflowed;
    }

    /// What it says, if it is the stream's last line.
    pub(super) fn last(&self, form: Form) -> Option<Last> {
        form.last(&self.text).filter(|_| !self.overflowed)
    }

    fn number(&self, form: Form) -> Option<u64> {
        form.number(&self.text).filter(|_| !self.overflowed)
    }
}

impl Condensed {
    pub(super) fn new(form: Form) -> Self {
        Condensed {
            form,
            runs: Vec::new(),
            expected: Line::new(form),
            damaged: 0,
            samples: Vec::new(),
            last: None,
        }
    }

    /// Takes in the lines at the start of `bytes` that are the next ones expected, and returns how
    /// many bytes they had. This is the path of a healthy stream.
    pub(super) fn skip_expected(&mut self, bytes: &[u8]) -> usize {
        let Some(run) = self.runs.last_mut() else {
            return 0;
        };
        let mut at = 0;
        while self.last.is_none() && bytes[at..].starts_with(self.expected.text()) {
            at += self.expected.text().len();
            run.end += 1;
            self.expected.increment();
        }
        at
    }

    pub(super) fn push(&mut self, line: Fragment) {
        if let Some(number) = line.number(self.form) {
            self.push_run(number..number.saturating_add(1));
        } else if let Some(last) = line.last(self.form) {
            self.damaged += u64::from(self.last.is_some());
            self.last = Some(last);
        } else {
            self.damaged += 1;
            if self.samples.len() < MAX_SAMPLES {
                let after = self.runs.last().map_or(0, |run| run.end);
                let text = String::from_utf8_lossy(&line.text);
                self.samples.push(format!("{text:?} before line {after}"));
            }
        }
    }

    fn push_run(&mut self, run: Range<u64>) {
        // A line after the last one has no place in the stream.
        self.damaged += u64::from(self.last.is_some());
        self.expected.set_number(run.end);
        let full = self.runs.len() >= MAX_RUNS;
        match self.runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ if full => self.damaged += 1,
            _ => self.runs.push(run),
        }
    }

    pub(super) fn append(&mut self, next: Condensed) {
        for run in next.runs {
            self.push_run(run);
        }
        self.damaged += next.damaged;
        self.samples.extend(next.samples);
        self.samples.truncate(MAX_SAMPLES);
        if let Some(last) = next.last {
            self.damaged += u64::from(self.last.is_some());
            self.last = Some(last);
        }
    }
}
