//! Any bytes to a QMP session; see the body for what must hold.
#![no_main]

#[path = "../bodies/qmp_session.rs"]
mod body;
#[path = "../../crates/chardev-qapi/tests/it/kinds/mod.rs"]
mod kinds;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data, kinds::KINDS));
