//! RFC 2217 with real peers: what is set at one end is so at the other, and its answers are true.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::daemon_rig::until;
use crate::interop::python;
use crate::telnet_rig::{Coupled, Program, all_bytes, hear, line};

const SERVER: &str = "socket,host=127.0.0.1,port=0,server=on,wait=off,x-rfc2217=on";
const BREAK: &[u8] = b"\xff\xf3";

/// A terminal device of the host, played by a pty: the other end of its cable, and its name.
fn terminal() -> (File, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let mut settings = tcgetattr(&master).unwrap();
    settings.make_raw();
    tcsetattr(&master, OptionalActions::Now, &settings).unwrap();
    (master.into(), name.into_string().unwrap())
}

/// Sends back what comes until the other side is closed.
fn echo(mut line: File) {
    let mut buf = [0; 4096];
    while let Ok(count @ 1..) = line.read(&mut buf) {
        if line.write_all(&buf[..count]).is_err() {
            return;
        }
    }
}

fn script(text: &str, arguments: &[String]) -> Program {
    let mut command = Command::new(python());
    command.args(["-u", "-c", text]).args(arguments);
    Program::run(command)
}

fn port_of(name: &str) -> String {
    let address = name.split(",server=on").next().unwrap();
    address.rsplit_once(':').unwrap().1.to_owned()
}

#[test]
fn pyserial_sets_up_the_line_behind_our_server() {
    let (line, name) = terminal();
    let bed = Coupled::start(SERVER, &format!("serial,path={name}"));
    let peer = std::thread::spawn(|| echo(line));
    let port = bed.port().to_string();
    script(include_str!("rfc2217/client.py"), &[port, name]).finish();
    drop(bed);
    peer.join().unwrap();
}

/// A line that takes nothing, and a client that has sent more than fits: what the kernel, the null
/// modem and the device hold of it is thrown away, and the rest was delivered.
#[test]
fn a_purge_reaches_a_line_that_is_stuck() {
    let (mut cable, name) = terminal();
    let bed = Coupled::start(SERVER, &format!("serial,path={name}"));
    let mut near = bed.near();
    near.write_all(b"\xff\xfb\x2c\xff\xfa\x2c\x02\x08\xff\xf0")
        .unwrap();
    hear_somewhere(&mut near, b"\xff\xfa\x2c\x66\x08\xff\xf0");
    let typed = vec![b'x'; 200_000];
    near.write_all(&typed).unwrap();
    near.write_all(b"\xff\xfa\x2c\x0c\x02\xff\xf0").unwrap();
    hear_somewhere(&mut near, b"\xff\xfa\x2c\x70\x02\xff\xf0");
    near.write_all(b"fresh").unwrap();
    let mut heard = 0;
    hear_until(&mut cable, |said| {
        heard = said.len();
        said.ends_with(b"fresh")
    });
    let sent = bed.stat("far", "output-accepted");
    let purged = bed.stat("far", "output-purged");
    // A pseudoterminal does not say how much it throws away itself.
    assert_eq!(sent + purged, typed.len() + 5);
    assert!(purged > 0 && heard <= sent, "{purged} {heard} {sent}");
}

#[test]
fn pyserial_at_both_ends_sees_the_modem_lines_of_the_other() {
    let bed = Coupled::start(SERVER, SERVER);
    let ports = ["near", "far"].map(|id| port_of(&bed.filename(id)));
    script(include_str!("rfc2217/coupled.py"), &ports).finish();
}

#[test]
fn gensiot_sets_up_the_line_and_sends_a_break() {
    let (mut line, name) = terminal();
    let speed = || {
        let terminal = File::open(&name).unwrap();
        tcgetattr(&terminal).unwrap().output_speed()
    };
    let bed = Coupled::start(SERVER, &format!("serial,path={name}"));
    let address = format!("telnet(rfc2217),tcp,127.0.0.1,{}", bed.port());
    let mut client = Program::start("gensiot", &["-e", "1", &address]);
    let all: Vec<u8> = all_bytes().into_iter().filter(|byte| *byte != 1).collect();
    client.input.write_all(&all).unwrap();
    hear(&mut line, &all);
    line.write_all(&all).unwrap();
    hear(&mut client.output, &all);
    client.input.write_all(b"\x01s19200\n").unwrap();
    until("the speed is set", || speed() == 19_200);
    drop((bed, client));

    let bed = Coupled::start(SERVER, "socket,path=far,server=on,wait=off,telnet=on");
    let mut far = bed.far("far");
    hear(
        &mut far,
        b"\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00",
    );
    let address = format!("telnet(rfc2217),tcp,127.0.0.1,{}", bed.port());
    let mut client = Program::start("gensiot", &["-e", "1", &address]);
    client.input.write_all(b"before\x01bafter").unwrap();
    hear(&mut far, &[b"before", BREAK, b"after"].concat());
}

