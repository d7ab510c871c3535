//! The documents for people: every link leads somewhere, and every chapter is in the book. Their
//! boxes are run by `crates/chardevd/tests/it/stories`. No link to the outside is followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The book's table of contents.
const SUMMARY: &str = "docs/SUMMARY.md";

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let documents = documents();
    assert!(documents.len() > 15, "{:?}", documents.keys());
    let mut links = 0;
    let mut lost = Vec::new();
    for (name, text) in &documents {
        for (line, target) in links_of(text) {
            links += 1;
            if let Some(why) = lost_link(name, &target, &documents) {
                lost.push(format!("{name}:{line}: {target}: {why}"));
            }
        }
    }
    assert!(links > 60, "only {links} links were found");
    assert!(
        lost.is_empty(),
        "these links lead nowhere:\n  {}",
        lost.join("\n  ")
    );
}

#[test]
fn every_chapter_is_in_the_book_once() {
    let documents = documents();
    let mut listed = BTreeMap::new();
    for (_, target) in links_of(&documents[SUMMARY]) {
        *listed.entry(format!("docs/{target}")).or_insert(0) += 1;
    }
    let twice: Vec<_> = listed.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{SUMMARY} has these twice: {twice:?}");
    let chapters = documents
        .keys()
        .filter(|name| name.starts_with("docs/") && *name != SUMMARY);
    let chapters: BTreeSet<_> = chapters.cloned().collect();
    let listed: BTreeSet<_> = listed.into_keys().collect();
    assert_eq!(listed, chapters, "{SUMMARY} and docs/*.md");
}

#[test]
fn mdbook_makes_a_page_of_each_chapter_and_every_link_in_them_leads_somewhere() {
    let made = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("book")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
    let page = |name: &str| fs::read_to_string(root().join("target/book").join(name)).ok();
    let mut links = 0;
    for (_, chapter) in links_of(&documents()[SUMMARY]) {
        let name = chapter.replace(".md", ".html");
        let text = page(&name).unwrap_or_else(|| panic!("there is no page of {chapter}"));
        let targets = text.split("href=\"").skip(1);
        let targets = targets.filter_map(|rest| Some(rest.split_once('"')?.0));
        for target in targets.filter(|target| !target.contains("://")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = match path {
                "" => Some(text.clone()),
                path if path.ends_with(".html") => page(path),
                path => root()
                    .join("target/book")
                    .join(path)
                    .exists()
                    .then(String::new),
            };
            let id = format!("id=\"{anchor}\"");
            let is_found = there.is_some_and(|there| anchor.is_empty() || there.contains(&id));
            assert!(is_found, "{name}: {target} leads nowhere");
            links += 1;
        }
    }
    assert!(links > 500, "only {links} links were found");
}

#[test]
fn a_chapter_links_only_to_what_is_in_the_book() {
    let outside = documents()
        .into_iter()
        .filter(|(name, _)| name.starts_with("docs/"));
    let outside = outside.flat_map(|(name, text)| {
        let links = links_of(&text).into_iter();
        let outside = links.filter(|(_, target)| target.starts_with("../"));
        let named = outside.map(|(line, target)| format!("{name}:{line}: {target}"));
        named.collect::<Vec<_>>()
    });
    let outside: Vec<_> = outside.collect();
    assert!(
        outside.is_empty(),
        "name the file in `…`, for the book has no such page:\n  {}",
        outside.join("\n  ")
    );
}

#[test]
fn the_pictures_show_what_the_tables_say() {
    let check = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["plot", "--check"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{said}");
}

#[test]
fn the_packaged_accounts_of_a_fleet_are_those_of_the_document() {
    let document = &documents()["docs/fleet.md"];
    let (_, accounts) = document.split_once("\naccounts {\n").unwrap();
    let (accounts, _) = accounts.split_once("\n```\n").unwrap();
    let accounts = format!("accounts {{\n{accounts}\n");
    let file = root().join("packaging/fleet/accounts.conf");
    if std::env::var_os("CHARDEV_WRITE_TABLES").is_some() {
        fs::write(&file, &accounts).unwrap();
    }
    assert!(
        fs::read_to_string(file).unwrap() == accounts,
        "packaging/fleet/accounts.conf: cargo xtask reference writes it from docs/fleet.md"
    );
}

#[test]
fn a_lost_link_is_found() {
    let document = |text: &str| ("docs/a.md".to_owned(), text.to_owned());
    let documents = BTreeMap::from([document(
        "# One `x`, two\n## Same\n## Same\n```\n# no\n```\n",
    )]);
    for (target, lost) in [
        ("a.md#one-x-two", false),
        ("#same-1", false),
        ("#same-2", true),
        ("#no", true),
        ("b.md", true),
        ("../docs/a.md#same", false),
        ("../README.md", false),
        ("../README.md#same", true),
        ("https://example.com/nowhere", false),
    ] {
        let found = lost_link("docs/a.md", target, &documents);
        assert_eq!(found.is_some(), lost, "{target}: {found:?}");
    }
    let text = "[a](b.md) `[no](c.md)`\n```\n[no](d.md)\n```\n![p\nq](e.svg) [f]\n(no)\n";
    let links: Vec<_> = links_of(text)
        .into_iter()
        .map(|(_, target)| target)
        .collect();
    assert_eq!(links, ["b.md", "e.svg"]);
}

/// Why a link in a document leads nowhere, if it does.
fn lost_link(
    document: &str,
    target: &str,
    documents: &BTreeMap<String, String>,
) -> Option<&'static str> {
    if target.starts_with("https://") || target.starts_with("http://") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let name = match path {
        "" => document.to_owned(),
        path => joined(document, path),
    };
    if !documents.contains_key(&name) && !root().join(&name).exists() {
        return Some("there is no such file");
    }
    let known = |text: &String| anchors(text).contains(anchor);
    match anchor {
        "" => None,
        _ if documents.get(&name).is_some_and(known) => None,
        _ => Some("there is no such heading"),
    }
}

/// A path as it is from the root, seen from a document.
fn joined(document: &str, path: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of all headings, as forges and mdbook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in prose(text).lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim();
        let kept = heading.chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            letter if letter.is_alphanumeric() => Some(letter),
            _ => None,
        });
        let anchor = kept.collect::<String>().to_lowercase();
        let before = times.entry(anchor.clone()).or_default();
        found.insert(match *before {
            0 => anchor,
            times => format!("{anchor}-{times}"),
        });
        *before += 1;
    }
    found
}

/// All links and pictures of a document, each with its line.
fn links_of(text: &str) -> Vec<(usize, String)> {
    let text = without_code(&prose(text));
    let links = text.match_indices("](").filter_map(|(at, _)| {
        let line = text[..at].matches('\n').count() + 1;
        let target = text[at + 2..].split_once(')')?.0;
        Some((line, target.to_owned()))
    });
    links.collect()
}

/// A document with empty lines in place of its boxes.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().map(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        if inside || fence {
            "\n".to_owned()
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

/// A text without what stands between back quotes in one paragraph; its lines stay.
fn without_code(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let parts = paragraph.split('`').enumerate();
        let parts = parts.map(|(at, part)| match at % 2 {
            0 => part.to_owned(),
            _ => "\n".repeat(part.matches('\n').count()),
        });
        parts.collect::<String>()
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// All documents, by their place in the checkout.
fn documents() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["", "docs/"] {
        for entry in root().join(folder).read_dir().unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                let name = format!("{folder}{name}");
                let text = fs::read_to_string(root().join(&name)).unwrap();
                found.insert(name, text);
            }
        }
    }
    found
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}
