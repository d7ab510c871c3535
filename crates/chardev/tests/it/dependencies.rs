//! How many crates a VMM gets with the smallest useful build, as docs/embedding.md says.

use std::collections::BTreeSet;
use std::process::Command;

/// The crates below `chardev` with the features `features`, build tools included.
fn crates(features: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "chardev",
            "--edges",
            "normal",
        ])
        .args(["--no-default-features", "--features", features])
        .args(["--prefix", "none", "--format", "{lib}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().map(|line| line.trim_end_matches(" (*)"));
    let names = names.filter(|name| !name.is_empty() && *name != "chardev");
    names.map(str::to_owned).collect()
}

#[test]
fn the_stated_number_of_dependencies_is_true() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/embedding.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    for features in ["", "uart16550,socket,pty"] {
        let found = crates(features);
        let row = format!("| `{features}` | {} |", found.len());
        assert!(
            docs.contains(&row),
            "docs/embedding.md lacks {row:?}; found {found:?}"
        );
    }
}
