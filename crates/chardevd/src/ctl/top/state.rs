//! What is known of the consoles, and how fast their bytes come and go.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use chardev_qapi::Json;

use crate::ctl::list::{attached, dropped, front_end};

/// How many rates are kept.
pub(super) const RATES: usize = 30;
/// The bars of a line of rates, the lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A console.
#[derive(Debug)]
pub(super) struct Console {
    pub(super) id: String,
    pub(super) target: String,
    pub(super) attached: String,
    pub(super) front_end: String,
    pub(super) dropped: u64,
    pub(super) viewers: u64,
    pub(super) changes: u64,
    /// Bytes a second.
    pub(super) output: u64,
    pub(super) input: u64,
    /// The last rates of output and input together, the oldest first.
    pub(super) rates: VecDeque<u64>,
    counted: (u64, u64),
}

/// All of them, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Consoles {
    pub(super) all: Vec<Console>,
    looked: Option<Instant>,
}

impl Consoles {
    /// Takes what `chardevctl list` knows.
    pub(super) fn update(&mut self, entries: &[Json], now: Instant) {
        let time = self.looked.replace(now).map(|looked| now - looked);
        let before = std::mem::take(&mut self.all);
        let mut before: HashMap<String, Console> = before
            .into_iter()
            .map(|one| (one.id.clone(), one))
            .collect();
        let all = entries.iter().map(|entry| {
            let id = text(entry, "label");
            let earlier = before.remove(&id);
            console(entry, id, earlier, time)
        });
        self.all = all.collect();
    }
}

fn text(entry: &Json, name: &str) -> String {
    let text = entry.get(name).and_then(Json::as_str);
    chardev::text::shown(text.unwrap_or("-")).to_string()
}

fn console(entry: &Json, id: String, earlier: Option<Console>, time: Option<Duration>) -> Console {
    let number = |name| entry.get(name).and_then(Json::as_u64).unwrap_or(0);
    let counted = (number("output-accepted"), number("input-delivered"));
    let rate = |now: u64, then: u64| match time {
        Some(time) if !time.is_zero() => {
            (now.saturating_sub(then) as f64 / time.as_secs_f64()) as u64
        }
        _ => 0,
    };
    let (output, input) = match &earlier {
        Some(earlier) => (
            rate(counted.0, earlier.counted.0),
            rate(counted.1, earlier.counted.1),
        ),
        None => (0, 0),
    };
    let mut rates = earlier.map_or_else(VecDeque::new, |earlier| earlier.rates);
    rates.push_back(output + input);
    while rates.len() > RATES {
        rates.pop_front();
    }
    Console {
        target: text(entry, "filename"),
        attached: attached(entry),
        front_end: front_end(entry),
        dropped: dropped(entry).unwrap_or(0),
        viewers: number("viewers"),
        changes: number("changes"),
        id,
        output,
        input,
        rates,
        counted,
    }
}

impl Console {
    /// The last rates as a line of bars, the highest of which is the highest rate.
    pub(super) fn bars(&self) -> String {
        let most = self.rates.iter().copied().max().unwrap_or(0).max(1);
        let bar = |rate: &u64| match rate {
            0 => ' ',
            rate => {
                let at = u128::from(*rate) * BARS.len() as u128 / (u128::from(most) + 1);
                BARS[usize::try_from(at).unwrap_or(0).min(BARS.len() - 1)]
            }
        };
        self.rates.iter().map(bar).collect()
    }
}

/// A count for people: `999`, `1.2k`, `34M`.
pub(super) fn short(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["", "k", "M", "G"] {
        if value < 999.5 || unit == "G" {
            return match value < 9.95 && !unit.is_empty() {
                true => format!("{value:.1}{unit}"),
                false => format!("{value:.0}{unit}"),
            };
        }
        value /= 1000.0;
    }
    count.to_string()
}

#[cfg(test)]
mod tests {
    use super::{Consoles, short};
    use chardev_qapi::Json;
    use std::time::{Duration, Instant};

    #[test]
    fn rates_are_what_came_in_between() {
        let entry = |id: &str, output: u64| {
            let text = format!("{{'label': '{id}', 'output-accepted': {output}, 'changes': 3}}");
            Json::parse(&text).expect("valid")
        };
        let mut consoles = Consoles::default();
        let now = Instant::now();
        consoles.update(&[entry("a", 100), entry("b", 0)], now);
        consoles.update(
            &[entry("b", 50), entry("a", 300)],
            now + Duration::from_secs(2),
        );
        let rate = |at: usize| (consoles.all[at].id.as_str(), consoles.all[at].output);
        assert_eq!((rate(0), rate(1)), (("b", 25), ("a", 100)));
        assert_eq!(
            (consoles.all[1].bars().as_str(), consoles.all[1].changes),
            (" █", 3)
        );
    }

    #[test]
    fn counts_are_short() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (9949, "9.9k"),
            (12_345, "12k"),
            (999_600, "1.0M"),
            (5_000_000_000, "5.0G"),
            (u64::MAX, "18446744074G"),
        ] {
            assert_eq!(short(count), text);
        }
    }
}
