//! What was meant: a kind, an option or a value that does not exist, and the one most like it.

use chardev::spec::{OptionType, ParameterError, Problem};
use chardev_qapi::opts::{Opts, parse_opts};

use super::failure::Failure;
use super::suggest::nearest;
use crate::config::keys_of;
use crate::devices::{DEVICES, DeviceKind};

/// What is wrong with a back end's `line`, and what was probably meant.
pub(super) fn back_end(error: ParameterError, line: &str) -> Failure {
    let said = error.to_string();
    match back_end_meant(&error, line) {
        Some(meant) => format!("{said}\ndid you mean '{meant}'?").into(),
        None => error.into(),
    }
}

/// The kind, option or value that was probably meant in `line`, if `error` is that there is no
/// such.
pub(crate) fn back_end_meant(error: &ParameterError, line: &str) -> Option<String> {
    let kinds = crate::kinds::specs();
    let opts = parse_opts(line, "backend");
    let spec = |kind| kinds.iter().find(|spec| spec.name == kind);
    let meant = match error.problem() {
        Problem::NotAccepted(kind) if error.name() == "backend" => {
            nearest(kind, kinds.iter().map(|spec| spec.name))
        }
        Problem::Unexpected => {
            let keys = keys_of(spec(opts.get("backend")?)?);
            nearest(error.name(), keys.into_iter())
        }
        Problem::NotAccepted(value) => {
            let mut options = spec(opts.get("backend")?)?.all_options();
            let option = options.find(|option| [option.name, option.cli].contains(&error.name()));
            match option?.ty {
                OptionType::Enum(words) => nearest(value, words.iter().copied()),
                _ => None,
            }
        }
        _ => None,
    };
    meant.map(str::to_owned)
}

/// Why a device cannot be what `opts` say, as far as that can be told without the daemon.
///
/// # Errors
/// There is no such option, and what to write instead.
pub(super) fn check_device(opts: &Opts) -> Result<(), Failure> {
    let driver = opts.get("driver").unwrap_or_default();
    let Some(kind) = kind(driver) else {
        // There may be one that a newer daemon knows.
        return Ok(());
    };
    let mut before = "";
    for (key, _) in &opts.pairs {
        let known = ["driver", "id", "bus"].contains(&key.as_str());
        if known || kind.options.iter().any(|(name, _)| name == key) {
            before = key;
            continue;
        }
        let what = format!("Property '{driver}.{key}' not found");
        if before == "command" {
            return Err(format!(
                "{what}\na comma ends what command= says: write each comma of the command twice, or give the command after --, as it is:\n  chardevctl device add exec,chardev=ID -- sh -c 'echo a, b'"
            )
            .into());
        }
        let meant = nearest(key, kind.options.iter().map(|(name, _)| *name));
        let hint = match meant {
            Some(meant) => format!("did you mean '{meant}'?"),
            None => format!("'chardevd --device {driver},help' lists its options"),
        };
        return Err(format!("{what}\n{hint}").into());
    }
    Ok(())
}

/// The device that was meant by `driver`, if there is no such.
pub(super) fn driver(driver: &str) -> Option<String> {
    if kind(driver).is_some() {
        return None;
    }
    let meant = nearest(driver, DEVICES.iter().map(|kind| kind.name));
    Some(match meant {
        Some(meant) => format!("did you mean '{meant}'?"),
        None => "'chardevd --device help' lists the devices".to_owned(),
    })
}

fn kind(driver: &str) -> Option<&'static DeviceKind> {
    DEVICES.iter().copied().find(|kind| kind.name == driver)
}
