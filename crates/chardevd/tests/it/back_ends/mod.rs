//! docs/back-ends.md, made from the tables that the parsers and the help lists are made from.
//!
//! `cargo xtask back-ends` writes it; here it is compared with what would be written. What no table
//! says stands in lists here ([`lists`]), and each line of them is tried out.

mod lists;
mod page;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use chardev::spec::Short;
use chardev_qapi::{Device, Json, backend_to_json, parse_device};
use chardev_qapi::{parse_backend, parse_backend_line, parse_chardev};

use crate::schema;
use lists::{ABSENT, ADDRESSES, SHORT};

/// Set to write the page instead of comparing it.
const WRITE: &str = "CHARDEV_WRITE_TABLES";

#[test]
fn the_page_of_back_ends_says_what_the_tables_say() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/back-ends.md");
    let page = page::page();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, page).unwrap();
        return;
    }
    let written = fs::read_to_string(&path).unwrap();
    let differs = page
        .lines()
        .zip(written.lines())
        .find(|(page, written)| page != written);
    assert!(
        written == page,
        "docs/back-ends.md is not what the tables say; `cargo xtask back-ends` writes it anew. \
         The first line that differs, as it should be and as it is: {differs:?}"
    );
}

/// What the page says of an address's key is what the parsers make of it.
#[test]
fn every_key_of_an_address_is_where_the_page_says() {
    let kinds = chardevd::kinds::specs();
    for (kind, keys) in ADDRESSES {
        for key in *keys {
            let (line, value) = lists::example(kind, key);
            let parsed = parse_backend_line(&line, &kinds).unwrap();
            let json = backend_to_json(&parsed.options, &kinds);
            let [address, ty, member] = key.place;
            let address = json.get("data").and_then(|data| data.get(address));
            let address = address.unwrap_or_else(|| panic!("{line}: no such address"));
            assert_eq!(address.get("type"), Some(&Json::from(ty)), "{line}");
            let found = address.get("data").and_then(|data| data.get(member));
            assert_eq!(found, Some(&value), "{line}");
        }
    }
}

/// A kind whose short spellings are told by a function has examples, and they are its.
#[test]
fn every_short_spelling_is_understood() {
    let kinds = chardevd::kinds::specs();
    for (name, spellings) in SHORT {
        for text in *spellings {
            let found = parse_device(text, &kinds);
            let Ok(Device::New(line)) = &found else {
                panic!("{text}: {found:?}");
            };
            let parsed = parse_backend_line(line, &kinds).unwrap();
            assert_eq!(parsed.options.kind(), *name, "{text}: {line}");
        }
    }
    let has_examples = |name| SHORT.iter().any(|(known, _)| *known == name);
    for kind in &kinds {
        let by_function = kind.short.iter().any(|it| matches!(it, Short::Text(_)));
        assert_eq!(by_function, has_examples(kind.name), "{}", kind.name);
    }
}

/// The list of what is not in this build is the one that the schema's test compares with QEMU's.
#[test]
fn what_is_not_in_this_build_is_listed() {
    let missing = schema::missing_kinds();
    let listed: BTreeSet<&str> = ABSENT.iter().flat_map(|absent| absent.qemus()).collect();
    assert_eq!(listed, missing.collect());
    let kinds = chardevd::kinds::specs();
    for name in ABSENT.iter().map(|absent| absent.name) {
        let refused = parse_chardev(&format!("{name},id=x"), &kinds).unwrap_err();
        assert_eq!(refused.to_string(), page::refused_on_a_line(name));
        let backend = format!(r#"{{"type": "{name}", "data": {{}}}}"#);
        let backend = Json::parse(&backend).unwrap();
        let refused = parse_backend(&backend, "backend", &kinds).unwrap_err();
        assert_eq!(refused.to_string(), page::refused_by_qmp(name));
    }
}
