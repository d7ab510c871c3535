//! Daemons whose `[fleet]` has keys: an nkey or a credentials file, over TLS.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chardev_fleet::reader::Found;
use chardev_fleet::subject::Name;
use chardev_fleet::{Archive, Blind, Gate, Look, Settings, StreamSettings, Until};
use chardev_qapi::{Json, Object};
use nkeys::KeyPair;

use super::secure::Secure;
use super::servers::until;
use crate::daemon_rig::{Daemon, console};

const STREAM: &str = "CHARDEV_LAB";
/// How long a host may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_daemon_s_nkey_opens_to_it_what_the_document_says() {
    publishes(&Secure::start(), "nkey");
}

#[test]
fn a_daemon_s_credentials_file_opens_to_it_what_its_claims_say() {
    let secure = Secure::with(|dir, text| {
        let (begin, _) = text.split_once("accounts {").unwrap();
        let users = [
            ("OPERATOR", &[">"][..]),
            ("READER", &[">"]),
            (
                "NODE7",
                &[
                    "chardev.lab.node7.*.out",
                    "chardev.lab.node7.*.events",
                    "chardev.lab.node7.events",
                    "$KV.CHARDEV_LAB_HOSTS.node7",
                    "$KV.CHARDEV_LAB_HOSTS.node7.*",
                ],
            ),
        ];
        format!("{begin}{}", write_credentials(dir, &users))
    });
    publishes(&secure, "credentials");
}

/// Two tenants of the same servers: cluster, stream, host and console of both have the same names.
#[test]
fn a_tenant_has_a_fleet_of_its_own_and_sees_no_other() {
    let secure = Secure::with(|dir, text| {
        let tenant = KeyPair::new_user();
        std::fs::write(dir.join("TENANT"), tenant.seed().unwrap()).unwrap();
        let account = format!(
            "accounts {{\n  TENANT {{ jetstream: enabled, users: [ {{ nkey: {} }} ] }}\n",
            tenant.public_key()
        );
        text.replacen("accounts {\n", &account, 1)
    });
    publishes(&secure, "nkey");

    let dir = tempfile::tempdir().unwrap();
    let more = "[console.con]\nsocket = { path = 'con.far', server = true }\nto = 'null'\n";
    let (who, more) = (("node7", "TENANT"), ("qmp = 'view'", more));
    let host = start_with(&secure, dir.path(), "nkey", who, more);
    let mut far = console(&dir.path().join("node7/con.far"));
    far.write_all(b"of a tenant\n").unwrap();
    until("it is in the tenant's stream", || {
        let said = host.client().execute("x-query-fleet", Object::new());
        let said = said.unwrap();
        chardev_printed(&host) == 12
            && said.get("behind").and_then(Json::as_u64) == Some(0)
            && said.get("present") == Some(&Json::from(true))
    });
    assert_eq!(read(&secure, "nkey", "TENANT"), b"of a tenant\n");
    assert_eq!(read(&secure, "nkey", "READER"), b"over TLS\n");
    let hosts = |who| {
        let settings = settings(&secure, "nkey", who);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let roster = runtime.block_on(async {
            let look = Look::open(&settings).await.unwrap();
            look.hosts().await.unwrap().unwrap()
        });
        roster.hosts.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(hosts("TENANT"), ["node7"]);
    // The tenant's monitor is for the tenant: the operator's account has no such host.
    let gate = |who| Gate::open(&settings(&secure, "nkey", who), LIMIT).unwrap();
    let asked = |who| gate(who).session("node7", "view", LIMIT);
    until("the tenant's host serves", || asked("TENANT").is_ok());
    let refused = asked("OPERATOR").unwrap_err();
    assert!(matches!(refused, Blind::NoHost { .. }), "{refused}");
}

/// The operator's daemon makes the stream, and the host's prints into it.
pub(super) fn publishes(secure: &Secure, kind: &str) {
    let dir = tempfile::tempdir().unwrap();
    let operator = start(secure, dir.path(), kind, ("operator", "OPERATOR"), "");
    let host = start(
        secure,
        dir.path(),
        kind,
        ("node7", "NODE7"),
        "[metrics]\nlisten = 'unix:metrics'\n\
         [console.con]\nsocket = { path = 'con.far', server = true }\nto = 'null'\n",
    );
    let mut far = console(&dir.path().join("node7/con.far"));
    far.write_all(b"over TLS\n").unwrap();
    until("it is in the stream", || {
        let said = host.client().execute("x-query-fleet", Object::new());
        let said = said.unwrap();
        let printed = chardev_printed(&host);
        printed == 9
            && said.get("connected") == Some(&Json::from(true))
            && said.get("behind").and_then(Json::as_u64) == Some(0)
            && said.get("present") == Some(&Json::from(true))
    });
    let metrics = scrape(&dir.path().join("node7/metrics"));
    for line in [
        "chardevd_fleet_connected 1",
        "chardevd_fleet_consoles 1",
        "chardevd_fleet_behind_bytes 0",
        "chardevd_fleet_present 1",
        "chardevd_fleet_name_taken 0",
        "chardevd_fleet_sessions 0",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}: {metrics}");
    }
    drop(operator);
    assert_eq!(read(secure, kind, "READER"), b"over TLS\n");
}

