//! "Did you mean": an id that does not exist, and the one that looks most like it.

use chardev::text::shown;
use chardev_qapi::{ErrorClass, ErrorKind, Json, Object};
use chardev_qmp::client::ClientError;

use super::connect::{Monitor, Target};
use super::failure::Failure;

/// The most letters that are wrong, missing or too many in what is taken for a mistake.
const MISTAKES: usize = 2;
/// Longer ids are not compared.
const MAX_LENGTH: usize = 64;

/// The failure of a command about chardev `id`, with the one that was meant if there is none.
pub(super) fn failed(
    target: &Target,
    monitor: &mut Monitor,
    id: &str,
    error: &ClientError,
) -> Failure {
    let failure = target.failed(error);
    let ClientError::Command(refusal) = error else {
        return failure;
    };
    let is_missing =
        refusal.kind() == Some(ErrorKind::NotFound) || refusal.class == ErrorClass::DeviceNotFound;
    let Some(list) = is_missing
        .then(|| monitor.execute("query-chardev", Object::new()).ok())
        .flatten()
    else {
        return failure;
    };
    let labels = list.as_array().unwrap_or_default().iter();
    let labels: Vec<_> = labels
        .filter_map(|entry| entry.get("label")?.as_str())
        .collect();
    // Another one may be missing, which this one is to rest on.
    if labels.contains(&id) {
        return failure;
    }
    match nearest(id, labels.into_iter()) {
        Some(meant) => format!("{}\ndid you mean '{}'?", shown(refusal), shown(meant)).into(),
        None => failure,
    }
}

/// Carries out a command about chardev `id`.
pub(super) fn execute(
    target: &Target,
    monitor: &mut Monitor,
    id: &str,
    command: &str,
    arguments: Object,
) -> Result<Json, Failure> {
    let answer = monitor.execute(command, arguments);
    answer.map_err(|error| failed(target, monitor, id, &error))
}

/// Which of `labels` looks most like `id`, if it can be a mistake for it.
pub(crate) fn nearest<'a>(id: &str, labels: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = labels.filter_map(|label| Some((mistakes(id, label)?, label)));
    near.min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, label)| label)
}

/// How many letters would have to be changed, put in or left out, if that is not much.
fn mistakes(one: &str, other: &str) -> Option<usize> {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().max(other.len()) > MAX_LENGTH {
        return None;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, letter) in one.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], number + 1);
        for (at, with) in other.iter().enumerate() {
            let changed = before + usize::from(letter != with);
            before = row[at + 1];
            row[at + 1] = changed.min(before + 1).min(row[at] + 1);
        }
    }
    let count = row[other.len()];
    (count <= MISTAKES && count < one.len().max(1)).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_what_looks_like_a_mistake_is_taken_for_one() {
        let labels = ["con0", "con1", "serial", "compat_monitor0"];
        for (id, meant) in [
            ("con", Some("con0")),
            ("cno1", Some("con1")),
            ("seriel", Some("serial")),
            ("compat_monitor", Some("compat_monitor0")),
            ("x", None),
            ("", None),
            ("vm7", None),
        ] {
            assert_eq!(nearest(id, labels.into_iter()), meant, "{id}");
        }
    }
}
