//! What a user does to a mouse, a tablet or a keyboard (`input-send-event`).

use chardev::{Axis, InputEvent, MouseButton};
use chardev_qapi::schema::{Member, ObjectType, Type, optional, required};
use chardev_qapi::{ErrorKind, Json, Object, QmpError, name_of_scancode};

use super::screens::key;
use crate::access::Role;
use crate::caller::Caller;
use crate::own::{Answer, OwnCommand};

/// QAPI `InputButton`.
const BUTTONS: &[&str] = &[
    "left",
    "middle",
    "right",
    "wheel-up",
    "wheel-down",
    "side",
    "extra",
    "wheel-left",
    "wheel-right",
    "touch",
];
const AXES: &[&str] = &["x", "y"];

/// The command `input-send-event`.
pub(super) fn command() -> OwnCommand {
    OwnCommand::new("input-send-event", send)
        // Which mouse or console it comes to may be another than the one that is named.
        .open_to_all_of(Role::Attach)
        .takes([
            optional("device", Type::Str),
            optional("head", Type::Int),
            required("events", Type::list(Type::Object(event()))),
        ])
        .returns(Type::object([]))
}

/// QAPI `InputEvent`.
fn event() -> ObjectType {
    let data = |members: Vec<Member>| ObjectType::new([required("data", Type::object(members))]);
    let axis = || required("axis", Type::words(AXES));
    let moved = || data(vec![axis(), required("value", Type::Int)]);
    let touched = vec![
        required(
            "type",
            Type::words(&["begin", "update", "end", "cancel", "data"]),
        ),
        required("slot", Type::Int),
        required("tracking-id", Type::Int),
        axis(),
        required("value", Type::Int),
    ];
    let down = || required("down", Type::Bool);
    let variants = vec![
        (
            "key",
            data(vec![required("key", Type::Object(key())), down()]),
        ),
        (
            "btn",
            data(vec![required("button", Type::words(BUTTONS)), down()]),
        ),
        ("rel", moved()),
        ("abs", moved()),
        ("mtt", data(touched)),
    ];
    let kinds: Vec<_> = variants.iter().map(|(kind, _)| *kind).collect();
    ObjectType::new([required("type", Type::words(&kinds))]).with_variants("type", variants)
}

/// All of it happens at once. A device is the id of a chardev; in QEMU it is a display, of which
/// there are none.
fn send(arguments: &Object, caller: &Caller) -> Answer {
    let device = arguments.get("device").and_then(Json::as_str);
    if let Some(id) = device.filter(|id| !caller.chardevs().contains(id)) {
        let error = QmpError::device_not_found(format!("Device '{id}' not found"));
        return Err(error.of_kind(ErrorKind::NotFound));
    }
    if !caller.run_state().is_running() {
        return Err("VM not running".into());
    }
    let events = arguments.get("events").and_then(Json::as_array);
    let events: Vec<_> = events.unwrap_or_default().iter().filter_map(read).collect();
    let sent = caller.chardevs().send_input_frame(device, &events);
    sent.map(|()| Json::empty()).map_err(QmpError::because)
}

/// The event that `said`, which is as the schema has it, is.
fn read(said: &Json) -> Option<InputEvent> {
    let data = said.get("data")?;
    let down = || data.get("down").and_then(Json::as_bool);
    let axis = || match data.get("axis").and_then(Json::as_str) {
        Some("y") => Axis::Y,
        _ => Axis::X,
    };
    let value = || data.get("value").and_then(Json::as_i64);
    Some(match said.get("type").and_then(Json::as_str)? {
        "key" => {
            let key = data.get("key")?.get("data")?;
            let number = || name_of_scancode(key.as_i64()?);
            InputEvent::Key {
                // A number without a name is a key that no console knows.
                name: key
                    .as_str()
                    .or_else(number)
                    .unwrap_or("unmapped")
                    .to_owned(),
                down: down()?,
            }
        }
        "btn" => InputEvent::Button {
            button: match data.get("button").and_then(Json::as_str)? {
                "left" => MouseButton::Left,
                "middle" => MouseButton::Middle,
                "right" => MouseButton::Right,
                _ => MouseButton::Other,
            },
            down: down()?,
        },
        "rel" => InputEvent::Moved {
            axis: axis(),
            by: value()?,
        },
        "abs" => InputEvent::Placed {
            axis: axis(),
            at: value()?,
        },
        _ => InputEvent::Touched,
    })
}
