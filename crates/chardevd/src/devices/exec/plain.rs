//! Commands that need no shell: a program's name and plain words behind it.
//!
//! A shell is a program of its own, and costs as much as the one that it starts. Such a command
//! means the same without it, and where its program is not found, the shell is asked after all, so
//! that it says what it always says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What shells do themselves, or read as their own language, in any of dash, bash, ksh and busybox.
const OF_SHELLS: &[&str] = &[
    ":",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "chdir",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "newgrp",
    "popd",
    "print",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "sleep",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "whence",
    "while",
];

/// The words of `command`, if it means the same to every shell and to the kernel: the first is a
/// program.
pub(super) fn words(command: &str) -> Option<Vec<&str>> {
    // The space and the tab are all that separates words; a line's end would begin another command.
    let mut words: Vec<&str> = command
        .split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .collect();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_/.,:+@%=-".contains(letter);
    if !words.iter().all(|word| word.chars().all(is_plain)) {
        return None;
    }
    let is_said = words.first() == Some(&"exec");
    if is_said {
        words.remove(0);
    }
    let program = *words.first()?;
    let is_name = !program.starts_with(['-', '.']) && !program.contains(['=', '%', '+', '@']);
    let is_path = program.contains('/') && !program.contains('=');
    let is_program = is_path || (is_name && (is_said || !OF_SHELLS.contains(&program)));
    is_program.then_some(words)
}

/// Where `program` may be, as a shell looks for it in `path`; relative places are left to that.
pub(super) fn places(program: &str, path: Option<OsString>) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![PathBuf::from(program)];
    }
    let path = path.unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // The first of several is the one that is meant, so none may be left out.
    if folders.iter().any(|folder| folder.is_relative()) {
        return Vec::new();
    }
    folders
        .iter()
        .map(|folder| folder.join(Path::new(program)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_means_the_same_without_a_shell_goes_without() {
        for (command, expected) in [
            ("cat", Some("cat")),
            (" exec \t cat -u  a=b ", Some("cat -u a=b")),
            (
                "ipmitool -I lanplus -H bmc1.lab sol activate",
                Some("ipmitool -I lanplus -H bmc1.lab sol activate"),
            ),
            ("./run 5", Some("./run 5")),
            ("exec kill -l", Some("kill -l")),
            ("kill -9 1", None),
            ("echo words", None),
            ("exec", None),
            ("", None),
            ("a=b cat", None),
            ("exec -a name cat", None),
            (". file", None),
            (": words", None),
            ("exec exec cat", Some("exec cat")),
            ("cat\nls", None),
            ("cat *", None),
            ("cat ~/x", None),
            ("cat # no", None),
            ("cat; ls", None),
            ("cat $HOME", None),
            ("cat 'a b'", None),
            ("cat a\\ b", None),
            ("cat {a,b}", None),
            ("cat ä", None),
            ("!x", None),
            ("%1", None),
        ] {
            let found = words(command).map(|words| words.join(" "));
            assert_eq!(found.as_deref(), expected, "{command:?}");
        }
    }

    #[test]
    fn a_program_is_looked_for_as_a_shell_does() {
        let path = |text: &str| Some(OsString::from(text));
        let shown = |places: Vec<PathBuf>| format!("{places:?}");
        assert_eq!(shown(places("./x", path("/bin"))), r#"["./x"]"#);
        assert_eq!(shown(places("x", path("/a:/b/"))), r#"["/a/x", "/b/x"]"#);
        for relative in ["/a::/b", "/a:b", ":/a"] {
            assert_eq!(shown(places("x", path(relative))), "[]", "{relative}");
        }
        assert_eq!(shown(places("x", None)), "[]");
    }
}
