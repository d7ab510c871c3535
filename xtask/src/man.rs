//! `cargo xtask man [DIR]`: the manual pages. The test that looks at them writes them as well.

use std::path::{Path, PathBuf};

use crate::sh::{self, Result};

const TEST: &str = "man::every_program_and_subcommand_has_a_page_that_is_sound";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to write them to [default: man in the target directory]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => sh::target_dir()?.join("man"),
    };
    write(&dir)?;
    eprintln!(
        "xtask: the pages are in {}; man -l shows one",
        dir.display()
    );
    Ok(())
}

/// Writes the pages, and nothing else, to `dir`.
pub(crate) fn write(dir: &Path) -> Result {
    std::fs::create_dir_all(dir)?;
    let mut write = sh::cargo(&["test", "--package", "chardevd", "--test", "it"]);
    write.args(["--", "--exact", TEST]);
    sh::run(write.env("CHARDEV_MAN_DIR", dir.canonicalize()?))
}
