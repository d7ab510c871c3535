//! `cargo xtask book`: docs/ as pages of HTML, by mdbook. That is no part of `./setup`, because it
//! takes minutes to compile; what is wrong with the book is found by `tests/documents.rs`.

use std::process::Command;

use crate::sh::{self, Result};

pub(crate) fn run() -> Result {
    let mdbook = sh::need(
        "mdbook",
        "NO BOOK WAS MADE. `cargo install mdbook --locked` brings it; docs/SUMMARY.md has the same \
         chapters as plain files",
    )?;
    let root = sh::root();
    sh::run(Command::new(mdbook).arg("build").arg(&root))?;
    let page = root.join("target/book/index.html");
    if !page.is_file() {
        return Err(format!("mdbook has not made {}", page.display()).into());
    }
    eprintln!("xtask: the book is at {}", page.display());
    Ok(())
}
