//! `cargo xtask back-ends`: the lists of all kinds of back ends and their options, for people. The
//! tests that compare them with the tables write them as well.

use crate::sh::{self, Result};

/// The tests that have a list: the library's front page, and docs/back-ends.md.
const LISTS: [(&str, &str); 2] = [
    ("chardev", "options::the_front_page_has_all_options"),
    (
        "chardevd",
        "back_ends::the_page_of_back_ends_says_what_the_tables_say",
    ),
];

pub(crate) fn run() -> Result {
    for (package, test) in LISTS {
        let mut write = sh::cargo(&["test", "--package", package, "--test", "it"]);
        write.args(["--", "--exact", test]);
        sh::run(write.env("CHARDEV_WRITE_TABLES", "1"))?;
    }
    Ok(())
}
