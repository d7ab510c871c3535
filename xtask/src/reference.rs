//! `cargo xtask reference`: the book's chapters that are made from the code, and what is made from
//! other chapters. The tests that compare them write them as well.

use crate::sh::{self, Result};

/// Each with its package and its file.
const TESTS: [(&str, &str, &str); 2] = [
    (
        "chardevd",
        "it",
        "man::reference::the_reference_says_what_the_code_says",
    ),
    (
        "xtask",
        "documents",
        "the_packaged_accounts_of_a_fleet_are_those_of_the_document",
    ),
];

pub(crate) fn run() -> Result {
    for (package, file, test) in TESTS {
        let mut write = sh::cargo(&["test", "--package", package, "--test", file]);
        write.args(["--", "--exact", test]);
        sh::run(write.env("CHARDEV_WRITE_TABLES", "1"))?;
    }
    Ok(())
}
