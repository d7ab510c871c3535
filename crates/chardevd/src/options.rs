//! The options of the command line as `query-command-line-options` tells them.

use chardev_qapi::cmdline::parameters;
use chardev_qapi::{Json, Object, QmpError};

/// An option whose argument is a list of `key=value`, and its keys: name, type, help.
type Described = (
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
);

const OTHERS: &[Described] = &[
    (
        "mon",
        &[
            ("pretty", "boolean", ""),
            ("chardev", "string", ""),
            ("mode", "string", ""),
        ],
    ),
    (
        "add-fd",
        &[
            (
                "opaque",
                "string",
                "what query-fdsets tells of the descriptor",
            ),
            ("set", "number", "the set that gets the descriptor"),
            ("fd", "number", "the number of an inherited descriptor"),
        ],
    ),
    (
        "name",
        &[
            ("debug-threads", "boolean", "accepted and ignored"),
            ("process", "string", "accepted and ignored"),
            ("guest", "string", "the name that query-name answers"),
        ],
    ),
];

/// QAPI `CommandLineOptionInfo` of one option, or of all.
///
/// # Errors
/// `invalid option name: …`
pub fn query(option: Option<&str>) -> Result<Json, QmpError> {
    let chardev = parameters(&chardev::back::specs());
    let chardev = chardev.into_iter().map(|(name, ty)| (name, ty, ""));
    let mut all = vec![describe("chardev", chardev)];
    for (name, parameters) in OTHERS {
        let parameters = parameters
            .iter()
            .map(|(name, ty, help)| ((*name).to_owned(), *ty, *help));
        all.push(describe(name, parameters));
    }
    let Some(wanted) = option else {
        return Ok(all.into());
    };
    all.retain(|info| info.get("option").and_then(Json::as_str) == Some(wanted));
    match all.is_empty() {
        true => Err(format!("invalid option name: {wanted}").into()),
        false => Ok(all.into()),
    }
}

fn describe<'a>(
    option: &str,
    parameters: impl Iterator<Item = (String, &'a str, &'a str)>,
) -> Object {
    let parameters = parameters.map(|(name, ty, help)| {
        let mut info = Object::new().with("name", name.as_str());
        if !help.is_empty() {
            info.insert("help", help);
        }
        if name == "tight" {
            info.insert("default", "on");
        }
        info.with("type", ty)
    });
    let parameters: Vec<Object> = parameters.collect();
    Object::new()
        .with("parameters", parameters)
        .with("option", option)
}
