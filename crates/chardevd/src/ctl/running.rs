//! Daemons that run although nobody serves where we have looked, and how to reach them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chardev::text::shown;

/// The longest command line that is looked at.
const LONGEST: usize = 64 << 10;

/// What to do where no monitor is.
pub(super) fn remedy() -> String {
    match daemons().first() {
        None => {
            "start the daemon with 'chardevd', or name its monitor with --socket PATH".to_owned()
        }
        Some((pid, arguments)) => told(*pid, arguments, &directory(*pid)),
    }
}

/// Where a daemon was started. In the background it has gone to `/`; a shell has left word of where
/// it came from.
fn directory(pid: u32) -> PathBuf {
    let now = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    if now != Path::new("/") {
        return now;
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    let from = variables.find_map(|variable| variable.strip_prefix(b"PWD="));
    from.map_or(now, |from| PathBuf::from(OsStr::from_bytes(from)))
}

/// What to do about a daemon that runs with these arguments.
fn told(pid: u32, arguments: &[String], directory: &Path) -> String {
    match monitor(arguments, directory) {
        Some(monitor) => {
            format!(
                "chardevd (pid {pid}) serves elsewhere: chardevctl {}",
                shown(monitor)
            )
        }
        None => format!(
            "chardevd (pid {pid}) has no monitor here: start it without --no-default-monitor, or with --qmp unix:PATH,server=on,wait=off and name that with --socket PATH"
        ),
    }
}

/// The daemons of this user, with their arguments.
fn daemons() -> Vec<(u32, Vec<String>)> {
    let me = rustix::process::geteuid().as_raw();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = all.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        if entry.metadata().ok()?.uid() != me {
            return None;
        }
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        if name.trim_end() != "chardevd" {
            return None;
        }
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = &line[..line.len().min(LONGEST)];
        let words = line.split(|byte| *byte == 0).skip(1);
        let words = words.map(|word| String::from_utf8_lossy(word).into_owned());
        Some((pid, words.collect()))
    });
    found.collect()
}

/// The arguments for us that reach the monitor which the arguments of a daemon in `directory` name.
fn monitor(arguments: &[String], directory: &Path) -> Option<String> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let name = word.trim_start_matches('-');
        let value = match name.split_once('=') {
            Some(("qmp", value)) => Some(value),
            _ if name == "qmp" => words.next().map(String::as_str),
            _ => None,
        };
        let Some(value) = value else { continue };
        let place = value.split(',').next().unwrap_or(value);
        if let Some(path) = place.strip_prefix("unix:") {
            return Some(format!("--socket {}", directory.join(path).display()));
        }
        if let Some(address) = place.strip_prefix("tcp:") {
            return Some(format!("--host {address}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Path, monitor, told};

    #[test]
    fn a_monitor_is_found_in_the_arguments_of_a_daemon() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (line, expected) in [
            (
                "-chardev null,id=a -qmp unix:/a/q,server=on,wait=off",
                Some("--socket /a/q"),
            ),
            ("-qmp unix:q,server=on", Some("--socket /there/q")),
            (
                "--qmp=tcp:localhost:4444,server=on",
                Some("--host localhost:4444"),
            ),
            ("-qmp stdio", None),
            ("--chardev null,id=qmp", None),
        ] {
            assert_eq!(
                monitor(&words(line), Path::new("/there")).as_deref(),
                expected,
                "{line}"
            );
        }
        let said = told(7, &words("-qmp unix:/a/q"), Path::new("/"));
        assert_eq!(
            said,
            "chardevd (pid 7) serves elsewhere: chardevctl --socket /a/q"
        );
        assert!(told(7, &[], Path::new("/")).contains("--no-default-monitor"));
    }
}
