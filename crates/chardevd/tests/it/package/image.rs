//! The recipe for a container: an image is built of it, and serves a console.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::root;
use crate::ctl_rig::text;

#[test]
fn the_recipe_makes_an_image_that_serves_a_console() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: only root can build an image without a registry");
    }
    let guest_dir = std::env::var_os("CHARDEV_GUEST_DIR").map(PathBuf::from);
    let tree = guest_dir
        .unwrap_or_else(|| root().join("target/linux"))
        .join(super::TREE);
    assert!(
        tree.join(".complete").exists(),
        "{} is missing: ./setup makes it",
        tree.display()
    );
    let found = Command::new("buildah").arg("--version").output();
    found.expect("buildah is a package that ./setup installs");
    let scratch = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_chardevd")).parent().unwrap();
    let output = Command::new(root().join("tests/package/image"))
        .args([&tree, programs, scratch.path()])
        .output()
        .unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(text(&output.stdout).ends_with("good\n"), "{said}");
    eprintln!("SKIPPED: the image's own compilation; its programs were built outside");
}
