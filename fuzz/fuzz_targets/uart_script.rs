//! Any register script to a serial port; see the body for what must hold.
#![no_main]

#[path = "../bodies/uart_script.rs"]
mod body;
#[path = "../bodies/host.rs"]
mod host;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
