//! Websocket with QEMU as the server, which is the only role it has, alone and over TLS.
//!
//! Its human monitor is asked: QEMU 10's QMP monitor hears nothing over a websocket, whoever asks.

use std::io::Write;

use crate::qemu_rig::qemu10;
use crate::telnet_rig::{Coupled, Program, hear, line};
use crate::tls::{Keys, free_port};
use crate::tls_rig::{CLIENT, SERVER};

/// QEMU 10.0 with its monitor at a server that speaks websocket.
fn qemu(port: u16, more: &[&str], option: &str) -> Program {
    let mut command = qemu10();
    let server = "server=on,wait=off,websocket=on";
    let chardev = format!("socket,id=m,host=127.0.0.1,port={port},{server}{option}");
    command.args(more).args(["-chardev", &chardev]);
    command.args(["-mon", "chardev=m,mode=readline"]);
    Program::run(command)
}

/// That a command gets there and its answer back.
fn check_monitor(bed: &Coupled) {
    let mut far = bed.far("far");
    assert!(line(&mut far).starts_with("QEMU 10.0"));
    hear(&mut far, b"(qemu) ");
    far.write_all(b"info version\r").unwrap();
    // Its echo is redrawn with each character.
    assert!(line(&mut far).contains("info version"));
    assert!(line(&mut far).starts_with("10.0"));
}

#[test]
fn qemus_monitor_answers_over_websocket() {
    let port = free_port();
    let _qemu = qemu(port, &[], "");
    let near = "socket,host=127.0.0.1,x-websocket-client=on,reconnect-ms=50";
    let far = "socket,path=far,server=on,wait=off,x-closed=hold";
    let bed = Coupled::start(&format!("{near},port={port}"), far);
    check_monitor(&bed);
}

#[test]
fn qemus_monitor_answers_over_websocket_in_tls() {
    let keys = Keys::new();
    let server = keys.of("server", "server", SERVER);
    let client = keys.of("client", "client", CLIENT);
    let object = format!(
        "tls-creds-x509,id=t,dir={},endpoint=server",
        server.display()
    );
    let port = free_port();
    let _qemu = qemu(port, &["-object", &object], ",tls-creds=t");
    let near = format!("port={port},x-websocket-client=on,reconnect-ms=50");
    let bed = keys.start(&client, "client", &near);
    check_monitor(&bed);
}
