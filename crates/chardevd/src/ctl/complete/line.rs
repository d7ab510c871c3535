//! How a line such as `socket,path=/tmp/x,server=on` may go on.

use std::path::Path;

use chardev::spec::{KindSpec, OptionType};

use crate::config::keys_of;
use crate::devices::{DEVICES, PATHS};

/// How a back end may go on, `with_id` or without one.
pub(super) fn back_end(typed: &str, with_id: bool) -> Vec<String> {
    let kinds = crate::kinds::specs();
    let Some((before, last)) = typed.rsplit_once(',') else {
        return beginning(typed, kinds.iter().map(|kind| kind.name));
    };
    let name = before.split(',').next().unwrap_or_default();
    let Some(kind) = kinds.iter().find(|kind| kind.name == name) else {
        return Vec::new();
    };
    let ended = match last.split_once('=') {
        Some((key, value)) => values(kind, key, value),
        None => {
            let id = with_id.then_some("id");
            let keys = keys_of(kind).into_iter().chain(id);
            options(before, last, keys)
        }
    };
    ended.iter().map(|end| format!("{before},{end}")).collect()
}

/// How a device may go on.
pub(super) fn device(typed: &str) -> Vec<String> {
    let Some((before, last)) = typed.rsplit_once(',') else {
        return beginning(typed, DEVICES.iter().map(|kind| kind.name));
    };
    let name = before.split(',').next().unwrap_or_default();
    let Some(kind) = DEVICES.iter().find(|kind| kind.name == name) else {
        return Vec::new();
    };
    let ended = match last.split_once('=') {
        Some((key @ ("chardev" | "peer"), value)) => chardevs(key, value),
        Some((key @ ("restart" | "tell-end"), value)) => {
            beginning_with(key, value, ["on", "off"].into_iter())
        }
        Some((key, value)) if PATHS.contains(&key) => paths(key, value),
        Some(_) => Vec::new(),
        None => {
            let keys = kind.options.iter().map(|(name, _)| *name);
            options(before, last, keys.chain(["id"]))
        }
    };
    ended.iter().map(|end| format!("{before},{end}")).collect()
}

/// Those of the `keys` that begin as typed and are not there yet.
fn options<'a>(before: &str, typed: &str, keys: impl Iterator<Item = &'a str>) -> Vec<String> {
    let given: Vec<&str> = before
        .split(',')
        .filter_map(|part| Some(part.split_once('=')?.0))
        .collect();
    let keys = keys.filter(|key| !given.contains(key));
    let keys = beginning(typed, keys).into_iter();
    keys.map(|key| format!("{key}=")).collect()
}

fn values(kind: &KindSpec, key: &str, value: &str) -> Vec<String> {
    let mut options = kind.all_options();
    let option = options.find(|option| option.cli == key);
    // An address has its path in a part of its own.
    let is_path = option.map_or(key == "path", |option| option.is_path);
    match option.map(|option| option.ty) {
        Some(OptionType::Enum(words)) => beginning_with(key, value, words.iter().copied()),
        Some(OptionType::Bool) => beginning_with(key, value, ["on", "off"].into_iter()),
        _ if key == "chardev" || key.starts_with("chardevs") => chardevs(key, value),
        _ if is_path => paths(key, value),
        _ => Vec::new(),
    }
}

fn chardevs(key: &str, value: &str) -> Vec<String> {
    let ids = super::chardevs();
    beginning_with(key, value, ids.iter().map(String::as_str))
}

/// What is in the directory that `value` is about.
fn paths(key: &str, value: &str) -> Vec<String> {
    let (directory, name) = match value.rsplit_once('/') {
        Some((directory, name)) => (format!("{directory}/"), name),
        None => (String::new(), value),
    };
    let place = match directory.as_str() {
        "" => Path::new("."),
        directory => Path::new(directory),
    };
    let all = std::fs::read_dir(place).into_iter().flatten().flatten();
    let found = all.filter_map(|entry| {
        let found = entry.file_name().into_string().ok()?;
        let hidden = found.starts_with('.') && !name.starts_with('.');
        // A comma would end the value.
        if hidden || !found.starts_with(name) || found.contains(',') {
            return None;
        }
        let end = if entry.path().is_dir() { "/" } else { "" };
        Some(format!("{key}={directory}{found}{end}"))
    });
    let mut found: Vec<String> = found.collect();
    found.sort();
    found
}

fn beginning<'a>(typed: &str, all: impl Iterator<Item = &'a str>) -> Vec<String> {
    let all = all.filter(|one| one.starts_with(typed));
    all.map(str::to_owned).collect()
}

fn beginning_with<'a>(key: &str, typed: &str, all: impl Iterator<Item = &'a str>) -> Vec<String> {
    let all = beginning(typed, all).into_iter();
    all.map(|one| format!("{key}={one}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{back_end, device};

    #[test]
    fn lines_go_on_with_kinds_options_values_and_paths() {
        assert_eq!(back_end("pt", false), ["pty"]);
        assert_eq!(back_end("pty,pa", false), ["pty,path="]);
        assert!(back_end("socket,", true).contains(&"socket,id=".to_owned()));
        assert!(!back_end("socket,", false).contains(&"socket,id=".to_owned()));
        let given = back_end("socket,server=on,serv", false);
        assert!(given.is_empty(), "{given:?}");
        assert_eq!(
            back_end("null,x-closed=h", false),
            ["null,x-closed=hold", "null,x-closed=history"]
        );
        assert_eq!(back_end("socket,server=of", false), ["socket,server=off"]);
        assert!(back_end("nosuch,x", false).is_empty());
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("sub")).expect("a directory");
        std::fs::write(dir.path().join("some"), "").expect("a file");
        let dir = dir.path().display();
        assert_eq!(
            back_end(&format!("file,path={dir}/s"), false),
            [
                format!("file,path={dir}/some"),
                format!("file,path={dir}/sub/")
            ]
        );
        assert_eq!(device("ex"), ["exec"]);
        assert_eq!(device("exec,chardev=c,re"), ["exec,chardev=c,restart="]);
        assert_eq!(
            device("exec,restart=o"),
            ["exec,restart=on", "exec,restart=off"]
        );
    }
}
