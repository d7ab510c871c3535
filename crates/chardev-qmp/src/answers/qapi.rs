//! The answers that QEMU gives too.

use chardev_qapi::schema::{ObjectType, Type, optional, required};
use chardev_qapi::visit::Reader;

use crate::table::read_yank_instance;

pub(crate) fn nothing() -> Type {
    Type::object([])
}

pub(crate) fn text() -> Type {
    Type::Str
}

/// QAPI `CommandInfo`, `ChardevBackendInfo`
pub(crate) fn names() -> Type {
    Type::list(Type::object([required("name", Type::Str)]))
}

/// QAPI `VersionInfo`
pub(crate) fn version() -> Type {
    let number = |name| required(name, Type::Int);
    let numbers = [number("major"), number("minor"), number("micro")];
    Type::object([
        required("qemu", Type::object(numbers)),
        required("package", Type::Str),
    ])
}

/// QAPI `NameInfo`
pub(crate) fn name_info() -> Type {
    Type::object([optional("name", Type::Str)])
}

/// QAPI `ChardevReturn`
pub(crate) fn chardev_return() -> Type {
    Type::object([optional("pty", Type::Str)])
}

pub(crate) fn chardev_returns() -> Type {
    Type::list(chardev_return())
}

/// QAPI `ChardevInfo`
pub(crate) fn chardev_infos() -> Type {
    Type::list(Type::object([
        required("label", Type::Str),
        required("filename", Type::Str),
        required("frontend-open", Type::Bool),
    ]))
}

/// QAPI `AddfdInfo`
pub(crate) fn add_fd_info() -> Type {
    Type::object([required("fdset-id", Type::Int), required("fd", Type::Int)])
}

/// QAPI `FdsetInfo`
pub(crate) fn fdset_infos() -> Type {
    let fd = [required("fd", Type::Int), optional("opaque", Type::Str)];
    Type::list(Type::object([
        required("fdset-id", Type::Int),
        required("fds", Type::list(Type::object(fd))),
    ]))
}

/// QAPI `YankInstance`: what is read is also what is returned.
pub(crate) fn yank_instances() -> Type {
    let mut reader = Reader::describing();
    // It has nothing to read, so nothing in it can be wrong.
    let _ = read_yank_instance(&mut reader);
    Type::list(Type::Object(reader.described()))
}

/// QAPI `StatusInfo`
pub(crate) fn status_info() -> Type {
    let states = [
        "debug",
        "inmigrate",
        "internal-error",
        "io-error",
        "paused",
        "postmigrate",
        "prelaunch",
        "finish-migrate",
        "restore-vm",
        "running",
        "save-vm",
        "shutdown",
        "suspended",
        "watchdog",
        "guest-panicked",
        "colo",
    ];
    Type::object([
        required("running", Type::Bool),
        required("status", Type::words(&states)),
    ])
}

/// QAPI `ObjectPropertyInfo`
pub(crate) fn property_infos() -> Type {
    Type::list(Type::object([
        required("name", Type::Str),
        required("type", Type::Str),
        optional("description", Type::Str),
        optional("default-value", Type::Any),
    ]))
}

/// QAPI `ObjectTypeInfo`
pub(crate) fn type_infos() -> Type {
    Type::list(Type::object([
        required("name", Type::Str),
        optional("abstract", Type::Bool),
        optional("parent", Type::Str),
    ]))
}

/// QAPI `CommandLineOptionInfo`
pub(crate) fn cli_options() -> Type {
    let types = ["string", "boolean", "number", "size"];
    let parameter = [
        required("name", Type::Str),
        required("type", Type::words(&types)),
        optional("help", Type::Str),
        optional("default", Type::Str),
    ];
    Type::list(Type::object([
        required("option", Type::Str),
        required("parameters", Type::list(Type::object(parameter))),
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
