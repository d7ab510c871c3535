//! Three servers with the accounts, the keys and the TLS of docs/fleet.md, as it stands there.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};

use super::servers::{Place, Servers};

/// Who has a key there.
const WHO: [&str; 5] = ["OPERATOR", "READER", "VIEWER", "NODE7", "NODE8"];

/// The servers, and where everybody's files are.
pub(crate) struct Secure {
    pub(crate) servers: Servers,
    dir: tempfile::TempDir,
}

impl Secure {
    pub(crate) fn start() -> Secure {
        Secure::with(|_, text| text)
    }

    /// Those whose configuration is changed before, with files that are in the directory.
    pub(crate) fn with(change: impl FnOnce(&Path, String) -> String) -> Secure {
        Secure::of(documented(), change, |_, text| text)
    }

    /// Those of another configuration; `finish` is what each server changes in it.
    pub(crate) fn of(
        mut text: String,
        change: impl FnOnce(&Path, String) -> String,
        finish: impl Fn(&Place, String) -> String,
    ) -> Secure {
        let dir = tempfile::tempdir().unwrap();
        write_certificates(dir.path());
        for who in WHO {
            let key = KeyPair::new_user();
            std::fs::write(dir.path().join(who), key.seed().unwrap()).unwrap();
            text = replaced(&text, &format!("U{who}"), &key.public_key());
        }
        let files = format!("\"{}/", dir.path().display());
        text = replaced(&text, "\"/etc/nats/", &files);
        let text = change(dir.path(), text);
        let config = |place: &Place| finish(place, of_one(&text, place));
        let operator = || as_who(dir.path(), "OPERATOR");
        let servers = Servers::with(config, "tls", operator);
        Secure { servers, dir }
    }

    /// Where somebody's key is: the file with its seed, unless that was changed.
    pub(crate) fn key(&self, who: &str) -> PathBuf {
        self.dir.path().join(who)
    }

    /// Where the certificate of the CA is.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }
}

/// The configuration in the document.
fn documented() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fleet.md");
    let text = std::fs::read_to_string(file).unwrap();
    let (_, text) = text.split_once("\n```\nserver_name: n1\n").unwrap();
    let (text, _) = text.split_once("\n```\n").unwrap();
    format!("server_name: n1\n{text}\n")
}

/// That for one server on this machine.
fn of_one(text: &str, place: &Place) -> String {
    let store = format!("\"{}\", max_mem: 64M, max_file: 2G", place.store.display());
    let routes = format!("routes: {:?}", place.routes("tls"));
    let (begin, rest) = text.split_once("routes: [").unwrap();
    let (_, end) = rest.split_once(']').unwrap();
    // Where it is not said here, `Servers::begin` says it.
    let name = format!("server_name: n{}", place.number);
    let mut text = format!("{begin}{routes}{end}").replace("server_name: n1", &name);
    // Without that others come by an address, which is in no certificate but a test's.
    let advertised = match text.contains("advertise: $NODE") {
        true => "advertise: $NODE",
        false => "advertise: \"n1.example:6222\"",
    };
    for (wanted, with) in [
        ("0.0.0.0:4222", format!("127.0.0.1:{}", place.port)),
        ("0.0.0.0:6222", format!("127.0.0.1:{}", place.route)),
        (
            advertised,
            format!("advertise: \"127.0.0.1:{}\"", place.route),
        ),
        ("\"/var/lib/nats\"", store),
        // See `Servers::start`.
        ("name: lab", "name: lab, pool_size: -1".to_owned()),
    ] {
        text = replaced(&text, wanted, &with);
    }
    text
}

fn replaced(text: &str, wanted: &str, with: &str) -> String {
    assert!(text.contains(wanted), "no {wanted} in {text}");
    text.replace(wanted, with)
}

/// How somebody connects.
fn as_who(dir: &Path, who: &str) -> ConnectOptions {
    let key = std::fs::read_to_string(dir.join(who)).unwrap();
    let options = ConnectOptions::new().add_root_certificates(dir.join("ca.pem"));
    match key.contains("NATS USER JWT") {
        true => options.credentials(&key).unwrap(),
        false => options.nkey(key),
    }
}

/// A CA, and a certificate that all servers have.
fn write_certificates(dir: &Path) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let server = params.signed_by(&key, &issuer).unwrap();
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
}
