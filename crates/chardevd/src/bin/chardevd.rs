//! The daemon that owns consoles.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use chardevd::cli::Args;
use chardevd::messages;

fn main() -> ExitCode {
    let args = Args::from_env();
    let level = if args.verbose {
        "info"
    } else {
        "warn,chardevd=info,chardev_fleet=info"
    };
    messages::start("chardevd", level, args.verbose);
    match chardevd::daemon::run(&args) {
        Ok(status) => {
            messages::finish();
            status
        }
        Err(error) => {
            messages::say_last(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
