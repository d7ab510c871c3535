//! How a chardev is shown to people.

use chardev::text::shown;
use chardev_qapi::Json;

use crate::ctl::attach::how_it_ended;
use crate::ctl::table::{Column, Table};

/// A table of the entries.
pub(super) fn table(entries: &[Json]) -> Table {
    let mut table = Table::new(&[
        ("ID", Column::Whole),
        ("TARGET", Column::Text),
        ("OPEN", Column::Whole),
        ("ATTACHED", Column::Text),
        ("VIEWERS", Column::Number),
        ("OUT", Column::Number),
        ("IN", Column::Number),
        ("DROPPED", Column::Number),
        ("FRONT END", Column::Text),
    ]);
    for entry in entries {
        let text = |name| {
            let text = entry.get(name).and_then(Json::as_str);
            text.map_or(unknown(), |text| shown(text).to_string())
        };
        let number = |name| {
            let number = entry.get(name).and_then(Json::as_u64);
            number.map_or(unknown(), |value| value.to_string())
        };
        let open = match entry.get("open").and_then(Json::as_bool) {
            Some(true) => "yes".to_owned(),
            Some(false) => "no".to_owned(),
            None => unknown(),
        };
        table.push([
            text("label"),
            text("filename"),
            open,
            attached(entry),
            number("viewers"),
            number("output-accepted"),
            number("input-delivered"),
            dropped(entry).map_or(unknown(), |count| count.to_string()),
            front_end(entry),
        ]);
    }
    table
}

fn unknown() -> String {
    "-".to_owned()
}

/// Who is attached; or the back end's own peer, where it can tell.
pub(in crate::ctl) fn attached(entry: &Json) -> String {
    let attached = entry.get("attached").and_then(Json::as_array);
    let attached = attached.unwrap_or_default().iter().filter_map(|one| {
        let by = shown(one.get("by")?.as_str()?).to_string();
        Some(match one.get("mode").and_then(Json::as_str) {
            Some("read-only") => format!("{by} read-only"),
            _ => by,
        })
    });
    let attached: Vec<String> = attached.collect();
    let peer = entry.get("peer").and_then(Json::as_str);
    match (attached.is_empty(), peer) {
        (false, _) => attached.join(", "),
        (true, Some(peer)) => shown(peer).to_string(),
        (true, None) => unknown(),
    }
}

/// All bytes that nobody got, for whatever reason.
pub(in crate::ctl) fn dropped(entry: &Json) -> Option<u64> {
    let dropped = entry.get("dropped")?.as_object()?;
    let counts = dropped.iter().filter_map(|(_, count)| count.as_u64());
    Some(counts.sum())
}

/// Whether the front end is open, which program it is, and what became of that.
pub(in crate::ctl) fn front_end(entry: &Json) -> String {
    let open = match entry.get("frontend-open").and_then(Json::as_bool) {
        Some(true) => "open",
        Some(false) => "closed",
        None => "-",
    };
    if let Some(line) = entry.get("line") {
        let from = line.get("from").and_then(Json::as_str).unwrap_or("-");
        return match line.get("open").and_then(Json::as_bool) {
            Some(false) => format!("{open}: {} (not connected)", shown(from)),
            _ => format!("{open}: {}", shown(from)),
        };
    }
    let Some(device) = entry.get("device") else {
        return open.to_owned();
    };
    let text = |name| device.get(name).and_then(Json::as_str);
    let what = text("command").or(text("driver")).unwrap_or("-");
    let what = shown(what);
    match text("state") {
        Some("ended" | "failed") => format!("{open}: {} ({what})", shown(how_it_ended(device))),
        Some("waiting") => format!("{open}: {what} waits for a peer"),
        _ => format!("{open}: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::ctl::list::merge;
    use chardev_qapi::Json;

    #[test]
    fn a_table_lines_up_and_says_what_is_unknown() {
        let read = |text| Json::parse(text).expect("valid");
        let list = read(
            "[{'label': 'con0', 'filename': 'pty:/dev/pts/3', 'frontend-open': true},
              {'label': 'dead', 'filename': 'null', 'frontend-open': false}, {}]",
        );
        let stats = read(
            "[{'label': 'x', 'open': false}, {'label': 'con0', 'open': true, 'output-accepted': 12345,
               'viewers': 2, 'dropped': {'discarded': 5, 'purged': 2, 'late': 0},
               'attached': [{'by': 'a (pid 3)'}, {'by': 'b', 'mode': 'read-only'}]},
              {'label': 'dead', 'peer': '10.0.0.1:7'}]",
        );
        let devices = read(
            "[{'id': 'd', 'chardev': 'dead', 'state': 'ended', 'status': 3, 'driver': 'exec',
               'command': 'sh'}, {'chardev': 'con0', 'state': 'running', 'driver': 'null-modem'}]",
        );
        let expected = "\
ID    TARGET          OPEN  ATTACHED                VIEWERS    OUT  IN  DROPPED  FRONT END
con0  pty:/dev/pts/3  yes   a (pid 3), b read-only        2  12345   -        7  open: null-modem
dead  null            -     10.0.0.1:7                    -      -   -        -  closed: the program ended, status 3 (sh)
-     -               -     -                             -      -   -        -  -
";
        assert_eq!(table(&merge(&list, &stats, &devices)).text(None), expected);
    }
}
