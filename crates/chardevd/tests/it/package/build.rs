//! A package of the binaries under test, made by dpkg-deb of the same list as cargo-deb has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use chardev_qapi::Json;

use super::root;
use crate::ctl_rig::{chardevctl, text};
use crate::man;

/// Makes a package in `dir`.
pub(super) fn package(dir: &Path, version: &str) -> PathBuf {
    let deb = deb();
    let (made, tree) = (dir.join("made"), dir.join(version));
    make(&made);
    for asset in list(&deb, "assets") {
        let [from, to, mode] = [0, 1, 2].map(|at| words(asset)[at].clone());
        for file in sources(&from, &made) {
            let mut target = tree.join(&to);
            if to.ends_with('/') {
                target = target.join(file.file_name().unwrap());
            }
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(&file, &target).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mode = u32::from_str_radix(&mode, 8).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
            if to.starts_with("usr/bin") {
                run(Command::new("strip").arg(&target));
            }
            if to.starts_with("usr/share/man") {
                run(Command::new("gzip").args(["-9n"]).arg(&target));
            }
        }
    }
    let doc = tree.join("usr/share/doc/chardevd/changelog.Debian");
    fs::copy(root().join("packaging/debian/changelog"), &doc).unwrap();
    run(Command::new("gzip").args(["-9n"]).arg(&doc));
    control(&deb, &tree, version);
    let package = dir.join(format!("chardevd_{version}.deb"));
    run(Command::new("dpkg-deb")
        .args(["--build", "--root-owner-group", "-Zgzip", "-z1"])
        .args([&tree, &package]));
    package
}

/// What is generated: manual pages, and the scripts of shells.
fn make(dir: &Path) {
    fs::create_dir_all(dir.join("man")).unwrap();
    fs::create_dir_all(dir.join("completions")).unwrap();
    man::write(&dir.join("man"));
    for shell in ["bash", "zsh", "fish"] {
        let script = chardevctl().args(["completions", shell]).output().unwrap();
        assert!(script.status.success(), "{}", text(&script.stderr));
        let file = dir.join(format!("completions/chardevctl.{shell}"));
        fs::write(file, script.stdout).unwrap();
    }
}

/// The files that an asset names.
fn sources(from: &str, made: &Path) -> Vec<PathBuf> {
    if let Some(program) = from.strip_prefix("target/release/") {
        let programs = Path::new(env!("CARGO_BIN_EXE_chardevd")).parent();
        return vec![programs.unwrap().join(program)];
    }
    let path = match from.strip_prefix("../../target/package/") {
        Some(generated) => made.join(generated),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(from),
    };
    let name = path.file_name().unwrap().to_str().unwrap();
    let Some(end) = name.strip_prefix('*') else {
        return vec![path];
    };
    let entries = path.parent().unwrap().read_dir().unwrap();
    let all = entries.map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_str().unwrap().ends_with(end))
        .collect()
}

fn control(deb: &Json, tree: &Path, version: &str) {
    let dir = tree.join("DEBIAN");
    fs::create_dir(&dir).unwrap();
    let word = |name: &str| deb.get(name).and_then(Json::as_str).unwrap().to_owned();
    let depends = word("depends").replace("$auto", "libc6, libgcc-s1");
    let description = word("extended-description").replace('\n', "\n ");
    let control = format!(
        "Package: chardevd\nVersion: {version}\nArchitecture: amd64\nMaintainer: {}\n\
         Section: {}\nPriority: {}\nDepends: {depends}\n\
         Description: daemon that owns consoles, and its client\n {description}\n",
        word("maintainer"),
        word("section"),
        word("priority"),
    );
    fs::write(dir.join("control"), control).unwrap();
    let conf = words(deb.get("conf-files").unwrap()).join("\n");
    fs::write(dir.join("conffiles"), format!("{conf}\n")).unwrap();
    for script in ["postinst", "prerm", "postrm"] {
        fs::copy(
            root().join("packaging/debian").join(script),
            dir.join(script),
        )
        .unwrap();
    }
}

/// `[package.metadata.deb]`.
fn deb() -> Json {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata = Json::parse(&text(&output.stdout)).expect("JSON");
    let mut packages = list(&metadata, "packages").iter();
    let is_ours = |it: &&Json| it.get("name").and_then(Json::as_str) == Some("chardevd");
    let ours = packages.find(is_ours).and_then(|it| it.get("metadata"));
    ours.and_then(|metadata| metadata.get("deb"))
        .unwrap()
        .clone()
}

fn list<'a>(json: &'a Json, name: &str) -> &'a [Json] {
    json.get(name).and_then(Json::as_array).unwrap()
}

fn words(json: &Json) -> Vec<String> {
    let words = json.as_array().unwrap().iter();
    words
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        text(&output.stderr)
    );
}
