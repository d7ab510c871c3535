//! The result of a walk as a table, and its place in `docs/guarantees.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::peer::Kind;
use super::walk::{Cell, Cells, ROUNDS, State, escaped_rounds, rounds, walk, walk_layered};

/// Set to put the tables into the file instead of comparing them with it.
const WRITE: &str = "CHARDEV_WRITE_TABLES";

/// Walks `state` and compares the result with the table called `name`.
pub(crate) fn check(name: &str, state: State) {
    let cells = walk(state);
    compare(name, &render(state, &cells), rounds() == ROUNDS);
}

/// Compares `table` with the one called `name`, or writes it if it is of the `whole` walk.
pub(super) fn compare(name: &str, table: &str, whole: bool) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/guarantees.md");
    let text = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- states, {name}: begin -->\n");
    let start = text.find(&begin).expect("the table's place") + begin.len();
    let end = start + text[start..].find("<!-- end -->").expect("the table's end");
    if std::env::var_os(WRITE).is_some() {
        assert!(whole, "the table is made by the whole walk");
        let new = format!("{}\n{table}\n{}", &text[..start], &text[end..]);
        fs::write(&path, new).unwrap();
        return;
    }
    assert_eq!(
        text[start..end].trim(),
        table.trim(),
        "docs/guarantees.md is not current: run cargo xtask guarantees --write"
    );
}

/// Walks `state` with two kinds of sockets that speak a protocol above bytes, which no table has.
pub(crate) fn check_layered(state: State, pair: [Kind; 2]) {
    let cells = walk_layered(state, pair);
    // Between the two it is walked from both sides.
    let between = pair.len() * pair.len();
    let from = pair.len() * Kind::ALL.len();
    let to = pair.len() * state.kinds().len();
    assert_eq!(cells.len(), between + from + to);
    for (pair, cell) in cells {
        assert!(cell.changes >= escaped_rounds(), "{state:?} {pair:?}");
        let none = Cell {
            changes: cell.changes,
            ..Cell::default()
        };
        assert_eq!(cell, none, "{state:?} {pair:?}");
    }
}

/// One row for each old kind: changes in a whole walk, and bytes of output and of input that were
/// lost, doubled or out of order.
fn render(state: State, cells: &Cells) -> String {
    let mut table = "| old \\ new |".to_owned();
    let heads = Kind::ALL.map(|kind| format!(" {} |", kind.name()));
    let _ = writeln!(table, "{}", heads.concat());
    let _ = writeln!(table, "| --- |{}", " --- |".repeat(Kind::ALL.len()));
    for old in state.kinds() {
        let _ = write!(table, "| {} |", old.name());
        for new in Kind::ALL {
            let cell = cells[&(*old, new)];
            assert_eq!(cell.changes, rounds(), "{old:?} to {new:?}");
            let output = cell.output.lost + cell.output.misplaced;
            let input = cell.input.lost + cell.input.misplaced;
            let _ = write!(table, " {ROUNDS}: {output} / {input} |");
        }
        table.push('\n');
    }
    table
}
