//! The two ends that the fuzz body of TLS is about, with keys of their own.

use chardev::Chardevs;
use chardev::back::LayerKind;
use chardev::objects::{NewObject, TlsCreds, TlsEndpoint};
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};

use crate::tls_rig::{Authority, CLIENT, SERVER};

/// The server and the client.
pub(crate) fn ends() -> [LayerKind; 2] {
    let chardevs = Chardevs::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("Test CA");
    let address = SocketAddress::Inet(InetAddress {
        host: "localhost".to_owned(),
        ..InetAddress::default()
    });
    [
        ("server", TlsEndpoint::Server, SERVER),
        ("client", TlsEndpoint::Client, CLIENT),
    ]
    .map(|(role, endpoint, own)| {
        let creds = TlsCreds {
            dir: ca.directory(dir.path(), role, role, Some((own, &ca))),
            endpoint,
            verify_peer: true,
        };
        let adding = chardevs.objects().add(role, NewObject::TlsCreds(creds));
        chardevs.block_on(adding).unwrap();
        let options = Options::new("socket")
            .with("addr", OptionValue::Address(address.clone()))
            .with("server", OptionValue::Bool(endpoint == TlsEndpoint::Server))
            .with("tls-creds", OptionValue::Str(role.to_owned()));
        let kind = chardev::back::tls(&options, chardevs.objects());
        kind.unwrap().unwrap()
    })
}
