//! Sockets that speak TLS: who is let in, keys that change, and sessions that do not.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chardev::objects::{
    AuthzFormat, AuthzList, AuthzPolicy, AuthzRule, NewObject, ObjectError, TlsCreds, TlsEndpoint,
};
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Chardevs, Event, FrontEnd, Task, TaskKind};
use tempfile::TempDir;

use crate::common::{DEADLINE, add, change, expect, filename, hold, read_until, wait_for};
use crate::tls_rig::{Authority, CLIENT, SERVER, Wanted};

/// Two sets of chardevs, as in two programs, and an authority.
struct Bed {
    dir: TempDir,
    ca: Authority,
    server: Chardevs,
    client: Chardevs,
}

impl Bed {
    fn new() -> Self {
        Bed {
            dir: tempfile::tempdir().unwrap(),
            ca: Authority::new("Test CA"),
            server: Chardevs::new().unwrap(),
            client: Chardevs::new().unwrap(),
        }
    }

    /// A directory with a certificate that the authority has signed.
    fn keys(&self, name: &str, role: &str, own: Wanted) -> PathBuf {
        let signer = Some((own, &self.ca));
        self.ca.directory(self.dir.path(), name, role, signer)
    }

    /// A server with a good certificate.
    fn serve(&self, more: impl FnOnce(Options) -> Options) -> (FrontEnd, String) {
        let keys = self.keys("server", "server", SERVER);
        creds(&self.server, "tls0", &keys, TlsEndpoint::Server, true).unwrap();
        self.open_server(more)
    }

    fn open_server(&self, more: impl FnOnce(Options) -> Options) -> (FrontEnd, String) {
        add(
            &self.server,
            "con0",
            &more(tls(socket("127.0.0.1", "0", true))),
        );
        let front = self.server.front_end("con0", Arc::new(())).unwrap();
        (front, port(&self.server))
    }

    /// A client whose keys are in `keys`, under an id of its own.
    fn connect(&self, id: &str, port: &str, keys: &Path) -> FrontEnd {
        creds(&self.client, id, keys, TlsEndpoint::Client, true).unwrap();
        let options = socket("127.0.0.1", port, false).with("tls-creds", text(id));
        add(&self.client, id, &options);
        self.client.front_end(id, Arc::new(())).unwrap()
    }

    /// Waits until a client's handshake has come to its end, whichever it is.
    fn wait_for_handshake(&self, id: &str) {
        wait_for("the end of a handshake", || {
            let tasks = self.client.tasks();
            let shakes = |task: &Task| task.label == id && task.kind == TaskKind::Timer;
            (!tasks.iter().any(shakes)).then_some(())
        });
    }

    /// Waits until a client has no server any more.
    fn wait_for_end(&self, id: &str, client: &FrontEnd) {
        wait_for("the end of a session", || {
            client.read(&mut [0; 16]);
            let name = filename(&self.client, id);
            name.starts_with("disconnected:").then_some(())
        });
    }
}

fn text(text: &str) -> OptionValue {
    OptionValue::Str(text.to_owned())
}

fn socket(host: &str, port: &str, server: bool) -> Options {
    let address = InetAddress {
        host: host.to_owned(),
        port: port.to_owned(),
        ..InetAddress::default()
    };
    hold("socket")
        .with("addr", OptionValue::Address(SocketAddress::Inet(address)))
        .with("server", OptionValue::Bool(server))
}

fn tls(options: Options) -> Options {
    options.with("tls-creds", text("tls0"))
}

fn creds(
    chardevs: &Chardevs,
    id: &str,
    dir: &Path,
    endpoint: TlsEndpoint,
    verify_peer: bool,
) -> Result<(), ObjectError> {
    let creds = TlsCreds {
        dir: dir.to_owned(),
        endpoint,
        verify_peer,
    };
    let adding = chardevs.objects().add(id, NewObject::TlsCreds(creds));
    chardevs.block_on(adding)
}

/// The port of the server without a client.
fn port(chardevs: &Chardevs) -> String {
    let name = chardevs.list().remove(0).filename;
    let name = name.strip_suffix(",server=on").unwrap();
    name.rsplit_once(':').unwrap().1.to_owned()
}

/// Both say something to the other.
fn check_talk(one: &FrontEnd, other: &FrontEnd) {
    for (from, to) in [(one, other), (other, one)] {
        assert_eq!(from.write(b"hello"), 5);
        assert_eq!(read_until(to, 5), b"hello");
    }
}

