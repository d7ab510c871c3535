//! chardevctl: the client of the daemon.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    chardevd::ctl::main()
}
