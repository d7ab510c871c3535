//! The daemon that owns consoles.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use chardev::text::shown_lines;
use chardevd::cli::Args;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::from_env();
    let level = if args.verbose {
        "info"
    } else {
        "warn,chardevd=info"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match chardevd::daemon::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chardevd: {}", shown_lines(error));
            ExitCode::FAILURE
        }
    }
}
