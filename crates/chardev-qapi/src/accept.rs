//! Checks arguments against a type given as data, with QEMU's words for what is wrong.

use crate::json::{Json, Object};
use crate::schema::{ObjectType, Type};
use crate::spec::{ParameterError, Problem};

/// Checks the arguments of a command: nothing missing, nothing of another type, nothing unexpected.
///
/// ```
/// use chardev_qapi::schema::{ObjectType, Type, required};
/// use chardev_qapi::{Object, check_arguments};
///
/// let ty = ObjectType::new([required("vector", Type::Int)]);
/// assert_eq!(check_arguments(&Object::new().with("vector", 3u32), &ty), Ok(()));
/// let error = check_arguments(&Object::new(), &ty).unwrap_err();
/// assert_eq!(error.to_string(), "Parameter 'vector' is missing");
/// assert_eq!(error.name(), "vector");
/// ```
///
/// # Errors
/// What [`Reader`](crate::visit::Reader) says of the first member that is wrong.
pub fn check_arguments(arguments: &Object, ty: &ObjectType) -> Result<(), ParameterError> {
    check_object(arguments, ty, "")
}

fn check_object(object: &Object, ty: &ObjectType, path: &str) -> Result<(), ParameterError> {
    let full = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    let members = ty.members_for(object);
    for member in &members {
        match object.get(member.name) {
            Some(value) => check_value(value, &member.ty, &full(member.name), member.name)?,
            None if member.optional => {}
            None => return Err(ParameterError::missing(full(member.name))),
        }
    }
    let is_known = |name: &str| members.iter().any(|member| member.name == name);
    match object.iter().find(|(name, _)| !is_known(name)) {
        Some((name, _)) => Err(ParameterError::new(full(name), Problem::Unexpected)),
        None => Ok(()),
    }
}

/// `path` leads to the value, `name` is its last part.
fn check_value(value: &Json, ty: &Type, path: &str, name: &str) -> Result<(), ParameterError> {
    let expected = match (ty, value) {
        (Type::Any, _)
        | (Type::Str, Json::Str(_))
        | (Type::Bool, Json::Bool(_))
        | (Type::Int | Type::Number, Json::Int(_) | Json::UInt(_))
        | (Type::Number, Json::Float(_)) => return Ok(()),
        (Type::Enum(words), Json::Str(text)) => {
            let words: Vec<&str> = words.iter().map(|word| word.name).collect();
            return match words.contains(&text.as_str()) {
                true => Ok(()),
                false => Err(ParameterError::not_one_of(name, text, &words)),
            };
        }
        (Type::List(element), Json::Array(items)) => {
            return items.iter().enumerate().try_for_each(|(at, item)| {
                // QEMU has no name for an element.
                check_value(item, element, &format!("{path}[{at}]"), "null")
            });
        }
        (Type::Object(ty), Json::Object(object)) => return check_object(object, ty, path),
        (Type::Str | Type::Enum(_), _) => "string",
        (Type::Bool, _) => "boolean",
        (Type::Int, _) => "integer",
        (Type::Number, _) => "number",
        (Type::List(_), _) => "array",
        (Type::Object(_), _) => "object",
    };
    Err(ParameterError::new(path, Problem::WrongType(expected)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{optional, required};

    #[test]
    fn what_is_wrong_is_said_as_the_reader_says_it() {
        let inner = ObjectType::new([required("on", Type::Bool)]);
        let variants = [("deep", ObjectType::new([required("depth", Type::Number)]))];
        let ty = ObjectType::new([
            required("kind", Type::words(&["flat", "deep"])),
            optional("name", Type::Str),
            optional("sizes", Type::list(Type::Int)),
            optional("inner", Type::Object(inner)),
            optional("anything", Type::Any),
        ])
        .with_variants("kind", variants);
        for (text, error) in [
            ("{'kind': 'flat'}", None),
            ("{'kind': 'deep', 'depth': 1.5, 'anything': null}", None),
            ("{'kind': 'flat', 'sizes': [1, 18446744073709551615]}", None),
            ("{}", Some("Parameter 'kind' is missing")),
            (
                "{'kind': 'wide'}",
                Some("Parameter 'kind' does not accept value 'wide'"),
            ),
            (
                "{'kind': 7}",
                Some("Invalid parameter type for 'kind', expected: string"),
            ),
            ("{'kind': 'deep'}", Some("Parameter 'depth' is missing")),
            (
                "{'kind': 'flat', 'depth': 1}",
                Some("Parameter 'depth' is unexpected"),
            ),
            (
                "{'kind': 'flat', 'sizes': [1, true]}",
                Some("Invalid parameter type for 'sizes[1]', expected: integer"),
            ),
            (
                "{'kind': 'flat', 'sizes': {}}",
                Some("Invalid parameter type for 'sizes', expected: array"),
            ),
            (
                "{'kind': 'flat', 'inner': {'on': 'yes'}}",
                Some("Invalid parameter type for 'inner.on', expected: boolean"),
            ),
            (
                "{'kind': 'flat', 'inner': {'on': true, 'off': false}}",
                Some("Parameter 'inner.off' is unexpected"),
            ),
        ] {
            let arguments = Json::parse(text).unwrap();
            let checked = check_arguments(arguments.as_object().unwrap(), &ty);
            let said = checked.err().map(|error| error.to_string());
            assert_eq!(said.as_deref(), error, "{text}");
        }
    }
}
