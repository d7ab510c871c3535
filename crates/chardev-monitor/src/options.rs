//! The options of the command line as `query-command-line-options` tells them.

use chardev::spec::KindSpec;
use chardev_qapi::cmdline::parameters;
use chardev_qapi::{Json, Object, QmpError};

/// An option of the command line whose argument is a list of `key=value`.
#[derive(Clone, Copy, Debug)]
pub struct CommandLineOption {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Its keys: name, type (`string`, `boolean`, `number` or `size`) and what it is for, which may
    /// be empty.
    pub keys: &'static [(&'static str, &'static str, &'static str)],
}

/// QAPI `CommandLineOptionInfo` of one option, or of all: `chardev` and `others`.
///
/// # Errors
/// `invalid option name: …`
pub(crate) fn query(
    kinds: &[&KindSpec],
    others: &[CommandLineOption],
    option: Option<&str>,
) -> Result<Json, QmpError> {
    let chardev = parameters(kinds);
    let chardev = chardev.into_iter().map(|(name, ty)| (name, ty, ""));
    let mut all = vec![describe("chardev", chardev)];
    for other in others {
        let parameters = other
            .keys
            .iter()
            .map(|(name, ty, help)| ((*name).to_owned(), *ty, *help));
        all.push(describe(other.name, parameters));
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
