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
        Bus::run(&["--session", &format!("--address={address}")])
    }

    /// One that is as `configuration` says.
    #[allow(dead_code, reason = "one of the programs of tests has no use for it")]
    pub(crate) fn configured(configuration: &Path) -> (Self, String) {
        Bus::run(&[&format!("--config-file={}", configuration.display())])
    }

    fn run(arguments: &[&str]) -> (Self, String) {
        let mut child = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--print-address"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon runs; ./setup installs it");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with("unix:"), "{line}");
        // Without the name of this very bus, so that the next one at that place is found as well.
        let address = line.trim_end().split(",guid=").next();
        (Bus(child), address.unwrap_or_default().to_owned())
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
