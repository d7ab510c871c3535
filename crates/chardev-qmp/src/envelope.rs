//! The outside of a request: `execute`, `arguments`, `id`.

use chardev_qapi::{Json, Object, QmpError};

/// A message taken apart.
pub(crate) struct Envelope {
    /// Echoed in the answer whatever becomes of the request.
    pub(crate) id: Option<Json>,
    pub(crate) request: Result<Call, QmpError>,
}

/// The command that a well-formed request names.
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: Object,
    /// Asked for with `exec-oob`.
    pub(crate) oob: bool,
}

impl Envelope {
    /// Takes a message apart; `allow_oob` says whether the client may use `exec-oob`.
    pub(crate) fn open(message: Json, allow_oob: bool) -> Self {
        let Json::Object(mut members) = message else {
            let error = "QMP input must be a JSON object".into();
            return Envelope {
                id: None,
                request: Err(error),
            };
        };
        let id = members.remove("id");
        Envelope {
            id,
            request: read_call(members, allow_oob),
        }
    }
}

fn read_call(mut members: Object, allow_oob: bool) -> Result<Call, QmpError> {
    for (name, value) in members.iter() {
        match name {
            "execute" => check_name(name, value)?,
            "exec-oob" if allow_oob => check_name(name, value)?,
            "arguments" if value.as_object().is_some() => {}
            "arguments" => return Err("QMP input member 'arguments' must be an object".into()),
            _ => return Err(format!("QMP input member '{name}' is unexpected").into()),
        }
    }
    let (name, oob) = match (members.remove("execute"), members.remove("exec-oob")) {
        (Some(_), Some(_)) => {
            return Err("QMP input member 'execute' clashes with 'exec-oob'".into());
        }
        (Some(Json::Str(name)), None) => (name, false),
        (None, Some(Json::Str(name))) => (name, true),
        _ => return Err("QMP input lacks member 'execute'".into()),
    };
    let arguments = match members.remove("arguments") {
        Some(Json::Object(arguments)) => arguments,
        _ => Object::new(),
    };
    Ok(Call {
        name,
        arguments,
        oob,
    })
}

fn check_name(member: &str, value: &Json) -> Result<(), QmpError> {
    match value {
        Json::Str(_) => Ok(()),
        _ => Err(format!("QMP input member '{member}' must be a string").into()),
    }
}
