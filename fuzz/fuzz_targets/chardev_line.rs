//! Any text as a `-chardev` line and as a QAPI back end; see the body for what must hold.
#![no_main]

#[path = "../bodies/chardev_line.rs"]
mod body;
#[path = "../../crates/chardev-qapi/tests/it/kinds/mod.rs"]
mod kinds;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data, kinds::KINDS));