#[test]
fn both_ends_show_who_they_are_and_every_byte_passes() {
    let bed = Bed::new();
    let (server, port) = bed.serve(|options| options);
    let client = bed.connect("c", &port, &bed.keys("client", "client", CLIENT));
    expect(&server, Event::Opened);
    expect(&client, Event::Opened);
    let bytes: Vec<u8> = (0..300_000u32).map(|number| (number * 7) as u8).collect();
    std::thread::scope(|scope| {
        for (from, to) in [(&server, &client), (&client, &server)] {
            scope.spawn(|| {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let count = wait_for("room", || Some(from.write(rest)).filter(|it| *it > 0));
                    rest = &rest[count..];
                }
            });
            scope.spawn(|| assert!(read_until(to, bytes.len()) == bytes));
        }
    });
    bed.client
        .block_on(bed.client.change("c", Options::new("null")))
        .unwrap();
    expect(&server, Event::Closed);
}

/// None of them is ever shown, and the next one is served.
#[test]
fn who_cannot_show_who_they_are_is_not_let_in() {
    let bed = Bed::new();
    let (server, port) = {
        let keys = bed.keys("server", "server", SERVER);
        bed.ca.revoke(&keys, &[77]);
        creds(&bed.server, "tls0", &keys, TlsEndpoint::Server, true).unwrap();
        bed.open_server(|options| options)
    };
    let other = Authority::new("Another CA");
    let dir = bed.dir.path();
    let wrong = bed
        .ca
        .directory(dir, "wrong", "client", Some((CLIENT, &other)));
    let none = bed.ca.directory(dir, "none", "client", None);
    let expired = bed.keys(
        "expired",
        "client",
        Wanted {
            expired: true,
            ..CLIENT
        },
    );
    let revoked = bed.keys(
        "revoked",
        "client",
        Wanted {
            serial: 77,
            ..CLIENT
        },
    );
    for (id, keys) in [
        ("wrong", wrong),
        ("none", none),
        ("expired", expired),
        ("revoked", revoked),
    ] {
        let client = bed.connect(id, &port, &keys);
        // In TLS 1.3 a client is done before its server has judged it.
        bed.wait_for_handshake(id);
        bed.wait_for_end(id, &client);
        assert_eq!(server.next_event(), None, "{id}");
    }
    // One that does not speak TLS at all.
    let mut plain = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = plain.read_to_end(&mut Vec::new());
    let good = bed.connect("good", &port, &bed.keys("good", "client", CLIENT));
    expect(&server, Event::Opened);
    expect(&good, Event::Opened);
    check_talk(&server, &good);
}

#[test]
fn a_server_that_is_not_the_one_is_left() {
    for (own, what) in [
        (
            Wanted {
                host: "other.example",
                ..SERVER
            },
            "wrong name",
        ),
        (
            Wanted {
                expired: true,
                ..SERVER
            },
            "expired",
        ),
        (SERVER, "wrong authority"),
    ] {
        let bed = Bed::new();
        let keys = bed.keys("server", "server", own);
        creds(&bed.server, "tls0", &keys, TlsEndpoint::Server, true).unwrap();
        let (server, port) = bed.open_server(|options| options);
        let trusted = match what {
            "wrong authority" => Authority::new("Another CA"),
            _ => Authority::new("nobody"),
        };
        let own = Some((CLIENT, &bed.ca));
        let keys = match what {
            "wrong authority" => trusted.directory(bed.dir.path(), "client", "client", own),
            _ => bed.keys("client", "client", CLIENT),
        };
        let client = bed.connect("c", &port, &keys);
        bed.wait_for_handshake("c");
        assert_eq!(
            (client.next_event(), server.next_event()),
            (None, None),
            "{what}"
        );
    }
}

#[test]
fn without_verify_peer_nobody_is_asked() {
    let bed = Bed::new();
    let keys = bed.keys(
        "server",
        "server",
        Wanted {
            host: "elsewhere",
            ..SERVER
        },
    );
    creds(&bed.server, "tls0", &keys, TlsEndpoint::Server, false).unwrap();
    let (server, port) = bed.open_server(|options| options);
    let none = Authority::new("Another CA").directory(bed.dir.path(), "none", "client", None);
    creds(&bed.client, "c", &none, TlsEndpoint::Client, false).unwrap();
    let options = socket("127.0.0.1", &port, false).with("tls-creds", text("c"));
    add(&bed.client, "c", &options);
    let client = bed.client.front_end("c", Arc::new(())).unwrap();
    expect(&server, Event::Opened);
    check_talk(&server, &client);
    let error = bed.server.block_on(bed.server.add(
        "con1",
        tls(socket("127.0.0.1", "0", true)).with("tls-authz", text("a")),
    ));
    let expected = "'tls-authz' option requires TLS credentials with verify-peer=on";
    assert!(error.unwrap_err().to_string().ends_with(expected));
}

