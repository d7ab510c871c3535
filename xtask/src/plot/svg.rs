//! Horizontal bars as SVG, in colors that are read on light and on dark pages.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
/// Where the bars begin, and how long one may be; what is right of that is for its number.
const LEFT: f64 = 330.0;
const LONGEST: f64 = 350.0;
const BAR: f64 = 13.0;
const GAP: f64 = 9.0;
const TOP: f64 = 78.0;

/// A stylesheet of its own, for a picture cannot have the page's.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:16px;font-weight:600}\
.note,.number{font-size:12px;fill:#57606a}.back{fill:#fff}\
.s0{fill:#c2620a;stroke:#c2620a}.s1,.only{fill:#0b6e5b;stroke:#0b6e5b}\
.reach{stroke-width:1.5}.limit{stroke:#57606a;stroke-dasharray:4 3}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note,.number{fill:#9da7b3}\
.back{fill:#0d1117}.s0{fill:#f0a35e;stroke:#f0a35e}.s1,.only{fill:#4cc3a5;stroke:#4cc3a5}\
.limit{stroke:#9da7b3}}";

pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) note: &'static str,
    /// What the bars of a row stand for, in their order.
    pub(super) series: &'static [&'static str],
    pub(super) logarithmic: bool,
    /// Where a line says how long bars may be.
    pub(super) limit: Option<f64>,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Row {
    pub(super) label: String,
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Bar {
    value: f64,
    /// Where a line from its end goes.
    reach: f64,
    text: String,
}

impl Bar {
    pub(super) fn new(value: f64, text: String) -> Self {
        Bar {
            value,
            reach: value,
            text,
        }
    }

    /// Words in place of a number.
    pub(super) fn failed(text: String) -> Self {
        Bar::new(0.0, text)
    }

    pub(super) fn up_to(self, reach: f64) -> Self {
        Bar { reach, ..self }
    }
}

impl Plot {
    pub(super) fn draw(&self) -> String {
        let height_of = |row: &Row| BAR * count(row.bars.len()) + GAP;
        let height = TOP + self.rows.iter().map(height_of).sum::<f64>() + GAP;
        let mut page = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"{0}\">\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
            self.title
        );
        self.head(&mut page);
        let mut y = TOP;
        for row in &self.rows {
            let middle = y + BAR * count(row.bars.len()) / 2.0 + 4.5;
            text(&mut page, "label", LEFT - 10.0, middle, "end", &row.label);
            for (at, bar) in row.bars.iter().enumerate() {
                self.bar(&mut page, at, bar, y + BAR * count(at));
            }
            y += height_of(row);
        }
        if let Some(limit) = self.limit {
            let x = LEFT + self.length(limit);
            line(&mut page, "limit", [x, TOP - 4.0, x, y - GAP + 4.0]);
        }
        page + "</svg>\n"
    }

    fn head(&self, page: &mut String) {
        text(page, "title", 16.0, 28.0, "start", self.title);
        text(page, "note", 16.0, 50.0, "start", self.note);
        if self.series.len() > 1 {
            for (at, name) in self.series.iter().enumerate() {
                let x = WIDTH - 190.0 + 80.0 * count(at);
                rectangle(page, self.class(at), [x, 40.0, 11.0, 11.0]);
                text(page, "label", x + 17.0, 50.0, "start", name);
            }
        }
    }

    fn bar(&self, page: &mut String, at: usize, bar: &Bar, y: f64) {
        let class = self.class(at);
        let [length, reach] = [bar.value, bar.reach].map(|value| self.length(value));
        rectangle(page, class, [LEFT, y + 1.0, length.max(1.0), BAR - 2.0]);
        let middle = y + BAR / 2.0;
        if reach > length {
            let ends = [LEFT + length, middle, LEFT + reach, middle];
            line(page, &format!("reach {class}"), ends);
        }
        let x = LEFT + reach.max(length) + 7.0;
        text(page, "number", x, middle + 4.0, "start", &bar.text);
    }

    fn class(&self, at: usize) -> &'static str {
        match (self.series.len(), at) {
            (1, _) => "only",
            (_, 0) => "s0",
            _ => "s1",
        }
    }

    fn length(&self, value: f64) -> f64 {
        let scaled = |value: f64| match self.logarithmic {
            true => (1.0 + value).log10(),
            false => value,
        };
        let bars = self.rows.iter().flat_map(|row| &row.bars);
        let most = bars
            .map(|bar| bar.reach)
            .chain(self.limit)
            .fold(0.0, f64::max);
        LONGEST * scaled(value) / scaled(most.max(f64::MIN_POSITIVE))
    }
}

fn text(page: &mut String, class: &str, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let at = format!("x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"");
    // Writing to a text does not fail.
    let _ = writeln!(page, "<text class=\"{class}\" {at}>{words}</text>");
}

fn rectangle(page: &mut String, class: &str, [x, y, width, height]: [f64; 4]) {
    let at = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
    let _ = writeln!(page, "<rect class=\"{class}\" {at}/>");
}

fn line(page: &mut String, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
    let at = format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"");
    let _ = writeln!(page, "<line class=\"{class}\" {at}/>");
}

#[expect(clippy::cast_precision_loss, reason = "a handful of bars")]
fn count(number: usize) -> f64 {
    number as f64
}
