//! TLS with real peers: OpenSSL's client, and QEMU at either end.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use chardev_qapi::{Json, Object};
use tempfile::TempDir;

use crate::daemon_rig::{Daemon, chardevd, until};
use crate::qemu_rig::qemu10;
use crate::telnet_rig::{Coupled, Program, all_bytes, hear, line};
use crate::tls_rig::{Authority, CLIENT, SERVER, Wanted};

/// An authority, and keys by name.
pub(crate) struct Keys {
    dir: TempDir,
    ca: Authority,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Keys {
            dir: tempfile::tempdir().unwrap(),
            ca: Authority::new("Test CA"),
        }
    }

    pub(crate) fn of(&self, name: &str, role: &str, own: Wanted) -> PathBuf {
        let signer = Some((own, &self.ca));
        self.ca.directory(self.dir.path(), name, role, signer)
    }

    /// A daemon whose `near` is a socket of these options, with the credentials `tls0` of `role`.
    pub(crate) fn start(&self, keys: &Path, role: &str, near: &str) -> Coupled {
        let object = format!(
            "tls-creds-x509,id=tls0,dir={},endpoint={role}",
            keys.display()
        );
        let near = format!("socket,id=near,host=127.0.0.1,tls-creds=tls0,{near}");
        let daemon = Daemon::start(&[
            "-object",
            &object,
            "-chardev",
            &near,
            "-chardev",
            // What comes before somebody is there waits for them.
            "socket,id=far,path=far,server=on,wait=off,x-closed=hold",
            "-device",
            "null-modem,chardev=near,peer=far",
        ]);
        Coupled { daemon }
    }

    fn serve(&self) -> Coupled {
        let keys = self.of("server", "server", SERVER);
        self.ca.revoke(&keys, &[77]);
        self.start(&keys, "server", "port=0,server=on,wait=off")
    }
}

