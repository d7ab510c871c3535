//! `cargo xtask reference`: the book's chapters that are made from the code. The test that compares
//! them writes them as well.

use crate::sh::{self, Result};

const TEST: &str = "man::reference::the_reference_says_what_the_code_says";

pub(crate) fn run() -> Result {
    let mut write = sh::cargo(&["test", "--package", "chardevd", "--test", "it"]);
    write.args(["--", "--exact", TEST]);
    sh::run(write.env("CHARDEV_WRITE_TABLES", "1"))
}
