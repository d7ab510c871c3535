//! The devices of a program, as far as monitors deal with them.

use std::fmt::Debug;

use chardev_qapi::{Json, QmpError};

/// What `x-query-devices` and `x-device-restart` do. `()` has no devices.
///
/// Called on the monitors' thread, so neither may wait.
pub trait Devices: Debug + Send + Sync {
    /// What `x-query-devices` answers; `query-qmp-schema` has its type.
    fn query(&self) -> Json;

    /// Ends the program of device `id` if it runs, and starts it again.
    ///
    /// # Errors
    /// There is no such device, or it has no program.
    fn restart(&self, id: &str) -> Result<(), QmpError>;
}

impl Devices for () {
    fn query(&self) -> Json {
        Json::Array(Vec::new())
    }

    fn restart(&self, id: &str) -> Result<(), QmpError> {
        Err(QmpError::device_not_found(format!(
            "Device '{id}' not found"
        )))
    }
}
