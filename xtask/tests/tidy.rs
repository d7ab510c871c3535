//! The rules of CONTRIBUTING.md that a machine can check. A failure lists every offender.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crate roots that may hold `unsafe` code, each with its reason.
const UNSAFE_ALLOWED: [(&str, &str); 5] = [
    (
        "crates/chardev-vhost-user/src/lib.rs",
        "guard.rs: a handler for SIGBUS that maps empty memory over what a VMM took away; denied elsewhere",
    ),
    (
        "crates/chardev/src/lib.rs",
        "sys.rs: one ioctl, and registering descriptors with the runtime; virtio_console/chains.rs: \
         buffers in guest memory; denied elsewhere",
    ),
    (
        "crates/chardev-costs/src/main.rs",
        "counted.rs: an allocator that counts and passes on to the system's",
    ),
    (
        "crates/chardevd/src/lib.rs",
        "edge.rs: inherited descriptors, and the moment between fork and exec; denied elsewhere",
    ),
    (
        "crates/microvm/src/lib.rs",
        "memory.rs: RAM is handed to KVM by address; denied elsewhere",
    ),
];

/// What a crate may depend on inside this workspace. `None` stands for everything but itself.
const MAY_DEPEND_ON: [(&str, Option<&[&str]>); 16] = [
    ("chardev-core", Some(&[])),
    ("chardev-qapi", Some(&["chardev-core"])),
    ("chardev-qmp", Some(&["chardev-core", "chardev-qapi"])),
    (
        "chardev",
        Some(&[
            "chardev-core",
            "chardev-qapi",
            "chardev-qmp",
            "chardev-screen",
        ]),
    ),
    (
        "chardev-monitor",
        Some(&["chardev", "chardev-qapi", "chardev-qmp"]),
    ),
    ("chardev-screen", Some(&[])),
    (
        "chardev-web",
        Some(&[
            "chardev",
            "chardev-logs",
            "chardev-monitor",
            "chardev-qapi",
            "chardev-qmp",
        ]),
    ),
    (
        "chardev-fleet",
        Some(&["chardev", "chardev-load", "chardev-logs", "chardev-qapi"]),
    ),
    ("chardev-logs", Some(&["chardev-core"])),
    (
        "chardev-costs",
        Some(&["chardev", "chardev-core", "chardev-qapi", "chardev-screen"]),
    ),
    ("chardev-load", Some(&["chardev-qapi", "chardev-qmp"])),
    ("chardev-vfio-user", Some(&["chardev"])),
    ("chardev-vhost-user", Some(&["chardev-core", "chardev"])),
    (
        "chardevd",
        Some(&[
            "chardev-core",
            "chardev-qapi",
            "chardev-qmp",
            "chardev",
            "chardev-monitor",
            "chardev-vfio-user",
            "chardev-vhost-user",
            "chardev-fleet",
            "chardev-load",
            "chardev-logs",
            "chardev-web",
        ]),
    ),
    (
        "microvm",
        Some(&[
            "chardev",
            "chardev-load",
            "chardev-monitor",
            "chardevd",
            "chardev-qapi",
            "chardev-qmp",
        ]),
    ),
    ("xtask", None),
];

#[test]
fn no_source_file_is_longer_than_600_lines() {
    let long = sources().into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > 600).then(|| format!("{}: {lines} lines", file.name))
    });
    check("split these files", long);
}

#[test]
fn no_file_of_the_web_page_is_longer_than_250_lines() {
    let ends = [".js", ".mjs", ".css", ".html"];
    let page = tree().into_iter().filter(|file| {
        file.name.starts_with("crates/chardev-web/page/")
            && ends.iter().any(|end| file.name.ends_with(end))
    });
    let page: Vec<_> = page.collect();
    assert!(!page.is_empty(), "no files of the web page");
    let long = page.into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > 250).then(|| format!("{}: {lines} lines", file.name))
    });
    check("split these files", long);
}

#[test]
fn no_comment_is_wider_than_100_columns() {
    let wide = sources().into_iter().flat_map(|file| {
        file.lines_with(|line| line.trim_start().starts_with("//") && line.chars().count() > 100)
    });
    check(
        "wrap these; code is for cargo fmt, and texts may be as long as they are",
        wide,
    );
}

