//! The tests of chardev-vhost-user, in one program: a file a subject, and folders that they share.

mod descriptors;
mod hostile;
#[allow(dead_code, reason = "the tests of the device itself use the rest")]
#[path = "../../../chardev/tests/it/virtio_driver/mod.rs"]
mod virtio_driver;
mod vmm;
mod vmm_rig;
