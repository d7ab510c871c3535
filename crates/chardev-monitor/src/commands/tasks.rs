//! What goes on in the background for chardevs (`x-query-chardev-tasks`).

use chardev::Task;
use chardev_qapi::schema::{Type, optional, required};
use chardev_qapi::{Json, Object};

use crate::own::OwnCommand;

/// The command `x-query-chardev-tasks`.
pub(super) fn command() -> OwnCommand {
    let command = OwnCommand::new("x-query-chardev-tasks", |_, caller| {
        let tasks = caller.service.chardevs.tasks();
        Ok(tasks.iter().map(show).collect::<Vec<_>>().into())
    });
    command
        .lists_chardevs()
        .takes([])
        .returns(Type::list(Type::object([
            required("label", Type::Str),
            required("kind", Type::Str),
            required("age-ms", Type::Int),
            optional("undelivered", Type::Int),
        ])))
}

fn show(task: &Task) -> Json {
    let age = u64::try_from(task.age.as_millis()).unwrap_or(u64::MAX);
    let mut shown = Object::new()
        .with("label", task.label.as_str())
        .with("kind", task.kind.name())
        .with("age-ms", age);
    if let Some(bytes) = task.undelivered {
        shown.insert("undelivered", bytes);
    }
    shown.into()
}
