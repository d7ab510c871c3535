//! The tests of vsock in a guest, whose kernel has the loopback: this very program is its first
//! process's only child.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In this order.
const MODULES: [&str; 3] = [
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vsock_loopback",
];
/// What the guest ends its console's text with.
const END: &str = "the guest is done";

/// Where `./setup` puts kernels.
fn files() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match std::env::var_os("CHARDEV_GUEST_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target/linux"),
    }
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The file of a kernel's module.
fn module(kernel: &Path, name: &str) -> PathBuf {
    let found = run(Command::new("find")
        .arg(kernel)
        .arg("-name")
        .arg(format!("{name}.ko")));
    assert!(!found.is_empty(), "the kernel has no module {name}");
    PathBuf::from(found.lines().next().unwrap())
}

/// The libraries that `program` is loaded with, the loader among them.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = run(Command::new("ldd").arg(program));
    let words = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

/// Packs a file system for the guest: this program, what it takes, and what starts it.
fn pack(root: &Path, tests: &str) -> PathBuf {
    let tree = root.join("tree");
    for dir in ["bin", "dev", "proc", "sys", "tmp", "modules"] {
        fs::create_dir_all(tree.join(dir)).unwrap();
    }
    let program = std::env::current_exe().unwrap();
    run(Command::new("strip")
        .arg("-o")
        .arg(tree.join("bin/tests"))
        .arg(&program));
    for library in libraries(&program) {
        let place = tree.join(library.strip_prefix("/").unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(&library, place).unwrap();
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    let kernel = files().join("kernel/tree/lib/modules");
    for name in MODULES {
        fs::copy(
            module(&kernel, name),
            tree.join(format!("modules/{name}.ko")),
        )
        .unwrap();
    }
    let load: String = MODULES
        .map(|name| format!("insmod /modules/{name}.ko\n"))
        .concat();
    let init = format!(
        "#!/bin/busybox sh\n\
         /bin/busybox --install -s /bin\n\
         export PATH=/bin\n\
         mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n\
         mkdir /dev/pts; mount -t devpts pts /dev/pts; mount -t tmpfs tmp /tmp; ip link set lo up\n\
         exec >/dev/ttyS0 2>&1\n\
         {load}\
         export CHARDEV_ROUNDS=1\n\
         tests {tests} --skip guest --nocapture --test-threads 1\n\
         echo {END}\n\
         poweroff -f\n"
    );
    fs::write(tree.join("init"), init).unwrap();
    fs::set_permissions(tree.join("init"), Permissions::from_mode(0o755)).unwrap();
    let archive = root.join("initrd");
    let packing = "find . | cpio --quiet --create --format=newc";
    let packed = Command::new("sh")
        .args(["-c", packing])
        .current_dir(&tree)
        .output();
    fs::write(&archive, packed.unwrap().stdout).unwrap();
    archive
}

#[test]
fn sockets_over_the_loopback_of_a_guest() {
    run_in_guest("vsock::", 5);
}

#[test]
fn changes_over_the_loopback_of_a_guest() {
    run_in_guest("over_vsock", 6);
}

/// Runs those of our tests whose names have `tests` in them, all of which are to pass.
fn run_in_guest(tests: &str, count: usize) {
    if super::listener().is_some() {
        // They ran here.
        return;
    }
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guest/build");
    run(Command::new(build).arg(files()));
    let dir = tempfile::tempdir().unwrap();
    let said = run(Command::new("timeout")
        .args([
            "400",
            "qemu-system-x86_64",
            "-M",
            "q35,accel=tcg",
            "-m",
            "512",
        ])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(files().join("vmlinux"))
        .arg("-initrd")
        .arg(pack(dir.path(), tests))
        .args(["-append", "console=ttyS0 quiet loglevel=1 no_timer_check"])
        .args(["-serial", "stdio"]));
    assert!(said.contains(END), "{said}");
    assert!(!said.contains("SKIPPED"), "{said}");
    let passed = format!("test result: ok. {count} passed; 0 failed");
    assert!(said.contains(&passed), "{said}");
}