#[test]
fn a_list_says_whose_certificates_may_come() {
    let bed = Bed::new();
    let authz = |list: &[(&str, AuthzPolicy)]| {
        let rules = list.iter().map(|(matches, policy)| AuthzRule {
            matches: (*matches).to_owned(),
            policy: *policy,
            format: AuthzFormat::Glob,
        });
        let list = AuthzList {
            rules: rules.collect(),
            policy: AuthzPolicy::Deny,
        };
        bed.server
            .block_on(bed.server.objects().add("who", NewObject::AuthzList(list)))
            .unwrap();
    };
    let (server, port) = bed.serve(|options| options.with("tls-authz", text("who")));
    let keys = bed.keys("client", "client", CLIENT);
    let refused = |id: &str| {
        let client = bed.connect(id, &port, &keys);
        bed.wait_for_handshake(id);
        bed.wait_for_end(id, &client);
        assert_eq!(server.next_event(), None);
    };
    refused("nolist");
    authz(&[("C=GB,CN=client", AuthzPolicy::Allow)]);
    refused("other");
    bed.server.objects().remove("who").unwrap();
    authz(&[("C=GB,CN=client,O=Example\\, Org", AuthzPolicy::Allow)]);
    let client = bed.connect("right", &port, &keys);
    expect(&server, Event::Opened);
    check_talk(&server, &client);
}

#[test]
fn a_list_in_a_file_is_read_again_when_it_changes() {
    let bed = Bed::new();
    let file = bed.dir.path().join("who");
    let read = |content: &str| match content {
        "bad" => Err("it is bad".into()),
        name => Ok(AuthzList {
            rules: vec![AuthzRule {
                matches: name.to_owned(),
                policy: AuthzPolicy::Allow,
                format: AuthzFormat::Exact,
            }],
            policy: AuthzPolicy::Deny,
        }),
    };
    let new = || NewObject::AuthzListFile {
        filename: file.clone(),
        refresh: true,
        read,
    };
    let adding = || bed.server.block_on(bed.server.objects().add("who", new()));
    assert!(adding().unwrap_err().to_string().contains("No such file"));
    fs::write(&file, "CN=nobody").unwrap();
    adding().unwrap();
    let (server, port) = bed.serve(|options| options.with("tls-authz", text("who")));
    let keys = bed.keys("client", "client", CLIENT);
    creds(&bed.client, "c", &keys, TlsEndpoint::Client, true).unwrap();
    let options = socket("127.0.0.1", &port, false)
        .with("tls-creds", text("c"))
        .with("reconnect-ms", OptionValue::Int(20));
    add(&bed.client, "c", &options);
    let _client = bed.client.front_end("c", Arc::new(())).unwrap();
    fs::write(&file, "bad").unwrap();
    let next = bed.dir.path().join("next");
    fs::write(&next, "C=GB,CN=client,O=Example\\, Org").unwrap();
    fs::rename(&next, &file).unwrap();
    expect(&server, Event::Opened);
}

#[test]
fn keys_change_for_the_next_one_and_sessions_go_on() {
    let bed = Bed::new();
    let (server, port) = bed.serve(|options| options);
    let keys = bed.keys("client", "client", CLIENT);
    let first = bed.connect("first", &port, &keys);
    expect(&server, Event::Opened);
    // Another authority, for both ends.
    let other = Authority::new("Another CA");
    let new = other.directory(bed.dir.path(), "new", "server", Some((SERVER, &other)));
    bed.server.objects().remove("tls0").unwrap();
    check_talk(&server, &first);
    let gone = bed.server.objects().remove("tls0").unwrap_err();
    assert_eq!(gone.to_string(), "object 'tls0' not found");
    creds(&bed.server, "tls0", &new, TlsEndpoint::Server, true).unwrap();
    let taken = creds(&bed.server, "tls0", &new, TlsEndpoint::Server, true).unwrap_err();
    let expected = "attempt to add duplicate property 'tls0' to object (type 'container')";
    assert_eq!(taken.to_string(), expected);
    check_talk(&server, &first);
    change(&bed.client, "first", &Options::new("null")).unwrap();
    expect(&server, Event::Closed);
    let old = bed.connect("old", &port, &keys);
    bed.wait_for_handshake("old");
    bed.wait_for_end("old", &old);
    assert_eq!((old.next_event(), server.next_event()), (None, None));
    let keys = other.directory(
        bed.dir.path(),
        "newclient",
        "client",
        Some((CLIENT, &other)),
    );
    let client = bed.connect("new", &port, &keys);
    expect(&server, Event::Opened);
    check_talk(&server, &client);
}

