//! The QEMUs that `./setup` fetches: 10.0, which we follow, and 11 for guests whose devices are
//! ours.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `./setup` has put them.
pub(crate) fn files() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match std::env::var_os("CHARDEV_GUEST_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target/linux"),
    }
}

/// QEMU 10.0 without a machine and without modules.
pub(crate) fn qemu10() -> Command {
    let mut command = qemu("qemu10");
    command.args(["-M", "none", "-display", "none", "-nodefaults"]);
    command
}

/// QEMU 10.0 with a PC that has a firmware of ours and no devices.
pub(crate) fn qemu10_pc(firmware: &Path) -> Command {
    let tree = files().join("qemu11/usr/share");
    let mut command = qemu("qemu10");
    command.args([
        "-M",
        "pc",
        "-accel",
        "tcg",
        "-display",
        "none",
        "-nodefaults",
    ]);
    for files in ["qemu", "seabios"] {
        command.arg("-L").arg(tree.join(files));
    }
    command.arg("-bios").arg(firmware);
    command
}

/// QEMU 11 with its firmware.
pub(crate) fn qemu11() -> Command {
    let tree = files().join("qemu11/usr");
    let mut command = qemu("qemu11");
    command.env("QEMU_MODULE_DIR", tree.join("lib/x86_64-linux-gnu/qemu"));
    for firmware in ["share/qemu", "share/seabios"] {
        command.arg("-L").arg(tree.join(firmware));
    }
    command
}

/// One of them by the loader and with the libraries of QEMU 11's tree, because the system's are
/// older.
fn qemu(name: &str) -> Command {
    let files = files();
    let complete = files.join(name).join(".complete").exists();
    assert!(complete, "no {name} in {}: run ./setup", files.display());
    let tree = files.join("qemu11/usr");
    let libraries = tree.join("lib/x86_64-linux-gnu");
    let mut command = Command::new(tree.join("lib64/ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(libraries)
        .arg(files.join(name).join("usr/bin/qemu-system-x86_64"));
    command
}
