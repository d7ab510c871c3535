//! Two ends of TLS over a wire that cuts and spoils; see the body for what must hold.
#![no_main]

use std::sync::LazyLock;

use chardev::back::LayerKind;

#[path = "../bodies/tls.rs"]
mod body;
#[path = "../bodies/tls_ends.rs"]
mod tls_ends;
#[path = "../../crates/chardev/tests/it/tls_rig/mod.rs"]
mod tls_rig;

static ENDS: LazyLock<[LayerKind; 2]> = LazyLock::new(tls_ends::ends);

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data, &ENDS));