#[test]
fn what_cannot_be_used_is_named() {
    let bed = Bed::new();
    let dir = bed.dir.path();
    let load = |dir: &Path, endpoint| {
        creds(&bed.server, "x", dir, endpoint, true)
            .unwrap_err()
            .to_string()
    };
    let missing = |place: &Path, file: &str| {
        let place = place.join(file);
        format!(
            "Unable to access credentials {}: No such file or directory",
            place.display()
        )
    };
    assert_eq!(load(dir, TlsEndpoint::Server), missing(dir, "ca-cert.pem"));
    let keys = bed.keys("k", "server", SERVER);
    fs::remove_file(keys.join("server-key.pem")).unwrap();
    assert_eq!(
        load(&keys, TlsEndpoint::Server),
        missing(&keys, "server-key.pem")
    );
    // A key of somebody else.
    let other = bed.keys("o", "server", SERVER);
    fs::copy(other.join("server-key.pem"), keys.join("server-key.pem")).unwrap();
    assert!(load(&keys, TlsEndpoint::Server).starts_with("Cannot load certificate '"));
    fs::write(
        keys.join("server-key.pem"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    assert!(load(&keys, TlsEndpoint::Server).ends_with("into a file that only this user can read"));
    fs::write(other.join("ca-crl.pem"), "").unwrap();
    assert!(load(&other, TlsEndpoint::Server).starts_with("Cannot load CRL '"));
    fs::write(other.join("ca-cert.pem"), "no PEM").unwrap();
    assert!(load(&other, TlsEndpoint::Server).starts_with("Cannot load CA certificate '"));

    let refused = |options: Options| {
        let error = bed
            .server
            .block_on(bed.server.add("con0", options))
            .unwrap_err();
        error.to_string()
    };
    let server = || tls(socket("127.0.0.1", "0", true));
    let prefix = "Failed to add chardev 'con0': ";
    assert_eq!(
        refused(server()),
        format!("{prefix}No TLS credentials with id 'tls0'")
    );
    let simple = NewObject::AuthzSimple {
        identity: "CN=x".to_owned(),
    };
    bed.server
        .block_on(bed.server.objects().add("tls0", simple))
        .unwrap();
    assert_eq!(
        refused(server()),
        format!("{prefix}Object with id 'tls0' is not TLS credentials")
    );
    bed.server.objects().remove("tls0").unwrap();
    let keys = bed.keys("s", "server", SERVER);
    creds(&bed.server, "tls0", &keys, TlsEndpoint::Server, true).unwrap();
    assert_eq!(
        refused(tls(socket("127.0.0.1", "1", false))),
        format!("{prefix}Expected TLS credentials for a client endpoint")
    );
    let listed = bed.server.objects().list();
    assert_eq!(
        (listed[0].0.as_str(), listed[0].1.kind()),
        ("tls0", "tls-creds-x509")
    );
}

#[test]
fn one_that_does_not_finish_its_handshake_makes_room() {
    let bed = Bed::new();
    let (server, port) = bed.serve(|options| options.with("x-handshake-ms", OptionValue::Int(50)));
    let mut slow = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    slow.set_read_timeout(Some(DEADLINE)).unwrap();
    slow.write_all(&[22, 3, 1, 2, 0]).unwrap();
    slow.read_to_end(&mut Vec::new()).unwrap();
    let client = bed.connect("c", &port, &bed.keys("client", "client", CLIENT));
    expect(&server, Event::Opened);
    expect(&client, Event::Opened);
}

/// Plain and TLS in turn on one port, with a stalled peer each time that gets all of its output
/// afterwards.
#[test]
fn a_session_is_whole_across_changes_on_the_same_port() {
    let bed = Bed::new();
    let keys = bed.keys("client", "client", CLIENT);
    let (server, port) = bed.serve(|options| options);
    for round in 0..10 {
        let id = format!("c{round}");
        let client = match round % 2 {
            0 => bed.connect(&id, &port, &keys),
            _ => {
                add(&bed.client, &id, &socket("127.0.0.1", &port, false));
                bed.client.front_end(&id, Arc::new(())).unwrap()
            }
        };
        expect(&server, Event::Opened);
        let mut sent = Vec::new();
        let piece: Vec<u8> = (0..10_000u32).map(|at| (at * 31 + round) as u8).collect();
        // Until nothing more fits, and a little while longer than that.
        let mut refused = 0;
        while refused < 50 {
            let count = server.write(&piece);
            sent.extend_from_slice(&piece[..count]);
            refused = if count == 0 { refused + 1 } else { 0 };
            if count == 0 {
                std::thread::park_timeout(crate::common::LOOK_AGAIN);
            }
        }
        assert!(sent.len() > 100_000);
        assert_eq!(client.write(b"last input"), 10);
        let next = socket("127.0.0.1", &port, true);
        let next = if round % 2 == 0 { next } else { tls(next) };
        change(&bed.server, "con0", &next).unwrap();
        assert_eq!(read_until(&server, 10), b"last input");
        assert!(read_until(&client, sent.len()) == sent, "round {round}");
        bed.wait_for_end(&id, &client);
        while server.next_event().is_some() {}
    }
}
