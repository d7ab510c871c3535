//! A program's devices, as far as monitors are concerned with them.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use chardev_qapi::{Json, QmpError};

/// What takes its time, and may fail in QEMU's words.
pub type Doing = Pin<Box<dyn Future<Output = Result<(), QmpError>> + Send>>;

/// What `x-query-devices` and `x-device-restart` do. `()` has no devices.
///
/// Called on the monitors' thread, so neither may wait.
pub trait Devices: Debug + Send + Sync {
    /// What `x-query-devices` answers; `query-qmp-schema` has its type.
    fn query(&self) -> Json;

    /// The devices there are, as arguments of `-device`: what `x-export` answers.
    fn lines(&self) -> Vec<String>;

    /// Makes the device that an argument of `-device` asks for, as `device_add` does.
    ///
    /// The future fails with QEMU's words.
    fn add(&self, line: String) -> Doing;

    /// Asks for the end of device `id`, as `device_del` does; `DEVICE_DELETED` tells when it has
    /// come.
    ///
    /// # Errors
    /// There is no such device, or it cannot go by itself.
    fn remove(&self, id: &str) -> Result<(), QmpError>;

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

    fn lines(&self) -> Vec<String> {
        Vec::new()
    }

    fn add(&self, line: String) -> Doing {
        let driver = line.split(',').next().unwrap_or_default();
        let error = format!("'{driver}' is not a valid device model name");
        Box::pin(async move { Err(error.into()) })
    }

    fn remove(&self, id: &str) -> Result<(), QmpError> {
        Err(not_found(id))
    }

    fn restart(&self, id: &str) -> Result<(), QmpError> {
        Err(not_found(id))
    }
}

fn not_found(id: &str) -> QmpError {
    QmpError::device_not_found(format!("Device '{id}' not found"))
}
