//! What QMP clients may ask of the machine, besides what `chardev-monitor` answers.

use chardev_monitor::schema::{Type, optional, required};
use chardev_monitor::{Builder, Object, OwnCommand};

/// Adds `query-kvm` and `query-memory-size-summary`, for a machine with `memory` bytes.
pub(crate) fn add_commands(server: Builder, memory: u64) -> Builder {
    let kvm = OwnCommand::new("query-kvm", |_, _| {
        let info = Object::new().with("enabled", true);
        Ok(info.with("present", true).into())
    });
    let size = OwnCommand::new("query-memory-size-summary", move |_, _| {
        Ok(Object::new().with("base-memory", memory).into())
    });
    server
        .own_command(kvm.returns(Type::object([
            required("enabled", Type::Bool),
            required("present", Type::Bool),
        ])))
        .own_command(size.returns(Type::object([
            required("base-memory", Type::Int),
            optional("plugged-memory", Type::Int),
        ])))
}