/// With what somebody looks at the fleet.
fn settings(secure: &Secure, kind: &str, who: &str) -> Settings {
    let file = Some(secure.key(who));
    let (nkey, credentials) = match kind {
        "nkey" => (file, None),
        _ => (None, file),
    };
    Settings {
        servers: secure.servers.addresses("tls"),
        cluster: "lab".to_owned(),
        host: "reader".to_owned(),
        credentials,
        nkey,
        ca: Some(secure.ca()),
        qmp: None,
        stream: StreamSettings {
            name: STREAM.to_owned(),
            ..StreamSettings::default()
        },
        ..Settings::default()
    }
}

/// What somebody reads of what the console `con` of `node7` has printed.
fn read(secure: &Secure, kind: &str, who: &str) -> Vec<u8> {
    let settings = settings(secure, kind, who);
    let name = Name {
        cluster: "lab".to_owned(),
        host: "node7".to_owned(),
        console: "con".to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut text = Vec::new();
    runtime.block_on(async {
        let archive = Archive::open(&settings).await.unwrap();
        let each = |found| {
            match found {
                Found::Output { bytes, .. } => text.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
            true
        };
        archive.read(&name, Until::Now, each).await.unwrap();
    });
    text
}

fn scrape(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// How much its console has printed.
fn chardev_printed(host: &Daemon) -> u64 {
    let id = Object::new().with("id", "con");
    let stats = host.client().execute("x-query-chardev-stats", id).unwrap();
    let stats = &stats.as_array().unwrap()[0];
    stats.get("output-offset").and_then(Json::as_u64).unwrap()
}

/// A daemon in a directory of its own, with somebody's key; only the operator's makes the stream.
pub(crate) fn start(
    secure: &Secure,
    dir: &Path,
    kind: &str,
    who: (&str, &str),
    more: &str,
) -> Daemon {
    start_with(secure, dir, kind, who, ("", more))
}

/// The same with more of its `[fleet]`.
pub(crate) fn start_with(
    secure: &Secure,
    dir: &Path,
    kind: &str,
    (host, key): (&str, &str),
    (of_fleet, more): (&str, &str),
) -> Daemon {
    let dir = dir.join(host);
    std::fs::create_dir(&dir).unwrap();
    // As the document has it: a path that starts at the configuration's directory.
    std::fs::copy(secure.key(key), dir.join("key")).unwrap();
    std::fs::copy(secure.ca(), dir.join("ca.pem")).unwrap();
    let text = format!(
        "[fleet]\nservers = {:?}\ncluster = 'lab'\nhost = '{host}'\n{kind} = 'key'\nca = 'ca.pem'\n\
         stream = {{ name = '{STREAM}', replicas = 3, create = {} }}\n{of_fleet}\n\
         [[monitor]]\nlisten = 'unix:qmp'\n{more}",
        secure.servers.addresses("tls"),
        ["OPERATOR", "TENANT"].contains(&key),
    );
    std::fs::write(dir.join("chardevd.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    command
        .current_dir(&dir)
        .args(["--config", "chardevd.toml"]);
    Daemon::adopt(command, &dir.join("qmp"))
}

/// The rest of a configuration with an operator, a system account, and one with these users, who
/// may publish to these subjects; writes each one's credentials file.
fn write_credentials(dir: &Path, users: &[(&str, &[&str])]) -> String {
    let operator = KeyPair::new_operator();
    let [system, account] = [KeyPair::new_account(), KeyPair::new_account()];
    let limits = r#""subs":-1,"data":-1,"payload":-1"#;
    let all = format!(r#"{limits},"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1"#);
    let kept = r#","mem_storage":-1,"disk_storage":-1,"streams":-1,"consumer":-1"#;
    let [of_system, of_account] = [(&system, ""), (&account, kept)].map(|(account, more)| {
        let nats = format!(r#"{{"type":"account","version":2,"limits":{{{all}{more}}}}}"#);
        jwt(&operator, account, &nats)
    });
    let of_operator = jwt(&operator, &operator, r#"{"type":"operator","version":2}"#);
    for (name, may) in users {
        let user = KeyPair::new_user();
        let nats = format!(
            r#"{{"type":"user","version":2,{limits},"pub":{{"allow":{may:?}}},"sub":{{"allow":["_INBOX.>"]}}}}"#
        );
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            jwt(&account, &user, &nats),
            user.seed().unwrap()
        );
        std::fs::write(dir.join(name), text).unwrap();
    }
    let [system, account] = [system, account].map(|it| it.public_key());
    format!(
        "operator: \"{of_operator}\"\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{ {system}: \"{of_system}\", {account}: \"{of_account}\" }}\n"
    )
}

/// What `issuer` says of the owner of a key.
fn jwt(issuer: &KeyPair, of: &KeyPair, nats: &str) -> String {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let head = encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let claims = format!(
        r#"{{"jti":"1","iat":1700000000,"iss":"{}","name":"test","sub":"{}","nats":{nats}}}"#,
        issuer.public_key(),
        of.public_key()
    );
    let signed = format!("{head}.{}", encode(claims.as_bytes()));
    let signature = encode(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}
