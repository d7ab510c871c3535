//! Anything as what a telnet peer sends; see the body for what must hold.
#![no_main]

#[path = "../bodies/telnet.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
