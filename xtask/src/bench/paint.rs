//! How soon the web page is to be seen on loopback, and how much of it comes over the wire, in a
//! browser that has nothing of it but a cookie.

use serde_json::{Value, json};

use super::browser::Browser;
use super::site::Site;
use super::{Programs, report};
use crate::sh::Result;

/// What the browser itself needs for a page that is a word of text.
const FLOOR: &str = "`/healthz`, a word";
const LOADS: usize = 21;
/// What was found wanted.
const PAINT_MS: f64 = 100.0;
const KIB: f64 = 400.0;
/// Consoles with something on their screens.
const CONSOLES: usize = 8;
const CONSOLE: &str = "exec = \"seq -f '[%5g.000000] device is ready' 90; exec cat\"";

pub(super) fn table(programs: &Programs) -> Result<String> {
    let Some(chardevd) = &programs.chardevd else {
        return Ok(String::new());
    };
    eprintln!("xtask: the page, {LOADS} times");
    let consoles = (0..CONSOLES).map(|at| format!("[console.con{at}]\n{CONSOLE}\n"));
    let site = Site::start(chardevd, &consoles.collect::<String>())?;
    let pages = json!([
        { "name": FLOOR, "path": "/healthz", "wanted": "pre" },
        { "name": "the list of 8 consoles", "path": "/", "wanted": ".console" },
        { "name": "a console", "path": "/#/console/con0", "wanted": ".now .xterm-rows span" },
    ]);
    let mut browser = Browser::start()?;
    let asked = json!({ "do": "paint", "link": site.link()?, "loads": LOADS, "pages": pages });
    let all = browser.ask(&asked)?;
    let rows = all.as_object().ok_or("no samples")?.iter();
    let rows = rows.map(|(name, loads)| row(name, loads.as_array().map_or(&[], Vec::as_slice)));
    let rows: Vec<_> = rows.collect();
    let title = format!("First load of the page, median of {LOADS}");
    let header = [
        "page",
        "first contentful paint, ms",
        "the slowest",
        "complete, ms",
        "requests",
        "KiB on the wire",
        &format!("{PAINT_MS} ms and {KIB} KiB kept"),
    ];
    Ok(report::table(&title, &header, &rows))
}

fn row(name: &str, loads: &[Value]) -> Vec<String> {
    let sorted = |key: &str| {
        let mut all: Vec<f64> = loads.iter().filter_map(|load| load[key].as_f64()).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let median = |key: &str| report::percentile(&sorted(key), 0.5);
    let paint = median("fcp");
    let kib = median("bytes") / 1024.0;
    vec![
        name.to_owned(),
        format!("{paint:.0}"),
        format!("{:.0}", report::percentile(&sorted("fcp"), 1.0)),
        format!("{:.0}", median("ready")),
        format!("{:.0}", median("requests")),
        format!("{kib:.0}"),
        report::verdict(paint <= PAINT_MS && kib <= KIB),
    ]
}
