//! The small virtual machine.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    microvm::cli::run()
}
