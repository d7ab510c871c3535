//! Any bytes to a whole monitor with real chardevs behind it; see the body for what must hold.
#![no_main]

#[path = "../bodies/qmp_daemon.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
