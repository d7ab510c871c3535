//! What the larger answers look like, for the table of commands.

use chardev_qapi::schema::{ObjectType, Type, optional, required};

/// Monitors, and who is at them.
pub(crate) fn monitors() -> Type {
    let client = [
        optional("peer", Type::Str),
        optional("pid", Type::Int),
        optional("program", Type::Str),
        required("since", Type::Int),
    ];
    Type::list(Type::object([
        required("label", Type::Str),
        required("mode", Type::words(&["control", "readline"])),
        required("limit", Type::Int),
        required("clients", Type::list(Type::object(client))),
    ]))
}

/// The devices of the daemon.
pub(crate) fn devices() -> Type {
    let mut members = vec![
        required("id", Type::Str),
        required("driver", Type::Str),
        required("chardev", Type::Str),
        required("state", Type::words(&STATES)),
        required("since", Type::Int),
        optional("restart", Type::Bool),
    ];
    members.extend(ending());
    Type::list(Type::object(members))
}

/// The states of a device: it waits for the first client of a `wait=on` chardev, it runs, its program
/// has ended, or could not be started.
const STATES: [&str; 4] = ["waiting", "running", "ended", "failed"];

/// Which program it is or was, and how it ended.
pub(crate) fn ending() -> [chardev_qapi::schema::Member; 4] {
    [
        optional("pid", Type::Int),
        optional("status", Type::Int),
        optional("signal", Type::Int),
        optional("error", Type::Str),
    ]
}

/// Who is attached to a chardev.
pub(crate) fn attached() -> Type {
    Type::list(Type::object([
        required("by", Type::Str),
        required("mode", Type::words(&["exclusive", "share", "read-only"])),
        required("since", Type::Int),
    ]))
}

/// QAPI `SchemaInfo`
pub(crate) fn schema() -> Type {
    let json_types = [
        "string", "number", "int", "boolean", "null", "object", "array", "value",
    ];
    let member_of_object = Type::object([
        required("name", Type::Str),
        required("type", Type::Str),
        optional("default", Type::Any),
        optional("features", Type::list(Type::Str)),
    ]);
    let variant = Type::object([required("case", Type::Str), required("type", Type::Str)]);
    let member_of_enum = Type::object([
        required("name", Type::Str),
        optional("features", Type::list(Type::Str)),
    ]);
    let mut values = required("values", Type::list(Type::Str));
    values.deprecated = true;
    let variants = [
        (
            "builtin",
            vec![required("json-type", Type::words(&json_types))],
        ),
        (
            "enum",
            vec![required("members", Type::list(member_of_enum)), values],
        ),
        ("array", vec![required("element-type", Type::Str)]),
        (
            "object",
            vec![
                required("members", Type::list(member_of_object)),
                optional("tag", Type::Str),
                optional("variants", Type::list(variant)),
            ],
        ),
        (
            "alternate",
            vec![required(
                "members",
                Type::list(Type::object([required("type", Type::Str)])),
            )],
        ),
        (
            "command",
            vec![
                required("arg-type", Type::Str),
                required("ret-type", Type::Str),
                optional("allow-oob", Type::Bool),
            ],
        ),
        ("event", vec![required("arg-type", Type::Str)]),
    ];
    let words: Vec<&str> = variants.iter().map(|(word, _)| *word).collect();
    let base = ObjectType::new([
        required("name", Type::Str),
        required("meta-type", Type::words(&words)),
        optional("features", Type::list(Type::Str)),
    ]);
    let variants = variants.map(|(word, members)| (word, ObjectType::new(members)));
    Type::list(Type::Object(base.with_variants("meta-type", variants)))
}
