//! The tests of chardev-qmp, in one program: a file a subject, and folders that they share.

mod client;
#[path = "../../../chardev-qapi/tests/it/kinds/mod.rs"]
mod kinds;
mod session;
mod transcript;
