//! A daemon whose configuration has a monitor for root, and one over TCP.

use std::path::Path;
use std::process::{Command, Stdio};

use chardev_qapi::Json;

use crate::ctl_rig::{chardevctl, text, until};
use crate::ended::Ended;

/// Runs `file` in `dir`, with what is said in `said` there. Its monitors listen at `qmp` and on
/// `tcp:127.0.0.1:0`, the port of which is returned.
pub(crate) fn start(dir: &Path, file: &str) -> (Ended, u16) {
    std::fs::write(dir.join("c.toml"), file).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_chardevd"))
        .args(["--config", "c.toml"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(dir.join("said")).unwrap())
        .spawn()
        .unwrap();
    let child = Ended(child);
    let mut port = 0;
    until("the port is there", || {
        let mut ctl = chardevctl();
        ctl.arg("--socket").arg(dir.join("qmp"));
        let listed = ctl.args(["qmp", "query-chardev"]).output().unwrap();
        let all = Json::parse(&text(&listed.stdout)).ok();
        let all = all.as_ref().and_then(Json::as_array).unwrap_or_default();
        let names = all.iter().filter_map(|it| it.get("filename")?.as_str());
        let ports = names.filter_map(|name| name.split("127.0.0.1:").nth(1));
        let mut ports = ports.filter_map(|name| name.split(',').next()?.parse().ok());
        port = ports.next_back().unwrap_or(0);
        port != 0
    });
    (child, port)
}
