//! Consoles wound back over the web page's API: memory, the indexed log, and those that were
//! rotated.

use chardev_qapi::Json;

use crate::ctl_rig::{text, until};
use crate::web_rig::{Browser, Page};

/// A console that prints numbers once a line comes, logs them, and keeps little in memory.
const FILE: &str = "
    [console.con0]\nto = 'ringbuf'\nhistory = '16K'\n
    exec = 'stty raw -echo; read line; seq 1 30000; exec sleep 1000'\n
    [console.con0.log]\nfile = 'log'\nindex = 'idx'\nsize = '40K'\ncount = 9\nappend = false\n";

fn numbers(upto: usize) -> String {
    (1..=upto).map(|number| format!("{number}\n")).collect()
}

/// A daemon whose console has printed everything, and all of it is in the log.
fn page() -> (Page, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let page = Page::configured(dir.path(), FILE);
    page.daemon.succeed(&["send", "con0", "go\\n"]);
    let browser = page.browser();
    let wanted = numbers(30_000).len() as u64;
    until("everything is printed and logged", || {
        let one = browser.get("/consoles/con0").json();
        let counter = |name| one.get("counters")?.get(name)?.as_u64();
        counter("output-offset") == Some(wanted) && counter("log-pending") == Some(0)
    });
    until("the index has its last line", || {
        let points = browser.get("/consoles/con0/timeline").json();
        let points = points
            .get("points")
            .and_then(Json::as_array)
            .unwrap_or_default();
        let last = points.last().and_then(|last| last.get("offset")?.as_u64());
        last == Some(wanted - "30000\n".len() as u64)
    });
    (page, dir)
}

/// All that is kept from `from` on, asked for piece by piece.
fn all_from(browser: &Browser, from: u64) -> (String, u64) {
    let (mut at, mut all, mut oldest) = (from, String::new(), None);
    loop {
        let path = format!("/consoles/con0/history?from={at}&size=10000");
        let reply = browser.get(&path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let start = reply.number("x-start");
        assert!(all.is_empty() || start == at, "{start} is not {at}");
        all += &text(&reply.body);
        oldest = oldest.or(Some(reply.number("x-oldest")));
        at = reply.number("x-next");
        if at == reply.number("x-end") {
            return (all, oldest.unwrap_or(at));
        }
    }
}

#[test]
fn a_console_is_wound_back_into_its_rotated_logs() {
    let (page, _dir) = page();
    let browser = page.browser();
    assert!(page.daemon.dir().join("log.3").exists(), "it was rotated");
    let wanted = numbers(30_000);
    let (all, oldest) = all_from(&browser, 0);
    assert!(all == wanted, "{} of {} bytes", all.len(), wanted.len());
    assert_eq!(oldest, 0);
    let (all, _) = all_from(&browser, 77_777);
    assert!(all == wanted[77_777..]);
    // The oldest is that of the console, wherever what was asked for is.
    let recent = browser.get("/consoles/con0/history?from=-10&size=10");
    assert_eq!(recent.number("x-oldest"), 0);
    assert_eq!(text(&recent.body), wanted[wanted.len() - 10..]);

    let line = browser.get("/consoles/con0/timeline?points=50").json();
    let number = |value: &Json, name: &str| value.get(name).and_then(Json::as_u64);
    assert_eq!(number(&line, "oldest"), Some(0), "{line}");
    assert_eq!(number(&line, "end"), Some(wanted.len() as u64));
    let recent = line.get("recent").and_then(|recent| number(recent, "from"));
    assert!(recent > Some(100_000), "{line}");
    let points = line.get("points").and_then(Json::as_array).expect("points");
    assert!((10..=52).contains(&points.len()), "{}", points.len());
    let times = points.iter().map(|point| match point.get("time") {
        Some(Json::Float(time)) => *time,
        other => panic!("{other:?}"),
    });
    assert!(times.collect::<Vec<_>>().is_sorted());

    // What was on the screen then.
    let place = wanted.find("\n12345\n").expect("it was printed") + 1;
    let screen = browser
        .get(&format!("/consoles/con0/screen?at={place}&rows=5"))
        .json();
    let rows = screen.get("text").and_then(Json::as_array).expect("rows");
    let rows: Vec<_> = rows
        .iter()
        .filter_map(Json::as_str)
        .map(str::trim)
        .collect();
    assert_eq!(rows, ["12341", "12342", "12343", "12344", ""], "{screen}");
    assert_eq!(number(&screen, "offset"), Some(place as u64));
    let ahead = browser.get("/consoles/con0/screen?at=999999999");
    assert_eq!(ahead.status, 416, "{ahead:?}");
}

#[test]
fn a_console_that_has_printed_nothing_yet_has_an_empty_screen() {
    let dir = tempfile::tempdir().expect("a directory");
    let consoles = "[console.con0]\nto = 'null'\nexec = 'sleep 1000'\n\n
        [console.keeps-nothing]\nto = 'null'\nexec = 'sleep 1000'\nhistory = 0\n";
    let page = Page::configured(dir.path(), consoles);
    let browser = page.browser();
    for (path, offset) in [("screen?rows=2", 0), ("screen?rows=2&at=0", 0)] {
        let reply = browser.get(&format!("/consoles/con0/{path}"));
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let screen = reply.json();
        let rows = screen.get("text").and_then(Json::as_array);
        let rows: Vec<_> = rows.unwrap_or_default().iter().map(Json::as_str).collect();
        assert_eq!(rows, [Some(""), Some("")], "{screen}");
        let told = screen.get("offset").and_then(Json::as_u64);
        assert_eq!(told, Some(offset), "{screen}");
    }
    let reply = browser.get("/consoles/keeps-nothing/screen");
    assert_eq!(reply.status, 400, "{reply:?}");
}

#[test]
fn what_was_printed_is_a_recording_that_can_be_played() {
    let (page, dir) = page();
    let browser = page.browser();
    let reply = browser.get("/consoles/con0/history?from=1000&size=50000&format=asciicast");
    assert_eq!(reply.status, 200, "{reply:?}");
    let cast = text(&reply.body);
    let mut lines = cast.lines();
    let header = Json::parse(lines.next().expect("a header")).expect("JSON");
    assert_eq!(header.get("version").and_then(Json::as_i64), Some(3));
    assert!(header.get("timestamp").and_then(Json::as_u64) > Some(1_700_000_000));
    let said = lines.map(|line| {
        let event = Json::parse(line).expect("JSON");
        let event = event.as_array().expect("an event").to_vec();
        event[2].as_str().expect("text").to_owned()
    });
    assert!(said.collect::<String>() == numbers(30_000)[1000..51_000]);
    let file = dir.path().join("recording");
    std::fs::write(&file, &cast).expect("a file");
    let file = file.to_str().expect("a path");
    let played = page.daemon.succeed(&["play", file, "--speed", "1000"]);
    assert!(played == numbers(30_000)[1000..51_000]);
}
