//! Anything as what a console's program writes; see the body for what must hold.
#![no_main]

#[path = "../bodies/screen.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