/// Functions that may be longer, each with its reason.
const LONG_FUNCTIONS: [(&str, &str); 1] = [(
    "try_output",
    "names all commands, so that the compiler finds one that nobody has",
)];

#[test]
fn no_function_is_longer_than_70_lines() {
    let product = sources().into_iter();
    let product = product.filter(|file| file.name.contains("/src/"));
    let long = product.flat_map(|file| {
        let functions = file.functions().into_iter();
        let long = functions.filter(|(name, _, lines)| {
            *lines > 70 && !LONG_FUNCTIONS.iter().any(|(allowed, _)| allowed == name)
        });
        let named = long.map(|(name, line, lines)| {
            format!("{}:{}: {name} has {lines} lines", file.name, line + 1)
        });
        named.collect::<Vec<_>>()
    });
    check("say it in several functions", long);
}

/// Names that say nothing, so that a crate with two of one means different things by it.
const VAGUE: [&str; 5] = ["Shared", "State", "Inner", "Data", "News"];

#[test]
fn no_vague_name_stands_for_two_types_of_a_crate() {
    let mut found: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
    for file in sources() {
        let Some((package, _)) = file.name.split_once("/src/") else {
            continue;
        };
        for name in VAGUE {
            let defines = |line: &&str| {
                let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
                let kind = words
                    .by_ref()
                    .find(|word| ["struct", "enum"].contains(word));
                kind.is_some() && words.next() == Some(name) && !line.trim().starts_with("//")
            };
            let count = file.text.lines().filter(defines).count();
            let named = found.entry((package.to_owned(), name)).or_default();
            named.extend(std::iter::repeat_n(file.name.clone(), count));
        }
    }
    let twice = found.into_iter().filter(|(_, files)| files.len() > 1);
    let named = twice.map(|((_, name), files)| format!("{name}: {}", files.join(", ")));
    check("give each a name of its own", named);
}

#[test]
fn every_dependency_is_used() {
    let all = sources();
    let unused = packages().into_iter().flat_map(|package| {
        let manifest = text(&package["manifest_path"]).to_owned();
        let folder = Path::new(&manifest).parent().unwrap().to_owned();
        let folder = folder.strip_prefix(root()).unwrap().to_owned();
        let own = all
            .iter()
            .filter(|file| Path::new(&file.name).starts_with(&folder));
        // Fuzz bodies are tests of the crates that they are about.
        let bodies = all
            .iter()
            .filter(|file| file.name.starts_with("fuzz/bodies/"));
        let own: Vec<_> = own.chain(bodies).collect();
        let names = list(&package["dependencies"])
            .iter()
            .filter_map(|dependency| {
                let name = text(&dependency["rename"]);
                let name = if name.is_empty() {
                    text(&dependency["name"])
                } else {
                    name
                };
                // With its own features, for the tests.
                (name != text(&package["name"])).then(|| name.replace('-', "_"))
            });
        let is_named = |name: &String| own.iter().any(|file| file.text.contains(name.as_str()));
        let unused = names.filter(|name| !is_named(name));
        unused
            .map(|name| format!("{manifest}: {name}"))
            .collect::<Vec<_>>()
    });
    check("take these dependencies out", unused);
}

#[test]
fn the_small_vmm_is_small() {
    let own = sources().into_iter();
    let own = own.filter(|file| file.name.starts_with("crates/microvm/src/"));
    let lines: usize = own
        .map(|file| file.first_test_line().min(file.text.lines().count()))
        .sum();
    check(
        "keep crates/microvm/src below 1,500 lines: it is what VMM authors read",
        (lines == 0 || lines >= 1500).then(|| format!("{lines} lines")),
    );
}

#[test]
fn the_architecture_is_read_in_one_sitting() {
    let long = tree()
        .into_iter()
        .filter(|file| file.name == "ARCHITECTURE.md");
    let long = long
        .map(|file| file.text.lines().count())
        .filter(|lines| *lines > 250);
    check(
        "keep ARCHITECTURE.md within 250 lines",
        long.map(|lines| format!("{lines} lines")),
    );
}

