//! The boxes of the documents, run as they are printed there: those of each document by one shell,
//! in an empty directory, with nothing of ours around but the programs.

mod document;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ctl_rig::until;
use crate::ended::Ended;
use crate::interop::python;
use document::{Box, fits, read};

/// How long a story may take; only a hang reaches it.
const LIMIT: Duration = Duration::from_secs(80);
/// Begins a line between two boxes.
const MARK: &str = "--- what comes now is of box ";

/// A test for each document with boxes that are run, and the programs that it needs.
macro_rules! stories {
    ($($test:ident: $document:literal, $programs:expr;)*) => {
        const STORIES: &[&str] = &[$($document),*];
        $(
            #[test]
            fn $test() {
                check($document, &$programs);
            }
        )*
    };
}

stories! {
    who_opens_the_repository_sees_what_the_tour_says: "README.md", ["cmp", "seq"];
    who_begins_a_file_sees_what_its_chapter_says: "docs/configuration.md", [];
    who_has_conserver_sees_what_the_chapter_says: "docs/from-conserver.md", [];
    who_has_qemu_sees_what_the_chapter_says: "docs/from-qemu.md", ["socat"];
    who_has_ser2net_sees_what_the_chapter_says: "docs/from-ser2net.md", ["socat"];
    who_has_virtlogd_sees_what_the_chapter_says: "docs/from-virtlogd.md", ["cmp", "seq"];
    a_lab_sees_what_the_story_says: "docs/lab.md", ["socat"];
    a_new_user_sees_what_the_story_says: "docs/new-user.md", ["cmp", "seq"];
    the_owner_of_one_vm_sees_what_the_story_says: "docs/one-vm.md", ["qemu-system-x86_64", "socat"];
    the_author_of_a_tool_sees_what_the_story_says: "docs/tool.md", [];
    the_author_of_a_vmm_sees_what_the_story_says: "docs/vmm.md", [];
}

/// All documents for people, by their place in the checkout.
pub(crate) fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "docs/"] {
        let entries = root().join(folder).read_dir().unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let documents = names.filter(|name| name.ends_with(".md"));
        found.extend(documents.map(|name| format!("{folder}{name}")));
    }
    found.sort();
    found
}

#[test]
fn every_box_of_every_document_is_run_or_says_why_not() {
    let all = documents();
    assert!(all.len() > 15, "{all:?}");
    let mut with_boxes = Vec::new();
    for name in all {
        let text = fs::read_to_string(root().join(&name)).unwrap();
        let boxes = read(&text).unwrap_or_else(|why| panic!("{name}: {why}"));
        if !boxes.is_empty() {
            with_boxes.push(name);
        }
    }
    let mut stories = STORIES.to_vec();
    stories.sort_unstable();
    assert_eq!(with_boxes, stories, "a document with boxes and no test");
}

#[test]
fn what_would_be_neither_run_nor_compared_is_found() {
    for (wrong, why) in [
        ("# A\n```sh\nls\n```\n", "compared with nothing"),
        ("# A\n```sh\nls\n```\n```sh\nls\n```\n", "line 5: "),
        ("# A\n```sh\nls\n```\n## B\n", "line 5: "),
        ("# A\n```sh\nls\n```\n```text\n …\n…\n```\n", "anything"),
        ("# A\n```text\nx\n```\n", "no box"),
        ("# A\n```python\nx\n```\n", "'python' is no kind"),
        ("- A\n  ```sh\n  ls\n  ```\n", "margin"),
        ("<!-- not run: -->\n```sh\nls\n```\n", "why"),
        ("<!-- not run: x -->\n```sh\nls\n```\n", "why"),
        (
            "<!-- not run: it waits -->\n```toml\nx\n```\n",
            "nobody would",
        ),
        (
            "<!-- not run: it waits -->\nwords\n```sh\nls\n```\n",
            "compared with nothing",
        ),
    ] {
        let found = read(wrong).unwrap_err();
        assert!(found.contains(why), "{wrong}: {found}");
    }
    let excused = "<!-- not run: it waits -->\n\n```sh\nls\n```\n";
    assert!(read(excused).unwrap().is_empty());
}

#[test]
fn lines_are_compared_with_what_differs_left_out() {
    for (said, printed, expected) in [
        ("a b", "a b\n", true),
        ("a b", "a  b\n", false),
        ("a …", "a b\n", true),
        ("a … c", "a b c d\n", false),
        ("… b … d", "a b c d\n", true),
        ("a", "a\nb\n", false),
        ("a\nb", "a\n", false),
        ("a\n…\nc", "a\nc\n", true),
        ("a\n…\nc", "a\nb\nb\nc\n", true),
        ("a\n…\nc", "a\nb\nb\n", false),
        ("…\nb", "a\nb\nc\n", false),
    ] {
        let lines: Vec<_> = said.lines().map(str::to_owned).collect();
        let printed: Vec<_> = printed.lines().collect();
        assert_eq!(fits(&lines, &printed), expected, "{said:?} {printed:?}");
    }
}

/// Tables of commands are not run, but what they name is there.
#[test]
fn every_command_that_a_document_names_is_one() {
    let command = chardevd::ctl::command();
    let known = |word: &str| word == "help" || command.find_subcommand(word).is_some();
    let mut named = 0;
    for name in documents() {
        let text = fs::read_to_string(root().join(&name)).unwrap();
        for after in text.split("`chardevctl ").skip(1) {
            let end = after.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-');
            let word = &after[..end.unwrap_or(after.len())];
            if !word.is_empty() && !word.starts_with('-') {
                assert!(known(word), "{name}: chardevctl {word}");
                named += 1;
            }
        }
    }
    assert!(named > 60, "only {named} were found");
    assert!(!known("atach"));
}

