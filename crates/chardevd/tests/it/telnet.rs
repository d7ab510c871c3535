//! Telnet with real peers: every byte comes through as it is, and a break as a break.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use crate::qemu_rig::qemu10;
use crate::telnet_rig::{Coupled, Program, all_bytes, dribble, hear, line};

const NEAR: &str = "socket,host=127.0.0.1,port=0,server=on,wait=off,telnet=on";
/// What comes before somebody is there waits for them.
const FAR: &str = "socket,path=far,server=on,wait=off,x-closed=hold";
/// A far end where a break can be seen.
const FAR_TELNET: &str = "socket,path=far,server=on,wait=off,telnet=on";

/// What a server of QEMU's says first.
const GREETING: &[u8] = b"\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00";
const BREAK: &[u8] = b"\xff\xf3";

fn doubled(bytes: &[u8]) -> Vec<u8> {
    let twice = |byte: &u8| vec![*byte; 1 + usize::from(*byte == 255)];
    bytes.iter().flat_map(twice).collect()
}

#[test]
fn inetutils_telnet_types_and_reads_and_sends_a_break() {
    let bed = Coupled::start(NEAR, FAR_TELNET);
    let mut far = bed.far("far");
    hear(&mut far, GREETING);
    let script = format!(
        "set timeout 60
        spawn telnet 127.0.0.1 {}
        expect timeout {{exit 1}} {{Escape character is '^]'.}}
        expect timeout {{exit 2}} login:
        send root\\r
        expect timeout {{exit 3}} there
        send \\x1d
        expect timeout {{exit 4}} telnet>
        send {{send brk}}
        send \\r
        expect timeout {{exit 5}} done
        send again
        expect eof",
        bed.port()
    );
    let telnet = Program::start("expect", &["-c", &script]);
    bed.until_connected("near");
    far.write_all(b"login: ").unwrap();
    hear(&mut far, b"root\r");
    far.write_all(b"there\r\n").unwrap();
    hear(&mut far, BREAK);
    far.write_all(b"done\r\n").unwrap();
    hear(&mut far, b"again");
    drop(bed);
    telnet.finish();
}

#[test]
fn inetutils_telnet_passes_every_byte() {
    let bed = Coupled::start(NEAR, FAR);
    let mut far = bed.far("far");
    let telnet = format!("EXEC:telnet -E 127.0.0.1 {},pty,raw,echo=0", bed.port());
    let mut telnet = Program::start("socat", &["-", &telnet]);
    while line(&mut telnet.output).trim_end() != "Escape character is 'off'." {}
    // What comes through shows that it has made its terminal raw.
    far.write_all(b"begin").unwrap();
    hear(&mut telnet.output, b"begin");
    let all = all_bytes().repeat(8);
    telnet.input.write_all(&all).unwrap();
    hear(&mut far, &all);
    far.write_all(&all).unwrap();
    hear(&mut telnet.output, &all);
}

#[test]
fn gensios_telnet_passes_every_byte_as_client_and_as_server() {
    let all = all_bytes().repeat(20);
    let bed = Coupled::start(NEAR, FAR);
    let mut far = bed.far("far");
    let address = format!("telnet,tcp,127.0.0.1,{}", bed.port());
    let mut client = Program::start("gensiot", &[&address]);
    client.input.write_all(&all).unwrap();
    hear(&mut far, &all);
    far.write_all(&all).unwrap();
    hear(&mut client.output, &all);

    let server = "exec gensiot -a -p telnet,tcp,127.0.0.1,0 2>&1";
    let mut server = Program::start("sh", &["-c", server]);
    let port = listening_port(&mut server);
    let near = format!("socket,host=127.0.0.1,port={port},server=off,telnet=on,reconnect-ms=50");
    let bed = Coupled::start(&near, FAR);
    let mut far = bed.far("far");
    far.write_all(&all).unwrap();
    hear(&mut server.output, &all);
    server.input.write_all(&all).unwrap();
    hear(&mut far, &all);
}

/// gensiot says where it listens, in the form `Address 0(0): ipv4,127.0.0.1,PORT`.
fn listening_port(server: &mut Program) -> u16 {
    let said = line(&mut server.output);
    assert_eq!(line(&mut server.output), "Done\n");
    said.trim().rsplit_once(',').unwrap().1.parse().unwrap()
}