#[test]
fn pyserials_server_is_set_up_anew_after_each_reconnect() {
    let arguments = ["0".to_owned()];
    let mut server = script(include_str!("rfc2217/server.py"), &arguments);
    let port = line(&mut server.output).trim().to_owned();
    let remote = format!("x-rfc2217,host=127.0.0.1,port={port},reconnect-ms=50");
    let bed = Coupled::start(SERVER, &remote);
    let mut near = bed.near();
    near.write_all(b"\xff\xfb\x2c").unwrap();
    // 19200 baud, 7 bits, even parity, 2 stop bits, hardware flow control; no DTR.
    for set in [
        b"\x01\x00\x00\x4b\x00",
        b"\x02\x07",
        b"\x03\x03",
        b"\x04\x02",
        b"\x05\x03",
        b"\x05\x09",
    ] as [&[u8]; 6]
    {
        near.write_all(&[b"\xff\xfa\x2c", set, b"\xff\xf0"].concat())
            .unwrap();
    }
    let state = "19200 7E2 rtscts=1 dtr=0 rts=1 break=0\n";
    while line(&mut server.output) != state {}
    // What the line has become is answered. Its DSR is the DTR that was taken away; CD stays on.
    hear_until(&mut near, |heard| {
        let has = |said: &[u8]| heard.windows(said.len()).any(|part| part == said);
        let states = heard.split(|byte| *byte == 0xf0).rev();
        let mut states = states.filter_map(|said| said.strip_suffix(b"\xff"));
        let last = states.find_map(|said| {
            let (state, before) = said.split_last()?;
            before
                .ends_with(b"\xff\xfa\x2c\x6b")
                .then_some(state & 0xf0)
        });
        has(b"\xff\xfa\x2c\x65\x00\x00\x4b\x00\xff\xf0") && last == Some(0x90)
    });
    for (parity, name) in [(4, "7M2"), (5, "7S2"), (3, "7E2")] {
        near.write_all(&[0xff, 0xfa, 0x2c, 3, parity, 0xff, 0xf0])
            .unwrap();
        while line(&mut server.output) != state.replace("7E2", name) {}
        hear_somewhere(&mut near, &[0xff, 0xfa, 0x2c, 103, parity, 0xff, 0xf0]);
    }
    let all: Vec<u8> = (0..255).collect();
    near.write_all(&all).unwrap();
    hear_somewhere(&mut near, &all);
    drop(server);
    let mut server = script(include_str!("rfc2217/server.py"), &[port]);
    line(&mut server.output);
    while line(&mut server.output) != state {}
    near.write_all(b"\xff\xfa\x2c\x05\x05\xff\xf0").unwrap();
    while line(&mut server.output) != state.replace("break=0", "break=1") {}
    while line(&mut server.output) != state {}
}

/// Reads until `expected` has come.
fn hear_somewhere(from: &mut impl Read, expected: &[u8]) {
    hear_until(from, |heard| heard.ends_with(expected));
}

/// Reads until what has come is `enough`.
fn hear_until(from: &mut impl Read, mut enough: impl FnMut(&[u8]) -> bool) {
    let mut heard = Vec::new();
    while !enough(&heard) {
        let mut byte = [0];
        let read = from.read(&mut byte);
        assert!(
            matches!(read, Ok(1)),
            "{read:?} after {}",
            heard.escape_ascii()
        );
        heard.push(byte[0]);
    }
}

#[test]
fn ser2nets_server_is_a_serial_line_of_ours() {
    let (mut line, name) = terminal();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ser2net.yaml");
    // It cannot say which port it has, so one is asked for that was free a moment ago.
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let text = format!(
        "connection: &line\n  accepter: telnet(rfc2217),tcp,127.0.0.1,{port}\n  \
         connector: serialdev,{name},9600n81,local\n"
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let _ser2net = Program::start("/usr/sbin/ser2net", &["-n", "-d", "-c", config]);
    let remote = format!("x-rfc2217,host=127.0.0.1,port={port},reconnect-ms=50");
    let bed = Coupled::start(SERVER, &remote);
    let mut near = bed.near();
    bed.until_connected("far");
    near.write_all(b"\xff\xfb\x2c\xff\xfd\x00\xff\xfb\x00")
        .unwrap();
    near.write_all(b"\xff\xfa\x2c\x01\x00\x00\x4b\x00\xff\xf0")
        .unwrap();
    hear_somewhere(&mut near, b"\xff\xfa\x2c\x65\x00\x00\x4b\x00\xff\xf0");
    let speed = tcgetattr(&line).unwrap().output_speed();
    assert_eq!(speed, 19_200);
    let all: Vec<u8> = (0..255).collect();
    near.write_all(&all).unwrap();
    hear(&mut line, &all);
    line.write_all(&all).unwrap();
    hear_somewhere(&mut near, &all);
}
