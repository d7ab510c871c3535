//! `cargo xtask book`: docs/ as pages of HTML, by mdbook: the one that `./setup` installs, or one
//! on PATH.

use std::process::Command;

use crate::sh::{self, Result};

pub(crate) fn run() -> Result {
    let ours = sh::venv().join("bin/mdbook");
    let mdbook = match ours.is_file() {
        true => ours,
        false => sh::need(
            "mdbook",
            "NO BOOK WAS MADE. `./setup` brings it, or `cargo install mdbook --locked`; \
             docs/SUMMARY.md has the same chapters as plain files",
        )?,
    };
    let root = sh::root();
    sh::run(Command::new(mdbook).arg("build").arg(&root))?;
    let page = root.join("target/book/index.html");
    if !page.is_file() {
        return Err(format!("mdbook has not made {}", page.display()).into());
    }
    eprintln!("xtask: the book is at {}", page.display());
    Ok(())
}
