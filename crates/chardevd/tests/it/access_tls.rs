//! Roles by the names in clients' certificates, over TLS.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::access::{Client, Needs, ROLES, check_all};
use crate::ctl_rig::{Attached, LIMIT, chardevctl, text};
use crate::ended::Ended;
use crate::tcp_rig;
use crate::tls_rig::{Authority, CLIENT, SERVER, Wanted};

struct Daemon {
    _child: Ended,
    dir: tempfile::TempDir,
    ca: Authority,
    port: u16,
}

/// Who has a role for group `a` and who for everything, in the order of the roles.
const NAMES: [[&str; 2]; 4] = [
    ["view-a", "view"],
    ["attach-a", "attach"],
    ["change-a", "change"],
    ["admin-a", "admin"],
];

impl Daemon {
    /// Two consoles, of which one is in group `a`, and a monitor over TLS; `more` is in the file.
    fn start(more: &str, creds: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = Authority::new("Test CA");
        ca.directory(dir.path(), "server", "server", Some((SERVER, &ca)));
        let mut file = String::new();
        for (name, group) in [("a1", "a"), ("b1", "b")] {
            file +=
                &format!("[console.{name}]\nto = 'ringbuf'\nexec = 'cat'\ngroups = ['{group}']\n");
        }
        file += &format!(
            "[[object]]\nline = 'tls-creds-x509,id=t,dir=server,endpoint=server{creds}'\n\
             [[monitor]]\nlisten = 'unix:qmp,server=on,wait=off,x-clients=0'\n\
             [[monitor]]\nlisten = 'tcp:127.0.0.1:0,server=on,wait=off,tls-creds=t'\n{more}"
        );
        let (child, port) = tcp_rig::start(dir.path(), &file);
        Daemon {
            _child: child,
            dir,
            ca,
            port,
        }
    }

    fn keys(&self, own: Wanted) -> PathBuf {
        let signer = Some((own, &self.ca));
        self.ca
            .directory(self.dir.path(), own.name, "client", signer)
    }

    fn ctl(&self, keys: &Path) -> Command {
        let mut ctl = chardevctl();
        ctl.args(["--host", &format!("127.0.0.1:{}", self.port)]);
        ctl.arg("--tls-dir").arg(keys);
        ctl.args(["--timeout", &LIMIT.as_secs().to_string()]);
        ctl
    }

    fn run(&self, keys: &Path, args: &[&str]) -> (bool, String) {
        let output = self
            .ctl(keys)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        (output.status.success(), said)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("said")).unwrap()
    }
}

