//! Completion in a shell: of ids, which the daemon is asked for, and of lines that say what a back
//! end or a device is to be.

mod line;
mod script;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use chardev_qapi::{Json, Object};
use clap::CommandFactory;
use clap_complete::CompleteEnv;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};

use super::connect::{Address, Target};
use super::fleet;
use super::proof::Proof;
use super::waiting::Patience;
pub(super) use script::{Args, run};

/// Set by the scripts: the shell that asks.
const ASKS: &str = "CHARDEVCTL_COMPLETE";
/// How long a daemon, or the servers of a fleet, may take to say what there is.
const LIMIT: Duration = Duration::from_secs(1);

/// Answers a shell and ends, if one asks.
pub(super) fn answer<C: CommandFactory>() {
    CompleteEnv::with_factory(C::command).var(ASKS).complete();
}

/// The ids of chardevs, or where the line is for a fleet, its consoles.
pub(super) fn ids() -> ArgValueCandidates {
    candidates(|| {
        let words = words(std::env::args_os());
        let fleet = fleet::Options::of_line(|name| option(&words, name));
        fleet.names(LIMIT).unwrap_or_else(chardevs)
    })
}

/// What can be played: files, or where the line is for a fleet, its consoles.
pub(super) fn recordings() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let words = words(std::env::args_os());
        let fleet = fleet::Options::of_line(|name| option(&words, name));
        let Some(names) = fleet.names(LIMIT) else {
            return PathCompleter::any().complete(typed);
        };
        let typed = typed.to_string_lossy();
        let names = names.into_iter();
        let names = names.filter(|name| name.starts_with(&*typed));
        names.map(CompletionCandidate::new).collect()
    })
}

/// The hosts of the fleet that the line is for.
pub(super) fn hosts() -> ArgValueCandidates {
    candidates(|| {
        let words = words(std::env::args_os());
        fleet::Options::of_line(|name| option(&words, name)).hosts(LIMIT)
    })
}

/// The ids of chardevs that are no monitor's, and no part of a console.
fn chardevs() -> Vec<String> {
    let monitors = named("x-query-monitors", "label");
    let consoles = asked("x-query-consoles");
    let parts = consoles
        .iter()
        .filter_map(|one| one.get("parts")?.as_array());
    let parts: Vec<&str> = parts.flatten().filter_map(Json::as_str).collect();
    let all = named("query-chardev", "label").into_iter();
    all.filter(|id| !monitors.contains(id) && !parts.contains(&id.as_str()))
        .collect()
}

/// The ids of devices.
pub(super) fn devices() -> ArgValueCandidates {
    candidates(|| named("x-query-devices", "id"))
}

/// The names of tokens.
pub(super) fn tokens() -> ArgValueCandidates {
    candidates(|| named("x-query-tokens", "name"))
}

/// A back end, without an id or with one.
pub(super) fn back_end(with_id: bool) -> ArgValueCompleter {
    completer(move |typed| line::back_end(typed, with_id))
}

/// A device.
pub(super) fn device() -> ArgValueCompleter {
    completer(line::device)
}

/// The names of QMP's commands.
pub(super) fn commands() -> ArgValueCandidates {
    candidates(|| named("query-commands", "name"))
}

fn candidates(all: impl Fn() -> Vec<String> + Send + Sync + 'static) -> ArgValueCandidates {
    ArgValueCandidates::new(move || all().into_iter().map(CompletionCandidate::new).collect())
}

fn completer(all: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        let all = typed.to_str().map(&all).unwrap_or_default();
        all.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// What the objects that a command answers have under `member`.
fn named(command: &str, member: &str) -> Vec<String> {
    let text = |one: &Json| Some(one.get(member)?.as_str()?.to_owned());
    asked(command).iter().filter_map(text).collect()
}

/// The objects that a command answers; none if nobody answers.
fn asked(command: &str) -> Vec<Json> {
    let target = target(std::env::args_os());
    let answer = target.connect().ok().and_then(|mut monitor| {
        let answer = monitor.execute(command, Object::new());
        answer.ok()
    });
    let all = answer.as_ref().and_then(Json::as_array);
    all.unwrap_or_default().to_vec()
}

fn words(words: impl Iterator<Item = OsString>) -> Vec<String> {
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// The value of an option among the words of a line.
fn option(words: &[String], name: &str) -> Option<String> {
    let joined = format!("{name}=");
    words.iter().enumerate().find_map(|(at, word)| {
        let joined = word.strip_prefix(&joined).map(str::to_owned);
        joined.or_else(|| (word == name).then(|| words.get(at + 1).cloned()).flatten())
    })
}

/// The monitor that the line which is being completed would be for.
fn target(words: impl Iterator<Item = OsString>) -> Target {
    let words = self::words(words);
    let option = |name| option(&words, name);
    let socket = option("--socket").map(PathBuf::from);
    let socket = socket.or_else(|| std::env::var_os("CHARDEVD_SOCKET").map(PathBuf::from));
    let address = match (option("--host"), socket) {
        (Some(host), _) => Address::Tcp(host),
        (None, Some(path)) => Address::Unix(path),
        (None, None) => Address::usual(),
    };
    let file = option("--token-file").map(PathBuf::from);
    let file = file.or_else(|| std::env::var_os("CHARDEVD_TOKEN_FILE").map(PathBuf::from));
    let proof = Proof::find(file.as_deref());
    let tls = option("--tls-dir").map(PathBuf::from);
    Target {
        address,
        patience: Patience::silent(LIMIT),
        proof: proof.ok().flatten(),
        tls: tls.or_else(|| std::env::var_os("CHARDEVD_TLS_DIR").map(PathBuf::from)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, target};

    #[test]
    fn the_daemon_is_the_one_that_the_line_names() {
        let address = |line: &str| target(line.split(' ').map(Into::into)).address;
        for line in ["x -- x --socket /a/b list", "x -- x --socket=/a/b attach c"] {
            assert_eq!(address(line), Address::Unix("/a/b".into()));
        }
        assert_eq!(address("x -- x --host h:1"), Address::Tcp("h:1".to_owned()));
    }
}