#[test]
fn the_recorded_tour_can_be_played() {
    let recording = root().join("docs/tour.cast");
    let played = Command::new(env!("CARGO_BIN_EXE_chardevctl"))
        .args(["play", "--speed", "10000"])
        .arg(recording)
        .output()
        .unwrap();
    assert!(played.status.success(), "{played:?}");
    let shown = String::from_utf8_lossy(&played.stdout);
    // A line of its own, unlike the one that typed it.
    assert!(shown.contains("\rnothing is missing\r\n"), "{shown}");
}

/// Runs the boxes of one document, and compares what each of them prints.
fn check(document: &str, programs: &[&str]) {
    for program in programs {
        let found = Command::new("which").arg(program).output().unwrap();
        assert!(found.status.success(), "{program} is missing: run ./setup");
    }
    let boxes = read(&fs::read_to_string(root().join(document)).unwrap()).unwrap();
    let place = Place::new();
    let (printed, success) = place.run(&boxes);
    let mut by_box = printed.split(MARK).skip(1);
    for (number, one) in boxes.iter().enumerate() {
        let printed = by_box.next().unwrap_or_default();
        let printed = printed.strip_prefix(&format!("{number}\n"));
        let printed = printed.map(|text| text.strip_suffix('\n').unwrap_or(text));
        let lines: Vec<_> = printed.unwrap_or_default().lines().collect();
        // Where the shell has ended in a box, that is told with all that it printed.
        let last = !success && number + 1 == printed_boxes(&place);
        assert!(
            fits(&one.printed, &lines) && !last,
            "{document}:{}: the box prints\n{}\n\nand not\n{}\n",
            one.line,
            lines.join("\n"),
            one.printed.join("\n"),
        );
    }
    assert!(success, "{document}: {printed}");
    until("all that the story started has ended", || {
        place.processes().is_empty()
    });
}

/// How many boxes have been begun.
fn printed_boxes(place: &Place) -> usize {
    let printed = fs::read(place.output()).unwrap();
    String::from_utf8_lossy(&printed).matches(MARK).count()
}

/// A home with an empty directory, for one reader.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { dir };
        for name in ["bin", "home", "run", "tmp", "work"] {
            fs::create_dir(place.path(name)).unwrap();
            fs::set_permissions(place.path(name), Permissions::from_mode(0o700)).unwrap();
        }
        for program in [
            env!("CARGO_BIN_EXE_chardevd"),
            env!("CARGO_BIN_EXE_chardevctl"),
        ] {
            let name = Path::new(program).file_name().unwrap();
            symlink(program, place.path("bin").join(name)).unwrap();
        }
        let cargo = place.path("bin/cargo");
        fs::write(&cargo, cargo_script()).unwrap();
        fs::set_permissions(&cargo, Permissions::from_mode(0o755)).unwrap();
        symlink(root(), place.path("home/chardev")).unwrap();
        let python = python();
        let venv = python.parent().and_then(Path::parent).unwrap();
        symlink(venv.canonicalize().unwrap(), place.path("home/venv")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn output(&self) -> PathBuf {
        self.path("output")
    }

    /// What the shell prints, and whether it came to its end.
    fn run(&self, boxes: &[Box]) -> (String, bool) {
        let boxes = boxes.iter().enumerate();
        let script: String = boxes
            .map(|(number, one)| format!("printf '%s\\n' '{MARK}{number}'\n{}echo\n", one.commands))
            .collect();
        fs::write(self.path("script"), script).unwrap();
        let output = File::create(self.output()).unwrap();
        let home = self.path("home");
        let shell = Command::new("bash")
            .args(["-euo", "pipefail"])
            .arg(self.path("script"))
            .env_clear()
            .env("HOME", &home)
            .env("SHELL", "/bin/sh")
            .env("LC_ALL", "C.UTF-8")
            .env("TMPDIR", self.path("tmp"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.path("bin").display()),
            )
            .current_dir(self.path("work"))
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .spawn()
            .unwrap();
        let mut shell = Ended(shell);
        let began = Instant::now();
        let mut status = None;
        while status.is_none() && began.elapsed() < LIMIT {
            status = shell.try_wait().unwrap();
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let printed = fs::read(self.output()).unwrap();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        match status {
            Some(status) => (printed, status.success()),
            None => (format!("{printed}\n(it hangs)"), false),
        }
    }

    /// What has been started here and has not ended.
    fn processes(&self) -> Vec<Pid> {
        let home = format!("HOME={}", self.path("home").display());
        let own = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == home.as_bytes())
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        all.filter(own).filter_map(Pid::from_raw).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for process in self.processes() {
            // It may have ended by itself.
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

/// A `cargo` that runs the examples which were built with the tests, and builds nothing.
fn cargo_script() -> String {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    format!(
        r#"#!/bin/sh
[ "$1 $2 $3 $5 $7" = 'run --quiet --manifest-path -p --example' ] || {{ echo "no such cargo: $*"; exit 1; }}
[ -f "$4" ] || {{ echo "there is no $4"; exit 1; }}
program={}/examples/$8
[ -x "$program" ] || {{ echo "$program is missing: cargo build -p $6 --example $8 builds it"; exit 1; }}
shift 8
[ "${{1-}}" != -- ] || shift
exec "$program" "$@"
"#,
        built.display()
    )
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