#[test]
fn every_source_file_says_first_what_it_is_for() {
    let silent = sources()
        .into_iter()
        .filter(|file| !file.text.starts_with("//!"));
    check(
        "start these files with a line of //!",
        silent.map(|file| file.name),
    );
}

#[test]
fn dependencies_point_inwards() {
    let mut wrong = Vec::new();
    let packages = packages();
    let names: Vec<_> = packages
        .iter()
        .map(|package| text(&package["name"]))
        .collect();
    for package in &packages {
        let name = text(&package["name"]);
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!(
                "{name}: say in MAY_DEPEND_ON what it may depend on"
            ));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let target = text(&dependency["name"]);
            let inside = names.contains(&target) && target != name;
            if inside && allowed.is_some_and(|allowed| !allowed.contains(&target)) {
                wrong.push(format!("{name} must not depend on {target}"));
            }
        }
    }
    check("these dependencies point the wrong way", wrong);
}

#[test]
fn front_ends_and_back_ends_do_not_know_each_other() {
    let sides = [
        ("crates/chardev/src/front", "back"),
        ("crates/chardev/src/back", "front"),
    ];
    let mut wrong = Vec::new();
    for file in sources() {
        for (folder, other) in sides {
            let side = file.name.strip_prefix(folder);
            if side.is_some_and(|rest| rest.starts_with('/') || rest == ".rs") {
                wrong.extend(file.lines_with(|line| names_module(line, other)));
            }
        }
    }
    check("front/ and back/ meet only in the core", wrong);
}

#[test]
fn unsafe_code_is_forbidden_in_every_crate() {
    let root = root();
    let mut wrong = Vec::new();
    for package in packages() {
        for target in list(&package["targets"]) {
            let path = PathBuf::from(text(&target["src_path"]));
            let name = path
                .strip_prefix(&root)
                .unwrap_or(&path)
                .display()
                .to_string();
            let is_crate = list(&target["kind"])
                .iter()
                .any(|kind| *kind == "lib" || *kind == "bin");
            let excused = UNSAFE_ALLOWED.iter().any(|(file, _reason)| *file == name);
            let source = fs::read_to_string(&path).unwrap_or_default();
            if is_crate && !excused && !source.contains("#![forbid(unsafe_code)]") {
                wrong.push(name);
            }
        }
    }
    check(
        "add #![forbid(unsafe_code)], or a reason to UNSAFE_ALLOWED",
        wrong,
    );
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    let words = [
        concat!("todo", "!"),
        concat!("unimplemented", "!"),
        concat!("#[", "ignore"),
    ];
    let left = sources()
        .into_iter()
        .flat_map(|file| file.lines_with(|line| words.iter().any(|word| line.contains(word))));
    check("finish these, or take them out", left);
}

#[test]
fn every_path_of_a_module_leads_somewhere() {
    // The fuzz targets are built by cargo-fuzz alone, so a compiler does not see each change.
    let lost = sources().into_iter().flat_map(|file| {
        let folder = root().join(&file.name);
        let folder = folder.parent().unwrap_or(&folder).to_path_buf();
        let paths = file.text.lines().filter_map(|line| {
            let path = line.trim().strip_prefix("#[path = \"")?;
            path.strip_suffix("\"]")
        });
        let lost = paths.filter(|path| !folder.join(path).is_file());
        let lost: Vec<_> = lost.map(|path| format!("{}: {path}", file.name)).collect();
        lost
    });
    check("name the file that it is in:", lost);
}

#[test]
fn no_test_sleeps() {
    let words = [concat!("thread::", "sleep"), concat!("sleep", "(Duration")];
    let asleep = sources().into_iter().flat_map(|file| {
        let start = file.first_test_line();
        let sleeps = |line: &str| words.iter().any(|word| line.contains(word));
        let mut found = file.lines_from(start, sleeps);
        // What measures may let time pass, which then has a name that says what for.
        if file.name.starts_with("xtask/src/") || file.name.starts_with("tests/") {
            found.extend(file.lines_with(|line| line.contains(words[1])));
        }
        found
    });
    check("wait for the condition with a deadline instead", asleep);
}

