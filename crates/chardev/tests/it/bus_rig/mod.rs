//! A D-Bus of the test's own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A bus; it does not outlive its test.
pub(crate) struct Bus(Child);

impl Bus {
    /// One at `path`, which takes connections, and its address.
    pub(crate) fn start(path: &Path) -> (Self, String) {
        let address = format!("unix:path={}", path.display());
        let mut child = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--address={address}"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon runs; ./setup installs it");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with("unix:"), "{line}");
        (Bus(child), address)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
