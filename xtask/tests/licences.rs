//! Every crate that is built in has a licence that deny.toml allows. cargo-deny says so as well,
//! and looks into the crates; this needs nothing installed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let allowed = allowed();
    let allowed: BTreeSet<&str> = allowed.iter().map(String::as_str).collect();
    assert!(allowed.contains("MIT"), "deny.toml allows {allowed:?}");
    let packages = packages();
    let outside = packages.iter().filter(|it| !it["source"].is_null());
    assert!(outside.count() > 50, "these are not all dependencies");
    let wrong = packages.iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or_default();
        let words = words(licence);
        let fits = !words.is_empty() && any(&mut words.iter().copied(), &allowed) == Some(true);
        (!fits).then(|| format!("{} {}: '{licence}'", package["name"], package["version"]))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(
        wrong.is_empty(),
        "do without these, or allow their licences in deny.toml:\n  {}",
        wrong.join("\n  ")
    );
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for (expression, fits) in [
        ("MIT", Some(true)),
        ("GPL-2.0-only", Some(false)),
        ("GPL-2.0-only OR MIT", Some(true)),
        ("GPL-2.0-only/MIT", Some(true)),
        ("GPL-2.0-only AND MIT", Some(false)),
        ("MIT AND GPL-2.0-only OR ISC", Some(true)),
        ("MIT AND (GPL-2.0-only OR ISC)", Some(true)),
        ("(MIT OR ISC) AND GPL-2.0-only", Some(false)),
        ("Apache-2.0 WITH LLVM-exception", Some(true)),
        ("Apache-2.0", Some(false)),
        ("MIT WITH LLVM-exception", Some(false)),
        ("(MIT", None),
        ("MIT ISC", None),
        ("MIT AND", None),
    ] {
        let words = words(expression);
        let found = any(&mut words.iter().copied(), &allowed);
        assert_eq!(found, fits, "{expression}");
    }
}

/// The words of an expression; brackets and a licence with its exception are one each.
fn words(expression: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = expression.trim_start();
    while !rest.is_empty() {
        let is_mark = |c: char| matches!(c, '(' | ')' | '/');
        let mut end = rest.find(|c: char| is_mark(c) || c.is_whitespace());
        if rest.starts_with(is_mark) {
            end = Some(1);
        }
        let mut end = end.unwrap_or(rest.len());
        if let Some(exception) = rest[end..].trim_start().strip_prefix("WITH ") {
            let length = exception.find(|c: char| is_mark(c) || c.is_whitespace());
            end = rest.len() - exception.len() + length.unwrap_or(exception.len());
        }
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    words
}

type Words<'a, 'b> = dyn Iterator<Item = &'a str> + 'b;

/// Whether one part of a whole expression is allowed; `None` if it is none.
fn any(words: &mut Words<'_, '_>, allowed: &BTreeSet<&str>) -> Option<bool> {
    match alternatives(words, allowed)? {
        (fits, None) => Some(fits),
        (_, Some(_)) => None,
    }
}

/// The same up to a closing bracket, which is returned as well.
fn alternatives<'a>(
    words: &mut Words<'a, '_>,
    allowed: &BTreeSet<&str>,
) -> Option<(bool, Option<&'a str>)> {
    let (mut one_fits, mut all_fit) = (false, true);
    loop {
        all_fit &= match words.next()? {
            "(" => match alternatives(words, allowed)? {
                (fits, Some(")")) => fits,
                _ => return None,
            },
            ")" | "/" | "AND" | "OR" => return None,
            licence => allowed.contains(licence),
        };
        match words.next() {
            Some("AND") => {}
            Some("OR" | "/") => {
                one_fits |= all_fit;
                all_fit = true;
            }
            end @ (None | Some(")")) => return Some((one_fits | all_fit, end)),
            Some(_) => return None,
        }
    }
}

/// The list in deny.toml.
fn allowed() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let (_, licenses) = text.split_once("[licenses]").expect("its licences");
    let (_, list) = licenses.split_once("allow = [").expect("its list");
    let (list, _) = list.split_once(']').expect("the list's end");
    let quoted = list.split('"').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// All packages that are built for Linux, with every feature.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--all-features"])
        .args(["--format-version=1", "--filter-platform"])
        .arg("x86_64-unknown-linux-gnu")
        .current_dir(root())
        .output()
        .expect("cargo runs, because it built this test");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("what is used")
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let packages = packages.filter(|it| it["id"].as_str().is_some_and(|id| used.contains(id)));
    packages.cloned().collect()
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}
