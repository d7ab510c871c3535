//! `chardevd --check`: whether a configuration is good.

use std::path::Path;
use std::process::ExitCode;

use super::item::Sort;

/// Says on standard output how many consoles there are, or on standard error all that is wrong.
pub(crate) fn check(file: &Path) -> ExitCode {
    match super::load(file, Path::new(""), &crate::kinds::specs()) {
        Ok(wanted) => {
            let items = wanted.items.iter();
            let count = items.filter(|item| item.sort == Sort::Console).count();
            let plural = if count == 1 { "" } else { "s" };
            println!("{count} console{plural}, ok");
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::FAILURE
        }
    }
}
