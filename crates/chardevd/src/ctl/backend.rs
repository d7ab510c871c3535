//! Back ends as they are typed, in the grammar of `-chardev`, turned into what QMP takes.

use std::io::Write as _;

use chardev::text::shown_lines;
use chardev_qapi::{Json, backend_to_json, parse_backend_line, parse_chardev};

use super::failure::Failure;
use super::meant;

/// A back end without an id, as the member `backend` of a command.
///
/// # Errors
/// What is wrong with the line, in QEMU's words.
pub(super) fn backend_json(line: &str) -> Result<Json, Failure> {
    let kinds = chardev::back::specs();
    let parsed = parse_backend_line(line, &kinds);
    let parsed = parsed.map_err(|error| meant::back_end(error, line))?;
    warn(&parsed.warnings);
    refuse_mux(parsed.mux)?;
    Ok(backend_to_json(&parsed.options, &kinds))
}

/// A whole `-chardev` line: the id, and the back end as the member `backend` of a command.
///
/// # Errors
/// What is wrong with the line, in QEMU's words.
pub(super) fn chardev_json(line: &str) -> Result<(String, Json), Failure> {
    let kinds = chardev::back::specs();
    let parsed = parse_chardev(line, &kinds);
    let parsed = parsed.map_err(|error| meant::back_end(error, line))?;
    warn(&parsed.warnings);
    refuse_mux(parsed.mux)?;
    Ok((parsed.id, backend_to_json(&parsed.options, &kinds)))
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

fn refuse_mux(mux: bool) -> Result<(), Failure> {
    match mux {
        true => Err("'mux=on' works only on the daemon's command line; leave it out".into()),
        false => Ok(()),
    }
}
