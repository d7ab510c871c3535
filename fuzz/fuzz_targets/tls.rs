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

libfuzzer_sys::fuzz_target!(init: pass_over_rustls(), |data: &[u8]| body::run(data, &ENDS));

/// In builds for debugging rustls panics at what a peer may send behind our close_notify. The layer
/// catches that, but libFuzzer's hook would end the process before.
fn pass_over_rustls() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let file = info.location().map_or("", |location| location.file());
        if !(file.contains("rustls-") && file.ends_with("common_state.rs")) {
            end(info);
        }
    }));
}
