//! The examples run, and what they check holds.

use std::process::Command;

/// Examples are built together with the tests, into the folder beside theirs.
#[test]
fn every_example_runs() {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(std::path::Path::parent).unwrap();
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(sources).unwrap() {
        let source = entry.unwrap().path();
        let name = source.file_stem().unwrap();
        let output = Command::new(built.join("examples").join(name))
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; cargo build -p chardev --examples builds it",
                    source.display()
                )
            });
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", source.display());
        if name == "own_kind" {
            let printed = String::from_utf8_lossy(&output.stdout);
            let expected = "guest: kept in the ring\nguest: printed at once\nguest: printed at\n";
            assert_eq!(printed, expected);
        }
        count += 1;
    }
    assert_eq!(count, 6);
}
