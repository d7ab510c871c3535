//! Anything as what a fleet reads from servers; see the body for what must hold.
#![no_main]

#[path = "../bodies/fleet_stream.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