#[test]
fn a_peer_that_sends_byte_by_byte_is_understood() {
    let bed = Coupled::start(NEAR, FAR_TELNET);
    let (mut near, mut far) = (bed.near(), bed.far("far"));
    hear(&mut near, GREETING);
    hear(&mut far, GREETING);
    // It grants what it is asked for, wants what there is not, and says its size.
    dribble(
        &mut near,
        b"\xff\xfd\x01\xff\xfd\x03\xff\xfd\x00\xff\xfb\x00\xff\xfb\x63",
    );
    hear(&mut near, b"\xff\xfd\x1f\xff\xfe\x63");
    dribble(
        &mut near,
        b"\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0",
    );
    let all = all_bytes();
    dribble(&mut near, &doubled(&all));
    hear(&mut far, &doubled(&all));
    dribble(&mut near, b"before\xff\xf3after");
    hear(&mut far, b"before\xff\xf3after");
    dribble(&mut far, b"\xff\xf3");
    hear(&mut near, BREAK);
    dribble(&mut far, &doubled(&all));
    hear(&mut near, &doubled(&all));
}

#[test]
fn pythons_telnetlib_which_refuses_everything_reads_and_writes() {
    let bed = Coupled::start(NEAR, FAR);
    let mut far = bed.far("far");
    let script = format!(
        "import telnetlib
with telnetlib.Telnet('127.0.0.1', {}, 60) as telnet:
    telnet.write(b'first')
    assert telnet.read_until(b'end', 60) == b'a\\rb\\r\\n\\xff end'
    telnet.write(b'last\\r\\0\\xff')
    telnet.read_all()",
        bed.port()
    );
    let python = Program::start("/usr/bin/python3", &["-W", "ignore", "-c", &script]);
    hear(&mut far, b"first");
    far.write_all(b"a\rb\r\n\xff end").unwrap();
    hear(&mut far, b"last\r\xff");
    drop((bed, far));
    python.finish();
}

#[test]
fn the_telnet_of_qemu_itself_is_spoken_to_in_both_roles() {
    let bed = Coupled::start(NEAR, FAR);
    let mut far = bed.far("far");
    let monitor = "-mon chardev=m,mode=readline";
    let client = format!(
        "-chardev socket,id=m,host=127.0.0.1,port={},telnet=on {monitor}",
        bed.port()
    );
    let mut qemu = qemu10();
    qemu.args(client.split(' '));
    let _qemu = Program::run(qemu);
    let greeting = "QEMU 10.0";
    hear(&mut far, greeting.as_bytes());

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("monitor");
    let server = format!(
        "-chardev socket,id=m,path={},server=on,wait=off,telnet=on {monitor}",
        path.display()
    );
    let mut qemu = qemu10();
    qemu.args(server.split(' '));
    let _qemu = Program::run(qemu);
    let near = format!(
        "socket,path={},server=off,telnet=on,reconnect-ms=50",
        path.display()
    );
    let bed = Coupled::start(&near, FAR);
    hear(&mut bed.far("far"), greeting.as_bytes());
}

#[test]
fn we_greet_as_qemu_does() {
    for option in ["telnet", "tn3270"] {
        let options = format!("socket,host=127.0.0.1,port=0,server=on,wait=off,{option}=on");
        let bed = Coupled::start(&options, FAR);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qemu");
        let mut qemu = qemu10();
        qemu.arg("-chardev");
        qemu.arg(format!(
            "socket,id=m,path={},server=on,wait=off,{option}=on",
            path.display()
        ));
        let _qemu = Program::run(qemu);
        let mut theirs = crate::daemon_rig::console(&path);
        let greeting = first(&mut theirs);
        assert!(greeting.len() >= 12);
        hear(&mut bed.near(), &greeting);
    }
}

/// What comes first, in one piece.
fn first(from: &mut (impl Read + AsFd)) -> Vec<u8> {
    let mut buf = [0; 256];
    let count = from.read(&mut buf).unwrap();
    buf[..count].to_vec()
}