#[test]
fn no_file_knows_a_developers_machine() {
    let words = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let private = tree()
        .into_iter()
        .flat_map(|file| file.lines_with(|line| words.iter().any(|word| line.contains(word))));
    check("these paths exist on one machine only", private);
}

#[test]
fn no_file_names_the_host_of_a_registry() {
    let hosts = [
        concat!("debian", ".org"),
        concat!("ubuntu", ".com"),
        concat!("pypi", ".org"),
        concat!("pythonhosted", ".org"),
        concat!("crates", ".io"),
        concat!("rust-lang", ".org"),
        concat!("npmjs", ".org"),
        concat!("golang", ".org"),
        concat!("docker", ".io"),
        concat!("ghcr", ".io"),
    ];
    let named = tree()
        .into_iter()
        // What cargo writes there is its own.
        .filter(|file| !file.name.ends_with("Cargo.lock"))
        .flat_map(|file| file.lines_with(|line| hosts.iter().any(|host| line.contains(host))));
    check(
        "take it from the machine's own configuration instead",
        named,
    );
}

/// What may stand before `fn`.
const MODIFIERS: [&str; 9] = [
    "const", "async", "unsafe", "extern", "\"C\"", "in", "crate)", "super)", "self)",
];

/// A file of the checkout; its name is relative to the root.
struct File {
    name: String,
    text: String,
}

impl File {
    fn lines_with(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        self.lines_from(0, wanted)
    }

    fn lines_from(&self, start: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = self.text.lines().enumerate().skip(start);
        let found = lines.filter(|(_, line)| wanted(line));
        found
            .map(|(index, line)| format!("{}:{}: {}", self.name, index + 1, line.trim()))
            .collect()
    }

    /// Its functions: name, first line, number of lines. The format has the end of each at the
    /// indentation of its beginning.
    fn functions(&self) -> Vec<(String, usize, usize)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut found = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let Some((before, after)) = code.split_once("fn ") else {
                continue;
            };
            let is_item = before
                .split_whitespace()
                .all(|word| word.starts_with("pub") || MODIFIERS.contains(&word));
            let name = after
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next();
            let name = name.unwrap_or_default();
            if !is_item || name.is_empty() || line.trim_end().ends_with([';', '}']) {
                continue;
            }
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            let rest = lines[at..].iter().position(|other| **other == end);
            found.push((name.to_owned(), at, rest.map_or(0, |rest| rest + 1)));
        }
        found
    }

    /// Where the tests of this file begin: at once in a test crate, else at the first test module.
    fn first_test_line(&self) -> usize {
        if self.name.contains("/tests/") || self.name.ends_with("/tests.rs") {
            return 0;
        }
        let tests = self
            .text
            .lines()
            .position(|line| line.contains("#[cfg(test)]"));
        tests.unwrap_or(usize::MAX)
    }
}

fn sources() -> Vec<File> {
    let files: Vec<_> = tree()
        .into_iter()
        .filter(|file| file.name.ends_with(".rs"))
        .collect();
    assert!(
        !files.is_empty(),
        "no source files below {}",
        root().display()
    );
    files
}

/// Every text file of the checkout that is ours: not what was built, not what git keeps.
fn tree() -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in folder
            .read_dir()
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        {
            let path = entry
                .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
                .path();
            let name = path
                .strip_prefix(&root)
                .unwrap_or(&path)
                .display()
                .to_string();
            let skipped = [
                "target",
                ".git",
                "Cargo.lock",
                "fuzz/corpus",
                "fuzz/found",
                "fuzz/artifacts",
                "fuzz/target",
            ];
            if skipped.contains(&name.as_str())
                || name.ends_with("__pycache__")
                || name.ends_with("node_modules")
            {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                files.push(File { name, text });
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// Whether the line names the module itself, not a word that merely ends like it.
fn names_module(line: &str, module: &str) -> bool {
    let path = format!("{module}::");
    line.match_indices(&path).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("cargo runs, because it built this test");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    list(&metadata["packages"]).to_vec()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

fn check(remedy: &str, offenders: impl IntoIterator<Item = String>) {
    let offenders: Vec<_> = offenders.into_iter().collect();
    assert!(
        offenders.is_empty(),
        "{remedy}:\n  {}",
        offenders.join("\n  ")
    );
}
