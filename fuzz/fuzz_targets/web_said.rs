//! Anything as what comes to the web page; see the body for what must hold.
#![no_main]

#[path = "../bodies/web_said.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
