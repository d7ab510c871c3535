//! The Debian package: made of the list in Cargo.toml, looked at by lintian, installed, used,
//! upgraded, removed and purged in a fresh Debian tree, under its own systemd where that boots.

mod build;
mod image;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ctl_rig::text;

const TREE: &str = "debian";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Packages of this version and a newer one.
fn packages(dir: &Path) -> [PathBuf; 2] {
    // One that `cargo xtask package` has built is installed as it is.
    let given = std::env::var_os("CHARDEV_DEB").map(PathBuf::from);
    let first = given.unwrap_or_else(|| build::package(dir, "0.1.0-1"));
    [first, build::package(dir, "0.1.1-1")]
}

/// The life of the package in a copy of the fresh tree; what it said, and whether it came to its
/// end. `None` if it did not begin.
fn live(how: &str, packages: &[PathBuf; 2], scratch: &Path) -> Option<Result<(), String>> {
    let guest_dir = std::env::var_os("CHARDEV_GUEST_DIR").map(PathBuf::from);
    let tree = guest_dir
        .unwrap_or_else(|| root().join("target/linux"))
        .join(TREE);
    assert!(
        tree.join(".complete").exists(),
        "{} is missing: ./setup makes it",
        tree.display()
    );
    let copy = scratch.join(how);
    let copied = Command::new("cp")
        .args(["--archive", "--reflink=auto"])
        .args([tree.join("."), copy.clone()])
        .status();
    assert!(copied.unwrap().success());
    let package = copy.join("package");
    std::fs::create_dir(&package).unwrap();
    for (number, deb) in packages.iter().enumerate() {
        std::fs::copy(deb, package.join(format!("{}.deb", number + 1))).unwrap();
    }
    std::fs::copy(root().join("tests/package/life"), package.join("life")).unwrap();
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", "90"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    if how == "booted" {
        boot(&copy, &mut command);
    } else {
        // Its own /proc, which ends with it.
        let inside = "mount --rbind /dev \"$0/dev\"; exec chroot \"$0\" /package/life chroot";
        command
            .args(["unshare", "--mount", "--pid", "--fork", "--kill-child"])
            .arg(format!("--mount-proc={}", copy.join("proc").display()))
            .args(["sh", "-c", inside])
            .arg(&copy);
    }
    let output = command.output().expect("timeout is part of coreutils");
    let said = text(&output.stdout) + &text(&output.stderr);
    if !package.join("begun").exists() {
        eprintln!("{how}: {said}");
        return None;
    }
    let log = std::fs::read_to_string(package.join("log")).unwrap_or_default();
    Some(match package.join("result").exists() {
        true => Ok(()),
        false => Err(log),
    })
}

/// Has systemd of the tree run the life of the package, and then end.
fn boot(copy: &Path, command: &mut Command) {
    let unit = "[Unit]\nSuccessAction=poweroff-force\nFailureAction=poweroff-force\n\
                After=dbus.service\n[Service]\nType=oneshot\nTimeoutStartSec=80\n\
                ExecStart=/bin/sh /package/life booted\n";
    std::fs::write(copy.join("etc/systemd/system/life.service"), unit).unwrap();
    let wants = copy.join("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants).unwrap();
    std::os::unix::fs::symlink("../life.service", wants.join("life.service")).unwrap();
    command
        .args([
            "systemd-nspawn",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--quiet",
        ])
        .arg(format!("--machine=chardev-{}", std::process::id()))
        .arg("--directory")
        .arg(copy);
}

#[test]
fn it_is_installed_used_upgraded_and_purged_in_a_fresh_tree() {
    let note = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package-not-tested");
    let _ = std::fs::remove_file(&note);
    let skip = |reason: &str| {
        eprintln!("SKIPPED: {reason}");
        std::fs::write(&note, reason).unwrap();
    };
    if !rustix::process::geteuid().is_root() {
        return skip("the package was not installed in a fresh tree, since only root can do that");
    }
    let scratch = tempfile::tempdir().unwrap();
    let packages = packages(scratch.path());
    match live("booted", &packages, scratch.path()) {
        Some(lived) => lived.unwrap_or_else(|log| panic!("{log}")),
        None => {
            skip("the package's units were not tried, since systemd-nspawn cannot boot here");
            let lived = live("chroot", &packages, scratch.path()).expect("chroot");
            lived.unwrap_or_else(|log| panic!("{log}"));
        }
    }
}

/// What a machine without systemd has.
#[test]
fn it_works_without_systemd() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: only root can install a package in a tree");
    }
    let scratch = tempfile::tempdir().unwrap();
    let lived = live("chroot", &packages(scratch.path()), scratch.path()).expect("chroot");
    lived.unwrap_or_else(|log| panic!("{log}"));
}

#[test]
fn lintian_finds_no_error() {
    let scratch = tempfile::tempdir().unwrap();
    let [package, _] = packages(scratch.path());
    let output = Command::new("lintian")
        .args([
            "--allow-root",
            "--fail-on",
            "error",
            "--tag-display-limit=0",
        ])
        .arg(&package)
        .output()
        .expect("lintian is a package that ./setup installs");
    let said = text(&output.stdout) + &text(&output.stderr);
    eprintln!("{said}");
    assert!(output.status.success(), "{said}");
}
