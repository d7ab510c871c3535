//! Back ends as they are typed, in the grammar of `-chardev`, turned into what QMP takes. Relative
//! paths in them start at a directory of ours, where there is one (`Address::directory`).

use std::io::Write as _;
use std::path::Path;

use chardev::spec::{KindSpec, Options, Problem};
use chardev::text::shown_lines;
use chardev_qapi::{Json, backend_to_json, parse_backend_line, parse_chardev};

use super::failure::Failure;
use super::meant;

/// A back end without an id, as the member `backend` of a command.
///
/// # Errors
/// What is wrong with the line, in QEMU's words.
pub(super) fn backend_json(line: &str, directory: Option<&Path>) -> Result<Json, Failure> {
    let kinds = crate::kinds::specs();
    let parsed = parse_backend_line(line, &kinds);
    let parsed = parsed.map_err(|error| meant::back_end(error, line))?;
    warn(&parsed.warnings);
    refuse_mux(parsed.mux)?;
    let json = json(directory, parsed.options, &kinds);
    refuse_nowhere(&json, line)?;
    Ok(json)
}

/// A whole `-chardev` line: the id, and the back end as the member `backend` of a command.
///
/// # Errors
/// What is wrong with the line, in QEMU's words.
pub(super) fn chardev_json(
    line: &str,
    directory: Option<&Path>,
) -> Result<(String, Json), Failure> {
    let kinds = crate::kinds::specs();
    let parsed = parse_chardev(line, &kinds);
    let parsed = parsed.map_err(|error| match error.name() {
        "id" if *error.problem() == Problem::Missing => {
            format!("{error}\nadd id=NAME, such as {line},id=con1").into()
        }
        _ => meant::back_end(error, line),
    })?;
    warn(&parsed.warnings);
    refuse_mux(parsed.mux)?;
    let json = json(directory, parsed.options, &kinds);
    refuse_nowhere(&json, line)?;
    Ok((parsed.id, json))
}

/// What QMP takes.
fn json(directory: Option<&Path>, mut options: Options, kinds: &[&KindSpec]) -> Json {
    let kind = kinds.iter().find(|kind| kind.name == options.kind());
    if let (Some(kind), Some(directory)) = (kind, directory) {
        options.make_paths_absolute(kind, directory);
    }
    backend_to_json(&options, kinds)
}

/// Where the first client is waited for before the back end is there, if it is.
pub(super) fn first_client_at(backend: &Json) -> Option<String> {
    let data = backend.get("data")?;
    data.get("wait")?.as_bool().filter(|waits| *waits)?;
    let address = data.get("addr")?.get("data")?;
    let text = |name| address.get(name).and_then(Json::as_str);
    match (text("path"), text("host"), text("port"), text("str")) {
        (Some(path), ..) => Some(path.to_owned()),
        (_, Some(host), Some(port), _) => Some(format!("{host}:{port}")),
        (_, _, Some(port), _) => Some(format!("port {port}")),
        (.., Some(name)) => Some(format!("descriptor {name}")),
        _ => None,
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        // Who cannot hear it is not to miss the command too.
        let _ = writeln!(
            std::io::stderr(),
            "chardevctl: warning: {}",
            shown_lines(warning)
        );
    }
}

/// A socket of which nothing is said is a descriptor without a name, to QEMU.
fn refuse_nowhere(backend: &Json, line: &str) -> Result<(), Failure> {
    let address = backend.get("data").and_then(|data| data.get("addr"));
    let text = |value: Option<&Json>, name| value?.get(name)?.as_str().map(str::to_owned);
    let named = text(address.and_then(|address| address.get("data")), "str");
    match (text(address, "type").as_deref(), named.as_deref()) {
        (Some("fd"), Some("")) => Err(format!(
            "a socket needs an address\nadd path=FILE, or host=HOST,port=PORT, such as {line},path=/tmp/con0.sock,server=on,wait=off"
        )
        .into()),
        _ => Ok(()),
    }
}

fn refuse_mux(mux: bool) -> Result<(), Failure> {
    match mux {
        true => Err("'mux=on' works only on the daemon's command line; leave it out".into()),
        false => Ok(()),
    }
}
