//! What `packaging/fleet` has for the servers of a fleet: started as it is but for paths, and
//! judged by the programs that it is for.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::keys::publishes;
use super::secure::Secure;
use super::servers::{program, until};
use crate::daemon_rig::Daemon;

/// Between two files in one text.
const SEAM: &str = "\n# accounts.conf\n";

#[test]
fn the_packaged_servers_take_a_stream_and_what_a_host_prints() {
    let [servers, accounts] = ["nats-server.conf", "accounts.conf"].map(packaged);
    assert!(servers.contains("server_name: $NODE"), "{servers}");
    let secure = Secure::of(
        format!("{servers}{SEAM}{accounts}"),
        |_, text| text,
        |place, text| {
            let (text, accounts) = text.split_once(SEAM).unwrap();
            let beside = place.store.with_file_name("accounts.conf");
            std::fs::write(beside, accounts).unwrap();
            // A stream may be as large as it says. Any free port, since three are on one machine.
            let text = text.replace("max_file: 2G", "max_file: 600G");
            text.replace("127.0.0.1:8222", "127.0.0.1:-1")
        },
    );

    let dir = tempfile::tempdir().unwrap();
    let (begin, rest) = {
        let text = packaged("stream.toml");
        let (begin, rest) = text.split_once("servers = [").unwrap();
        let (_, rest) = rest.split_once(']').unwrap();
        (begin.to_owned(), rest.to_owned())
    };
    let addresses = secure.servers.addresses("tls");
    let text = format!("{begin}servers = {addresses:?}{rest}[[monitor]]\nlisten = 'unix:qmp'\n");
    std::fs::write(dir.path().join("stream.toml"), text).unwrap();
    std::fs::copy(secure.key("OPERATOR"), dir.path().join("operator.nk")).unwrap();
    std::fs::copy(secure.ca(), dir.path().join("ca.pem")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    command
        .current_dir(dir.path())
        .args(["--config", "stream.toml", "--log-file", "said"]);
    let mut operator = Daemon::adopt(command, &dir.path().join("qmp"));
    let there = ["stream 'CHARDEV_LAB'", "bucket 'CHARDEV_LAB_HOSTS'"];
    until("there is a stream, and a bucket", || {
        let said = std::fs::read_to_string(dir.path().join("said")).unwrap_or_default();
        let is_there = |what| said.contains(&format!("fleet: the {what} is there"));
        there.iter().all(is_there)
    });
    operator.terminate();

    publishes(&secure, "nkey");
}

#[test]
fn the_unit_of_the_servers_is_accepted_and_gives_them_little() {
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("nats-server.service");
    let text = packaged("nats-server.service");
    let server = program().display().to_string();
    assert_eq!(text.matches("=/usr/sbin/nats-server ").count(), 2);
    std::fs::write(&unit, text.replace("/usr/sbin/nats-server", &server)).unwrap();
    for arguments in [
        &["verify", "--man=no"][..],
        // In tenths; the smaller, the better.
        &["security", "--offline=true", "--threshold=20"],
    ] {
        let judged = Command::new("systemd-analyze")
            .args(arguments)
            .arg(&unit)
            .output()
            .expect("systemd-analyze is part of the package systemd, which ./setup installs");
        let said = String::from_utf8_lossy(&judged.stderr);
        let ours: Vec<_> = said
            .lines()
            .filter(|line| line.contains("nats-server"))
            .collect();
        assert!(judged.status.success() && ours.is_empty(), "{said}");
    }
}

#[test]
fn the_compose_file_is_accepted_and_names_files_that_are_there_or_told_of() {
    let config = Command::new("docker-compose")
        .arg("--file")
        .arg(folder().join("compose.yaml"))
        .arg("config")
        .output()
        .expect("docker-compose is a package that ./setup installs");
    let said = String::from_utf8_lossy(&config.stderr);
    assert!(config.status.success() && said.is_empty(), "{said}");
    let text = String::from_utf8_lossy(&config.stdout).into_owned();
    let document = include_str!("../../../../../docs/fleet-operation.md");
    let start = format!("- {}/", folder().canonicalize().unwrap().display());
    let files: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix(&start)?.split(':').next())
        .collect();
    assert_eq!(files.len(), 15, "{text}");
    for file in files {
        let is_there = folder().join(file).exists();
        assert!(
            is_there || document.contains(&format!("`{file}`")),
            "{file}"
        );
    }
}

fn packaged(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/fleet")
}