/// OpenSSL's client, with what it has under `keys`.
fn s_client(port: u16, keys: &Path, more: &[&str]) -> Program {
    let file = |name: &str| keys.join(name).display().to_string();
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-quiet", "-nocommands", "-verify_return_error"])
        .args(["-verify_hostname", "localhost", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .args(["-CAfile", &file("ca-cert.pem")])
        .args(more);
    if keys.join("client-cert.pem").exists() {
        command.args(["-cert", &file("client-cert.pem")]);
        command.args(["-key", &file("client-key.pem")]);
    }
    Program::run(command)
}

#[test]
fn openssl_is_let_in_and_every_byte_passes() {
    let keys = Keys::new();
    let bed = keys.serve();
    let mut far = bed.far("far");
    let client = keys.of("client", "client", CLIENT);
    let all = all_bytes().repeat(50);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut peer = s_client(bed.port(), &client, &[version]);
        peer.input.write_all(&all).unwrap();
        hear(&mut far, &all);
        far.write_all(&all).unwrap();
        hear(&mut peer.output, &all);
        drop(peer);
        until("the peer leaves", || {
            bed.filename("near").starts_with("disconnected:")
        });
    }
}

#[test]
fn openssl_without_good_keys_is_not_let_in() {
    let keys = Keys::new();
    let bed = keys.serve();
    let other = Authority::new("Another CA");
    let dir = keys.dir.path();
    let expired = Wanted {
        expired: true,
        ..CLIENT
    };
    let revoked = Wanted {
        serial: 77,
        ..CLIENT
    };
    let bad = [
        keys.ca.directory(dir, "none", "client", None),
        keys.ca
            .directory(dir, "other", "client", Some((CLIENT, &other))),
        keys.of("expired", "client", expired),
        keys.of("revoked", "client", revoked),
    ];
    for keys in bad {
        let mut peer = s_client(bed.port(), &keys, &[]);
        // It is told with an alert; its input may be gone by then.
        let _ = peer.input.write_all(b"bad");
        assert!(!peer.status().success(), "{}", keys.display());
    }
    let mut far = bed.far("far");
    let mut peer = s_client(bed.port(), &keys.of("good", "client", CLIENT), &[]);
    peer.input.write_all(b"good").unwrap();
    hear(&mut far, b"good");
}

/// A QMP monitor of QEMU's over TLS, from either end.
#[test]
fn qemus_monitor_answers_over_tls_as_client_and_as_server() {
    let keys = Keys::new();
    let (server, client) = (
        keys.of("server", "server", SERVER),
        keys.of("client", "client", CLIENT),
    );
    let qemu = |role: &str, keys: &Path, chardev: &str| {
        let mut command = qemu10();
        let object = format!("tls-creds-x509,id=t,dir={},endpoint={role}", keys.display());
        let chardev = format!("socket,id=m,host=127.0.0.1,tls-creds=t,{chardev}");
        command.args(["-object", &object, "-chardev", &chardev]);
        command.args(["-mon", "chardev=m,mode=control"]);
        Program::run(command)
    };
    let bed = keys.serve();
    let mut far = bed.far("far");
    let port = bed.port();
    let _client = qemu("client", &client, &format!("port={port}"));
    check_monitor(&mut far);
    drop(bed);

    let port = free_port();
    let _server = qemu(
        "server",
        &server,
        &format!("port={port},server=on,wait=off"),
    );
    let near = format!("port={port},reconnect-ms=50");
    let bed = keys.start(&client, "client", &near);
    check_monitor(&mut bed.far("far"));
}

/// That there is a QMP monitor of QEMU's at the other end.
fn check_monitor(far: &mut std::os::unix::net::UnixStream) {
    assert!(line(far).contains("\"QMP\""));
    far.write_all(b"{'execute': 'qmp_capabilities'}\n").unwrap();
    assert_eq!(line(far).trim_end(), "{\"return\": {}}");
    // Longer than a record of TLS.
    let long = format!(
        "{{'execute': 'qmp_capabilities', 'id': '{}'}}\n",
        "x".repeat(40_000)
    );
    far.write_all(long.as_bytes()).unwrap();
    assert!(line(far).len() > 40_000);
}

/// One that nobody has just now. QEMU does not say which it takes.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn objects_come_and_go_and_are_exported() {
    let keys = Keys::new();
    let bed = keys.serve();
    let mut client = bed.daemon.client();
    let object = |text: &str| Json::parse(text).unwrap().as_object().unwrap().clone();
    let mut run = |command: &str, arguments: &str| {
        let answer = client.execute(command, object(arguments));
        answer.map_err(|error| error.to_string())
    };
    run("object-add", "{'qom-type': 'authz-list', 'id': 'who', 'policy': 'deny', 'rules': [{'match': 'C=GB,CN=cl*', 'policy': 'allow', 'format': 'glob'}]}").unwrap();
    let listed = run("qom-list", "{'path': '/objects'}").unwrap().to_string();
    assert!(listed.contains("child<tls-creds-x509>") && listed.contains("child<authz-list>"));
    for kind in ["tls-creds-psk", "tls-creds-anon"] {
        let arguments =
            format!("{{'qom-type': '{kind}', 'id': 'x', 'dir': '/', 'endpoint': 'server'}}");
        let error = run("object-add", &arguments).unwrap_err();
        assert!(error.contains("use 'tls-creds-x509'"), "{error}");
    }
    let exported = run("x-export", "{}").unwrap();
    let lines = exported
        .get("objects")
        .and_then(Json::as_array)
        .unwrap()
        .to_vec();
    assert_eq!(lines.len(), 2);
    let again: Vec<_> = lines
        .iter()
        .flat_map(|line| ["-object", line.as_str().unwrap()])
        .collect();
    let second = Daemon::start(&again);
    let exported = second.client().execute("x-export", Object::new()).unwrap();
    assert_eq!(
        exported.get("objects").and_then(Json::as_array).unwrap(),
        lines
    );
    run("object-del", "{'id': 'who'}").unwrap();
}

#[test]
fn a_bad_object_line_is_named() {
    for (line, why) in [
        ("tls-creds-x509,id=a", "Missing 'dir' property value"),
        ("tls-creds-x509,id=a,nope=1", "Invalid parameter 'nope'"),
        (
            "iothread,id=a",
            "Parameter 'qom-type' does not accept value 'iothread'",
        ),
        (
            "{\"qom-type\": \"authz-list\", \"id\": \"a\", \"rules\": [{\"match\": \"x\"}]}",
            "Parameter 'rules[0].policy' is missing",
        ),
    ] {
        let output = chardevd(&["-object", line]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.trim_end().ends_with(why), "{said}");
    }
}