#[test]
fn each_role_of_a_certificate_may_what_it_says() {
    let mut more = String::new();
    for (names, (_, role)) in NAMES.iter().zip(ROLES) {
        for (name, groups) in names.iter().zip(["groups = 'a'\n", ""]) {
            more += &format!(
                "[[access]]\nrole = '{role}'\n{groups}tls-subjects = ['C=GB,CN={name},O=Example\\, Org']\n"
            );
        }
    }
    let daemon = Daemon::start(&more, "");
    for (names, (needs, _)) in NAMES.iter().zip(ROLES) {
        for (name, everywhere) in names.iter().zip([false, true]) {
            let keys = daemon.keys(Wanted { name, ..CLIENT });
            let mut ctl = daemon.ctl(&keys);
            ctl.arg("qmp");
            check_all(Client::of(ctl), name, (needs, everywhere));
        }
    }
    let nobody = daemon.keys(Wanted {
        name: "nobody",
        ..CLIENT
    });
    let mut ctl = daemon.ctl(&nobody);
    ctl.arg("qmp");
    check_all(Client::of(ctl), "nobody", (Needs::Nothing, false));
    let said = daemon.said();
    for line in [
        "TLS C=GB,CN=change-a,O=Example\\\\, Org (127.0.0.1:",
        "change 'a1'",
        "may not add a chardev",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn who_has_no_good_certificate_is_not_let_in_and_told_why() {
    let daemon = Daemon::start(
        "[[access]]\nrole = 'view'\ntls-subjects = 'DNS:client.example'\n",
        "",
    );
    let dir = daemon.dir.path();
    let other = Authority::new("Another CA");
    let expired = Wanted {
        name: "expired",
        expired: true,
        ..CLIENT
    };
    for keys in [
        daemon.ca.directory(dir, "none", "client", None),
        daemon
            .ca
            .directory(dir, "other", "client", Some((CLIENT, &other))),
        daemon.keys(expired),
    ] {
        let (good, said) = daemon.run(&keys, &["list"]);
        assert!(
            !good && said.contains("TLS: "),
            "{}: {said}",
            keys.display()
        );
    }
    // The other way round: we do not talk to a server that is somebody else.
    let theirs = other.directory(dir, "theirs", "client", Some((CLIENT, &daemon.ca)));
    let (good, said) = daemon.run(&theirs, &["list"]);
    assert!(
        !good && said.contains("TLS: invalid peer certificate"),
        "{said}"
    );
    let (good, said) = daemon.run(&dir.join("no-such"), &["list"]);
    assert!(!good && said.contains("ca-cert.pem"), "{said}");
    // Another name of the certificate does as well as its subject.
    let keys = daemon.keys(CLIENT);
    let (good, said) = daemon.run(&keys, &["list"]);
    assert!(good && said.contains("a1"), "{said}");
    let (sent, said) = daemon.run(&keys, &["break", "a1"]);
    assert!(!sent && said.contains("which TLS C=GB,CN=client"), "{said}");
    let elsewhere = Wanted {
        name: "elsewhere",
        host: "other.example",
        ..CLIENT
    };
    let (good, said) = daemon.run(&daemon.keys(elsewhere), &["list"]);
    assert!(good && !said.contains("a1"), "{said}");
}

#[test]
fn a_token_is_presented_over_tls_where_no_certificate_is_asked_for() {
    let daemon = Daemon::start("[tokens]\nfile = 'tokens'\n", ",verify-peer=off");
    let none = daemon
        .ca
        .directory(daemon.dir.path(), "none", "client", None);
    let (good, said) = daemon.run(&none, &["list"]);
    assert!(!good && said.contains("--token-file"), "{said}");
    // Not even a certificate that nobody looks at makes somebody of them.
    let keys = daemon.keys(CLIENT);
    assert!(!daemon.run(&keys, &["list"]).0);
    let mut ctl = chardevctl();
    ctl.arg("--socket").arg(daemon.dir.path().join("qmp"));
    let made = ctl
        .args(["token", "add", "t", "--role", "view"])
        .output()
        .unwrap();
    let output = daemon
        .ctl(&none)
        .arg("list")
        .env("CHARDEVD_TOKEN", text(&made.stdout))
        .output()
        .unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.contains("b1"), "{said}");
}

#[test]
fn several_are_there_at_a_time_and_whoever_stalls_keeps_nobody_out() {
    let daemon = Daemon::start(
        "[[access]]\nrole = 'attach'\ntls-subjects = 'DNS:client.example'\n",
        "",
    );
    let keys = daemon.keys(CLIENT);
    // They say nothing, or what is no handshake.
    let connect = || TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
    let stalled: Vec<TcpStream> = (0..200).map(|_| connect()).collect();
    for mut one in &stalled[..100] {
        // It may be displaced already.
        let _ = one.write_all(b"GET / HTTP/1.1\r\n\r\n");
    }
    let mut first = Attached::begin(daemon.ctl(&keys).args(["attach", "a1"]));
    first.wait_for("attached;");
    let mut second = Attached::begin(daemon.ctl(&keys).args(["attach", "b1"]));
    second.wait_for("attached;");
    for (attached, id, word) in [(&mut first, "a1", "one"), (&mut second, "b1", "two")] {
        attached.type_in(format!("{word}\r").as_bytes());
        attached.wait_for(&format!("{word}\r\n{word}"));
        let (good, said) = daemon.run(&keys, &["expect", id, "--from", "oldest", word]);
        assert!(good, "{said}");
        attached.type_in(b"\x1d.");
        assert!(attached.wait().success());
    }
    drop(stalled);
}
