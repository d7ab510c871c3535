//! Replays the fuzz bodies of devices with seeded scripts, in a program of their own: the bodies
//! have their rig at its root, as in the fuzzer.

#[path = "../../../../fuzz/bodies/corpus.rs"]
#[allow(dead_code, reason = "scripts are bytes, not pieces of a dictionary")]
mod corpus;
#[path = "../../../../fuzz/bodies/host.rs"]
mod host;
mod telnet;
mod tls;
#[path = "../../../../fuzz/bodies/tls_ends.rs"]
mod tls_ends;
#[path = "../it/tls_rig/mod.rs"]
mod tls_rig;
mod uart;
mod virtio;
#[path = "../it/virtio_driver/mod.rs"]
#[allow(dead_code, reason = "the tests of the virtio console use the rest")]
mod virtio_driver;
mod websocket;
