//! Any script to the rings of a virtio console (control); see the body for what must hold.
#![no_main]

#[path = "../bodies/virtio_console.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod body;
#[path = "../bodies/host.rs"]
mod host;
#[path = "../../crates/chardev/tests/it/virtio_driver/mod.rs"]
mod virtio_driver;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run_control(data));
