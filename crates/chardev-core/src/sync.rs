//! The chardev's lock, for which the model of its threads (`tests/model.rs`) puts its own.

#[cfg(chardev_model)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(chardev_model))]
pub(crate) use std::sync::{Mutex, MutexGuard};
