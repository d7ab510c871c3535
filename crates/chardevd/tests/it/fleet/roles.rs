//! chardevctl with somebody's key, and a host whose servers have the accounts of docs/fleet.md.

use super::keys::start_with;
use super::secure::Secure;
use super::servers::until;
use crate::ctl_rig::{chardevctl, text};

/// What a command comes to for who has a key, and what is said.
fn ctl(secure: &Secure, key: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = chardevctl()
        .env("CHARDEV_FLEET", secure.servers.addresses("tls").join(","))
        .env("CHARDEV_FLEET_CLUSTER", "lab")
        .env("CHARDEV_FLEET_NKEY", secure.key(key))
        .env("CHARDEV_FLEET_CA", secure.ca())
        .args(arguments)
        .output()
        .unwrap();
    let said = [text(&output.stdout), text(&output.stderr)].concat();
    (output.status.code(), said)
}

#[test]
fn one_comes_as_what_the_servers_and_the_host_let_one_be() {
    let secure = Secure::start();
    let dir = tempfile::tempdir().unwrap();
    let console = "[console.con]\nexec = 'exec cat'\nto = 'null'\nhistory = '64K'\n";
    let (node7, served) = (("node7", "NODE7"), ("qmp = 'change'", console));
    let _host = start_with(&secure, dir.path(), "nkey", node7, served);
    until("it is served", || {
        ctl(&secure, "OPERATOR", &["list", "--on", "node7"]).0 == Some(0)
    });
    let done = |key: &str, arguments: &[&str]| {
        let (status, said) = ctl(&secure, key, arguments);
        assert_eq!(status, Some(0), "{key} {arguments:?}: {said}");
        said
    };
    let refused = |key: &str, arguments: &[&str], wanted: &[&str]| {
        let (status, said) = ctl(&secure, key, arguments);
        assert_eq!(status, Some(1), "{key} {arguments:?}: {said}");
        for wanted in wanted {
            assert!(said.contains(wanted), "{key} {arguments:?}: {said}");
        }
    };
    done("OPERATOR", &["send", "node7/con", "typed"]);
    done(
        "OPERATOR",
        &["expect", "node7/con", "--from", "oldest", "typed"],
    );
    done("OPERATOR", &["change", "node7/con", "ringbuf,size=4096"]);
    let admin = ["qmp", "--on", "node7", "quit"];
    refused(
        "OPERATOR",
        &admin,
        &["needs the role 'admin'", "change (NATS account CHARDEV)"],
    );

    assert!(done("VIEWER", &["list", "--on", "node7"]).contains("ringbuf"));
    assert!(done("VIEWER", &["screen", "node7/con"]).contains("typed"));
    let send = ["send", "node7/con", "x"];
    refused(
        "VIEWER",
        &send,
        &["needs the role 'attach'", "view (NATS account VIEWERS)"],
    );
    let as_attach = ["--fleet-role", "attach", "send", "node7/con", "x"];
    let by_servers = [
        "the servers",
        "refuse",
        "Violation",
        "chardev.lab.node7.qmp.attach",
    ];
    refused("VIEWER", &as_attach, &by_servers);
    for key in ["READER", "NODE7", "NODE8"] {
        refused(key, &send, &["the servers", "refuse", "Violation"]);
    }
}
