//! Something is kept of what each fuzzer has found, not too much, and a test replays it.

use std::fs;
use std::path::{Path, PathBuf};

/// The most that is kept, of one target and in all.
const MOST: usize = 60;
const SIZE: u64 = 150 << 10;

#[test]
fn every_fuzz_target_has_inputs_that_a_test_replays() {
    let fuzz = root().join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("fuzz/Cargo.toml");
    let (_, bins) = manifest.split_once("[[bin]]").expect("fuzz targets");
    let names = bins
        .lines()
        .filter_map(|line| line.strip_prefix("name = \""));
    let targets: Vec<_> = names.map(|name| name.trim_end_matches('"')).collect();
    assert!(targets.len() >= 10, "{targets:?}");
    let tests = tests();
    let (mut wrong, mut size) = (Vec::new(), 0);
    for target in targets {
        let folder = fuzz.join("corpus").join(target);
        let inputs: Vec<_> = fs::read_dir(&folder).into_iter().flatten().collect();
        if !(1..=MOST).contains(&inputs.len()) {
            wrong.push(format!("{}: {} inputs", folder.display(), inputs.len()));
        }
        for input in inputs {
            size += input.and_then(|it| it.metadata()).expect("an input").len();
        }
        if !tests.contains(&format!("corpus::replay(\"{target}\"")) {
            wrong.push(format!("no test replays {target}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "see `cargo xtask fuzz --keep`:\n  {}",
        wrong.join("\n  ")
    );
    assert!(size <= SIZE, "{size} bytes of inputs are kept");
}

/// The text of all tests of fuzz bodies.
fn tests() -> String {
    let mut text = String::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_test = path.to_string_lossy().contains("/tests/");
            if path.is_dir() {
                folders.push(path);
            } else if is_test && path.extension().is_some_and(|it| it == "rs") {
                text += &fs::read_to_string(&path).expect("a file");
            }
        }
    }
    text
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}
