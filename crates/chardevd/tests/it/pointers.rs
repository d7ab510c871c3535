//! The mouse and the tablet beside QEMU 10's: the same events, and the same bytes from both.
//!
//! QEMU's is behind the serial port of a PC without a guest, whose registers are read by qtest;
//! ours behind a null modem, which has DTR and RTS on while somebody is connected.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};
use std::time::Instant;

use chardev_qapi::{Json, Object};
use chardevd::ctl::connect::{Address, Monitor, connect};
use tempfile::TempDir;

use crate::daemon_rig::{DEADLINE, until};
use crate::qemu_rig::qemu10_pc;
use crate::telnet_rig::{Coupled, hear};

const DATA: u16 = 0x3f8;
const LINE_CONTROL: u16 = DATA + 3;
const MODEM_CONTROL: u16 = DATA + 4;
const LINE_STATUS: u16 = DATA + 5;

/// What is done to both, and what both say then.
enum Step<'a> {
    Events(&'a str, &'a [u8]),
    Sends(&'a [u8], &'a [u8]),
}

use Step::{Events, Sends};

/// QEMU with a device at its serial port.
struct Guest {
    child: Child,
    qtest: BufReader<UnixStream>,
    monitor: Monitor,
    _dir: TempDir,
}

impl Guest {
    fn start(kind: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let firmware = dir.path().join("halt.bin");
        // The first instruction is 16 bytes before the end: cli, hlt, and back to hlt.
        let mut code = vec![0xf4; 64 << 10];
        let reset = code.len() - 16;
        code[reset..reset + 4].copy_from_slice(&[0xfa, 0xf4, 0xeb, 0xfd]);
        std::fs::write(&firmware, code).unwrap();
        let qtest = UnixListener::bind(dir.path().join("qtest")).unwrap();
        let path = |name| format!("unix:{}", dir.path().join(name).display());
        let child = qemu10_pc(&firmware)
            .args(["-chardev", &format!("{kind},id=m")])
            .args(["-device", "isa-serial,chardev=m"])
            .args(["-qtest", &path("qtest"), "-qtest-log", "/dev/null"])
            .args(["-qmp", &format!("{},server=on,wait=off", path("qmp"))])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (qtest, _) = qtest.accept().unwrap();
        qtest.set_read_timeout(Some(DEADLINE)).unwrap();
        let address = Address::Unix(dir.path().join("qmp"));
        let mut monitor = None;
        until("QEMU answers", || {
            monitor = connect(&address).ok();
            monitor.is_some()
        });
        Guest {
            child,
            qtest: BufReader::new(qtest),
            monitor: monitor.unwrap(),
            _dir: dir,
        }
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.qtest.get_mut(), "{command}").unwrap();
        loop {
            let mut answer = String::new();
            self.qtest.read_line(&mut answer).unwrap();
            // Interrupts are told as well.
            if let Some(value) = answer.strip_prefix("OK") {
                return value.trim().to_owned();
            }
            assert!(answer.starts_with("IRQ"), "{command}: {answer}");
        }
    }

    fn write(&mut self, register: u16, byte: u8) {
        self.ask(&format!("outb {register:#x} {byte:#x}"));
    }

    fn read(&mut self, register: u16) -> u8 {
        let value = self.ask(&format!("inb {register:#x}"));
        u8::from_str_radix(value.trim_start_matches("0x"), 16).unwrap()
    }

    /// 9600 baud, 8N1, FIFOs on, DTR and RTS.
    fn set_up(&mut self) {
        for (register, byte) in [
            (LINE_CONTROL, 0x83),
            (DATA, 12),
            (DATA + 1, 0),
            (LINE_CONTROL, 0x03),
            (DATA + 2, 0x01),
            (MODEM_CONTROL, 0x03),
        ] {
            self.write(register, byte);
        }
    }

    /// Waits until these bits are set in the line status.
    fn until_line(&mut self, bits: u8) {
        let end = Instant::now() + DEADLINE;
        while self.read(LINE_STATUS) & bits == 0 {
            assert!(Instant::now() < end, "the line status has not {bits:#x}");
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.until_line(0x20);
            self.write(DATA, *byte);
        }
    }

    fn hear(&mut self, count: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        while heard.len() < count {
            self.until_line(0x01);
            heard.push(self.read(DATA));
        }
        heard
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The arguments of `input-send-event` for `rel x 1, btn left down` and the like.
fn frame(events: &str) -> Object {
    let events = events.split(", ").map(|event| {
        let words: Vec<&str> = event.split(' ').collect();
        let data = match words[0] {
            "btn" => Object::new()
                .with("button", words[1])
                .with("down", words[2] == "down"),
            _ => Object::new()
                .with("axis", words[1])
                .with("value", words[2].parse::<i64>().unwrap()),
        };
        let event = Object::new().with("type", words[0]).with("data", data);
        Json::from(event)
    });
    Object::new().with("events", events.collect::<Vec<_>>())
}

fn compare(kind: &str, greeting: &[u8], steps: &[Step<'_>]) {
    let bed = Coupled::start("socket,path=near,server=on,wait=off", &format!("{kind},"));
    let mut near = bed.far("near");
    hear(&mut near, greeting);
    let mut guest = Guest::start(kind);
    guest.set_up();
    assert_eq!(guest.hear(greeting.len()), greeting);
    for step in steps {
        let expected = match step {
            Events(events, expected) => {
                let command = "input-send-event";
                let theirs = guest.monitor.execute(command, frame(events));
                let ours = bed.daemon.client().execute(command, frame(events));
                assert_eq!(theirs.unwrap(), Json::empty(), "{events}");
                assert_eq!(ours.unwrap(), Json::empty(), "{events}");
                expected
            }
            Sends(bytes, expected) => {
                guest.send(bytes);
                near.write_all(bytes).unwrap();
                expected
            }
        };
        assert_eq!(guest.hear(expected.len()), *expected, "QEMU");
        hear(&mut near, expected);
    }
}

const MOUSE: &[u8] =
    b"M3\x08\x01\x24\x31\x2d\x35\x10\x10\x10\x11\x3c\x3c\x2d\x2f\x35\x33\x25\x3c\x3c\
    \x31\x25\x2d\x35\x00\x2dICROSOFT\x00\x2dOUSE\x19\x21\x09";

#[test]
fn the_mouse_says_what_qemus_says() {
    compare(
        "msmouse",
        MOUSE,
        &[
            Events("rel x 1", &[0x40, 1, 0]),
            Events("rel y 1", &[0x40, 0, 1]),
            Events("rel x -1, rel y -2", &[0x4f, 0x3f, 0x3e]),
            Events("rel x 127", &[0x41, 0x3f, 0]),
            Events("rel x -128", &[0x42, 0, 0]),
            Events("rel x 10, rel x 20", &[0x40, 30, 0]),
            Events("btn left down", &[0x60, 0, 0]),
            Events("btn left up", &[0x40, 0, 0]),
            Events("btn right down", &[0x50, 0, 0]),
            Events("btn middle down", &[0x50, 0, 0, 0x20]),
            Events("rel x 5", &[0x50, 5, 0, 0x20]),
            Events("btn middle up", &[0x50, 0, 0, 0]),
            Events("rel x 5", &[0x50, 5, 0]),
            Events("btn right up", &[0x40, 0, 0]),
            Events("btn wheel-up down", &[0x40, 0, 0]),
            Events("btn left down, btn left up", &[0x40, 0, 0]),
            Events("btn middle down, btn middle up", &[0x40, 0, 0, 0]),
            Events(
                "btn left down, btn right down, btn middle down",
                &[0x70, 0, 0, 0x20],
            ),
            // What is sent to it means nothing.
            Sends(b"anything", &[]),
            Events("rel x 0", &[0x70, 0, 0, 0x20]),
        ],
    );
}

#[test]
fn the_tablet_says_what_qemus_says() {
    const WHO: &[u8] = b"~#CT-0045R,V1.3-5,";
    compare(
        "wctablet",
        b"",
        &[
            Events("abs x 1000, abs y 2000", &[]),
            Sends(b"~#", WHO),
            Sends(b"\r", b""),
            Sends(b"RE\r", b"96,N,8,0"),
            Sends(b"REx\rRE~#\r~x#\r~\r#\rre\rTS\r\rTSab\r#\r", b""),
            Sends(b"~#RE\n", b"~#CT-0045R,V1.3-5,96,N,8,0"),
            Sends(b"TSa\r", &[0xa3, 0x7e, 0x36, 3, 0x7f, 0x7f, 0]),
            Sends(b"TS\x80\r", &[0xa3, 0x7f, 0x57, 3, 0x7f, 0x7f, 0]),
            Sends(b"TS\x7f\r", &[0xa3, 0x7e, 0x28, 3, 0x7f, 0x7f, 0]),
            Sends(b"ST\r", &[0xe0, 1, 25, 0, 1, 102, 0]),
            Events("abs x 0", &[0xe0, 0, 0, 0, 1, 102, 0]),
            Events("abs x 32767, abs y 32767", &[0xe0, 39, 44, 0, 29, 62, 0]),
            Events("btn left down", &[0xa0, 39, 44, 0, 29, 62, 0]),
            Events("abs x 16384, abs y 10000", &[0xa0, 19, 86, 0, 9, 0, 0]),
            Events("btn left up", &[0xe0, 19, 86, 0, 9, 0, 0]),
            Events("btn right down", &[0xe0, 19, 86, 0, 9, 0, 0]),
            Sends(b"SP\r", b""),
            Events("abs x 127", &[]),
            Sends(b"ST\r", &[0xe0, 0, 19, 0, 9, 0, 0]),
        ],
    );
}
