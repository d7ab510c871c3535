//! What the tests of the machine share: the guest, and whether there is a KVM.

pub(crate) mod scheduler;
pub(crate) mod vm;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Named in the guest's .cargo/config.toml.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Whether guests can run here. Where not, the test has tested nothing, and says so.
pub(crate) fn kvm() -> bool {
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    match device {
        Ok(_) => true,
        Err(error) => {
            eprintln!("NOT TESTED: no guest was booted, because /dev/kvm cannot be used: {error}");
            false
        }
    }
}

/// Builds the bare-metal guest and returns its file.
pub(crate) fn guest() -> &'static Path {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    GUEST.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let built = here.join("../../target/bare-guest");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release"])
            .arg("--target-dir")
            .arg(&built)
            .current_dir(here.join("guest"))
            .env_remove("RUSTFLAGS")
            .status();
        assert!(
            status.as_ref().is_ok_and(std::process::ExitStatus::success),
            "the guest in crates/microvm/guest does not build: {status:?}"
        );
        built.join(TARGET).join("release/console-guest")
    })
}

/// Ticks of the time stamp counter in a millisecond, as the kernel measured it.
pub(crate) fn ticks_per_ms() -> u64 {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").expect("there is a /proc");
    let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"));
    let value = line.and_then(|line| line.split(':').nth(1));
    let mhz: f64 = value
        .and_then(|value| value.trim().parse().ok())
        .expect("/proc/cpuinfo names the frequency");
    (mhz * 1000.0) as u64
}
