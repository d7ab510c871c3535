//! The web page over TLS: certificates that it shows, and that browsers show.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use chardev_qapi::Json;

use crate::ctl_rig::{Daemon, text, until};
use crate::ended::Ended;
use crate::tls_rig::{Authority, CLIENT, SERVER};

/// A connection by `openssl s_client`, with these arguments beside.
fn connect(address: SocketAddr, ca: &Path, arguments: &[&str]) -> Child {
    Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &address.to_string()])
        .arg("-CAfile")
        .arg(ca.join("ca-cert.pem"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl, which ./setup installs")
}

/// Asks over one, showing what `arguments` say; what comes back.
fn ask(address: SocketAddr, ca: &Path, arguments: &[&str], path: &str) -> String {
    let arguments = [&["-verify_return_error"], arguments].concat();
    let mut client = connect(address, ca, &arguments);
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

/// A daemon with a page that shows the certificate in `server`, and to which `ours` are known.
fn page(file: &Path, server: &Path) -> Daemon {
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
    std::fs::write(file, configuration).expect("a file");
    let log = file.with_extension("log");
    let [file, log] = [file, &log].map(|path| path.to_str().expect("a path"));
    Daemon::with(&["--config", file, "--log-file", log])
}

/// What `openssl s_client` shows as this one's certificate.
fn shown(directory: &Path, name: &str) -> [String; 4] {
    let file = |what: &str| directory.join(format!("{name}-{what}.pem"));
    let [cert, key] = ["cert", "key"].map(|what| file(what).display().to_string());
    ["-cert".to_owned(), cert, "-key".to_owned(), key]
}

#[test]
fn certificates_are_shown_and_looked_at_and_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let server = ours.directory(dir.path(), "server", "server", Some((SERVER, &ours)));
    let other = others.directory(dir.path(), "other", "server", Some((SERVER, &others)));
    let client = ours.directory(dir.path(), "client", "client", Some((CLIENT, &ours)));
    let file = dir.path().join("chardevd.toml");
    let daemon = page(&file, &server);
    let address = address(&daemon);
    let nobody = ask(address, &server, &[], "/api/v1/consoles");
    assert!(nobody.starts_with("HTTP/1.1 401 "), "{nobody}");
    let own = shown(&client, "client");
    let own = own.each_ref().map(String::as_str);
    let known = ask(address, &server, &own, "/api/v1/consoles");
    let (_, body) = known.split_once("\r\n\r\n").expect("an answer");
    let body = Json::parse(body).expect("JSON");
    let ids = body.as_array().expect("a list").iter();
    let ids: Vec<_> = ids
        .filter_map(|it| Some((it.get("id")?.as_str()?, it.get("role")?.as_str()?)))
        .collect();
    assert_eq!(ids, [("con0", "view")]);
    // One that somebody else has signed is none.
    let forged = others.directory(dir.path(), "forged", "client", Some((CLIENT, &others)));
    let forged = shown(&forged, "forged");
    let forged = forged.each_ref().map(String::as_str);
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

/// A connection over which a console's output comes as it is printed.
struct Reader {
    client: Ended,
    output: BufReader<ChildStdout>,
    _input: ChildStdin,
}

impl Reader {
    fn open(address: SocketAddr, ca: &Path, own: &[&str]) -> Reader {
        let mut client = connect(address, ca, own);
        let mut input = client.stdin.take().expect("a pipe");
        let path = "/api/v1/consoles/con0/output?from=oldest";
        write!(input, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it is asked");
        let output = BufReader::new(client.stdout.take().expect("a pipe"));
        Reader {
            client: Ended(client),
            output,
            _input: input,
        }
    }

    /// Waits until the output has come to `offset`, without a piece missing.
    fn wait_for(&mut self, offset: u64) {
        let mut line = String::new();
        while !line.starts_with(&format!("id: {offset}")) {
            line.clear();
            let count = self.output.read_line(&mut line).expect("a line");
            assert!(count > 0, "it has ended: {:?}", self.client.try_wait());
            assert!(!line.contains("gap"), "{line}");
        }
    }
}

#[test]
fn renewed_certificates_are_shown_at_once_and_nobody_is_cut_off_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let authorities = ["first", "second", "third"].map(Authority::new);
    let made = |authority: &Authority, name: &str| {
        authority.directory(dir.path(), name, "server", Some((SERVER, authority)))
    };
    let [server, second, third] = [
        made(&authorities[0], "server"),
        made(&authorities[1], "second"),
        made(&authorities[2], "third"),
    ];
    let client = authorities[0].directory(
        dir.path(),
        "client",
        "client",
        Some((CLIENT, &authorities[0])),
    );
    // Whoever knows only the first authority.
    let first = dir.path().join("first");
    std::fs::create_dir(&first).expect("a directory");
    std::fs::copy(server.join("ca-cert.pem"), first.join("ca-cert.pem")).expect("a copy");
    let daemon = page(&dir.path().join("chardevd.toml"), &server);
    let address = address(&daemon);
    let own = shown(&client, "client");
    let mut reader = Reader::open(address, &first, &own.each_ref().map(String::as_str));
    daemon.succeed(&["send", "con0", "1\\n"]);
    reader.wait_for(6);
    let is_shown = |ca: &Path| ask(address, ca, &[], "/healthz").ends_with("ok\n");
    assert!(is_shown(&first) && !is_shown(&second));

    // What was only looked for would come 30 s after the one before, and each wait ends sooner.
    // As most programs renew: written beside it, and put in its place.
    for name in ["server-key.pem", "server-cert.pem"] {
        std::fs::copy(second.join(name), server.join("new")).expect("a copy");
        std::fs::rename(server.join("new"), server.join(name)).expect("its place");
    }
    until("the second certificate is shown", || is_shown(&second));
    assert!(!is_shown(&first));
    daemon.succeed(&["send", "con0", "2\\n"]);
    reader.wait_for(12);

    let said = || text(&std::fs::read(dir.path().join("chardevd.log")).unwrap_or_default());
    let refused = |name: &str, why: &str| {
        let file = server.join(name).display().to_string();
        let words = format!("{file}: {why}");
        until(&words, || {
            said()
                .lines()
                .any(|line| line.contains(&words) && line.ends_with("used still"))
        });
        assert!(is_shown(&second), "{}", said());
    };
    std::fs::write(server.join("server-cert.pem"), "none").expect("a file");
    let none = "there is no certificate in it";
    refused("server-cert.pem", none);
    std::fs::copy(
        third.join("server-cert.pem"),
        server.join("server-cert.pem"),
    )
    .expect("a copy");
    // The key is another's still.
    refused("server-cert.pem", "keys may not be consistent");
    std::fs::copy(third.join("server-key.pem"), server.join("server-key.pem")).expect("a copy");
    until("the third certificate is shown", || is_shown(&third));
    daemon.succeed(&["send", "con0", "3\\n"]);
    reader.wait_for(18);
    assert_eq!(said().matches(none).count(), 1, "{}", said());
}
