//! Back ends as values, against the tables of their kinds.

use chardev_core::{FlowControl, Parity};

use super::*;
use crate::back::specs;

/// A table of its own would go stale unnoticed.
#[test]
fn every_backend_has_options_of_its_kind() {
    let backends: [Options; 26] = [
        Null::new().into(),
        Ringbuf::new(4096).into(),
        File::append("/f").input("/i").into(),
        Pipe::new("/p").into(),
        Parallel::new("/dev/parport0").into(),
        Pty::new().link("/l").into(),
        Serial::new("/dev/ttyS0")
            .baud(1)
            .parity(Parity::Odd)
            .data_bits(7)
            .stop_bits(2)
            .flow(FlowControl::RtsCts)
            .rs485()
            .rs485_rts(false)
            .rs485_delays(Duration::ZERO, Duration::from_millis(1))
            .rs485_hear(true)
            .lock(false)
            .into(),
        Stdio::new().raw().into(),
        Unix::listen("/u").wait().into(),
        Unix::connect("/u").reconnect(Duration::from_secs(1)).into(),
        Tcp::listen("", 0).wait().nodelay().into(),
        Tcp::connect("h", 1).reconnect(Duration::MAX).into(),
        Tcp::listen("", 0).telnet().websocket().into(),
        Unix::connect("/u").rfc2217().websocket().into(),
        Tcp::listen("", 0).tls("keys").tls_authz("who").into(),
        Vsock::listen(1).wait().into(),
        Vsock::connect(2, 1).reconnect(Duration::ZERO).into(),
        Rfc2217::connect("h", 1).reconnect(Duration::ZERO).into(),
        Udp::to("h", 1).at("", 2).into(),
        Dbus::new("n").on("none").into(),
        Testdev::new().into(),
        Msmouse::new().into(),
        Wctablet::new().into(),
        Mux::over("base").into(),
        Hub::over(["a", "b"]).into(),
        Null::new()
            .hold()
            .discard()
            .history(1)
            .log("/l")
            .drain(Duration::MAX)
            .keep_peer()
            .into(),
    ];
    for options in backends {
        let kind = specs().into_iter().find(|it| it.name == options.kind());
        assert_eq!(options.check(kind.unwrap()), Ok(()), "{options:?}");
    }
}
