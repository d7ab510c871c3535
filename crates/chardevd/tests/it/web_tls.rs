//! The web page over TLS: certificates that it shows, and that browsers show.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use chardev_qapi::Json;

use crate::ctl_rig::{Daemon, text};
use crate::tls_rig::{Authority, CLIENT, SERVER};

/// Asks with `openssl s_client`, showing what `arguments` say; what comes back.
fn ask(address: SocketAddr, ca: &Path, arguments: &[&str], path: &str) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-connect"])
        .arg(address.to_string())
        .arg("-CAfile")
        .arg(ca.join("ca-cert.pem"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl, which ./setup installs");
    let mut input = client.stdin.take().expect("a pipe");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    // Who is refused has left.
    let _ = input.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let mut output = client.stdout.take().expect("a pipe");
    output.read_to_end(&mut answer).expect("an end");
    drop(input);
    client.wait().expect("it ends");
    text(&answer)
}

/// Where a link leads to.
fn address(daemon: &Daemon) -> SocketAddr {
    let url = daemon.succeed(&["web", "--print"]);
    let rest = url.strip_prefix("https://").expect("a link of TLS");
    let (address, _) = rest.split_once("/login#").expect("a link");
    address.parse().expect("an address")
}

#[test]
fn certificates_are_shown_and_looked_at_and_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let server = ours.directory(dir.path(), "server", "server", Some((SERVER, &ours)));
    let other = others.directory(dir.path(), "other", "server", Some((SERVER, &others)));
    let client = ours.directory(dir.path(), "client", "client", Some((CLIENT, &ours)));
    let file = dir.path().join("chardevd.toml");
    let path = |name: &str| server.join(name).display().to_string();
    let configuration = format!(
        "[console.con0]\nexec = 'cat'\n[console.other]\nexec = 'cat'\n
        [web]\nlisten = '127.0.0.1:0'\n
        [web.tls]\ncert = '{}'\nkey = '{}'\nclient-ca = '{}'\n
        [[access]]\nrole = 'view'\ntls-subjects = ['DNS:client.example']\nconsoles = 'con0'\n",
        path("server-cert.pem"),
        path("server-key.pem"),
        path("ca-cert.pem")
    );
    std::fs::write(&file, configuration).expect("a file");
    let daemon = Daemon::with(&["--config", file.to_str().expect("a path")]);
    let address = address(&daemon);
    let nobody = ask(address, &server, &[], "/api/v1/consoles");
    assert!(nobody.starts_with("HTTP/1.1 401 "), "{nobody}");
    let own = ["cert", "key"].map(|it| {
        client
            .join(format!("client-{it}.pem"))
            .display()
            .to_string()
    });
    let shown = ["-cert", own[0].as_str(), "-key", own[1].as_str()];
    let known = ask(address, &server, &shown, "/api/v1/consoles");
    let (_, body) = known.split_once("\r\n\r\n").expect("an answer");
    let body = Json::parse(body).expect("JSON");
    let ids = body.as_array().expect("a list").iter();
    let ids: Vec<_> = ids
        .filter_map(|it| Some((it.get("id")?.as_str()?, it.get("role")?.as_str()?)))
        .collect();
    assert_eq!(ids, [("con0", "view")]);
    // One that somebody else has signed is none.
    let forged = others.directory(dir.path(), "forged", "client", Some((CLIENT, &others)));
    let own = ["cert", "key"].map(|it| {
        forged
            .join(format!("client-{it}.pem"))
            .display()
            .to_string()
    });
    let forged = ["-cert", own[0].as_str(), "-key", own[1].as_str()];
    assert_eq!(ask(address, &server, &forged, "/api/v1/consoles"), "");
    // Whoever speaks no TLS is not answered.
    let mut plain = crate::web_rig::connect(address);
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it is asked");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!text(&answer).contains("HTTP/1.1"), "{}", text(&answer));

    for name in ["server-cert.pem", "server-key.pem"] {
        std::fs::copy(other.join(name), server.join(name)).expect("a copy");
    }
    daemon.succeed(&["reload"]);
    assert_eq!(ask(address, &server, &[], "/healthz"), "");
    let healthy = ask(address, &other, &[], "/healthz");
    assert!(healthy.ends_with("ok\n"), "{healthy}");
    // What is no certificate changes nothing, and says so.
    std::fs::write(server.join("server-cert.pem"), "none").expect("a file");
    let reload = daemon.ctl(&["reload"]);
    let said = text(&reload.stderr);
    assert!(
        !reload.status.success() && said.contains("server-cert.pem"),
        "{said}"
    );
    assert!(ask(address, &other, &[], "/healthz").ends_with("ok\n"));
}
