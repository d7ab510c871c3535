//! The back end `socket`, with real peers.

mod addresses;
mod descriptors;
mod peers;
mod places;

use std::path::Path;
use std::sync::Arc;

use crate::common::wait_for;
use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Chardevs, Event, FrontEnd};

fn socket(addr: SocketAddress, server: bool) -> Options {
    Options::new("socket")
        .with("addr", OptionValue::Address(addr))
        .with("server", OptionValue::Bool(server))
}

fn unix(path: &Path) -> SocketAddress {
    SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    }
}

fn inet(host: &str, port: u16) -> SocketAddress {
    SocketAddress::Inet(InetAddress {
        host: host.to_owned(),
        port: port.to_string(),
        ..InetAddress::default()
    })
}

fn front(chardevs: &Chardevs) -> FrontEnd {
    chardevs.front_end("con0", Arc::new(())).unwrap()
}

fn filename(chardevs: &Chardevs) -> String {
    chardevs.list()[0].filename.clone()
}

/// The port in `disconnected:tcp:<host>:<port>,server=on`.
fn port_of(filename: &str) -> u16 {
    let address = filename.strip_suffix(",server=on").unwrap();
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn opened(front: &FrontEnd) {
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
}

fn closed(front: &FrontEnd) {
    assert_eq!(wait_for("closed", || front.next_event()), Event::Closed);
}
