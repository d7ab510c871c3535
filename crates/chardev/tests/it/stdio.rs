//! The back end `stdio`, in a process of its own on ptys, pipes, sockets and files.
//!
//! The process is this very test binary, asked to run [`child`] alone.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::common::{self, DEADLINE, add, change, ring, wait_for};
use chardev::spec::{OptionValue, Options};
use chardev::{BlockingFrontEnd, Chardevs, Event, FrontEnd, Ready, ReadyFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::termios::{LocalModes, OutputModes, tcgetattr};

const CHILD: &str = "CHARDEV_TEST_STDIO";

/// A console on stdio. It answers `x` with `<x>`; `s` changes away and back, `o` to stdio itself
/// with the other setting of `signal`, `h` the same with `x-handover`; `t` tries a second stdio,
/// `q` ends. At the end of input it says so and ends too.
#[test]
fn child() {
    let Ok(signal) = std::env::var(CHILD) else {
        return;
    };
    let chardevs = Chardevs::new().unwrap();
    let mut options = Options::new("stdio").with("signal", OptionValue::Bool(signal == "on"));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    say(&front, "[ready]");
    let ready = ReadyFd::new(&front, Ready::READ).unwrap();
    let mut key = [0];
    loop {
        ready.clear();
        if front.read(&mut key) == 1 {
            match key[0] {
                b'q' => break,
                b's' => {
                    change(&chardevs, "con0", &ring(64)).unwrap();
                    change(&chardevs, "con0", &options).unwrap();
                    say(&front, "[back]");
                }
                key @ (b'o' | b'h') => {
                    let signals = options.bool_or("signal", true);
                    options.set("signal", OptionValue::Bool(!signals));
                    options.set("x-handover", OptionValue::Bool(key == b'h'));
                    change(&chardevs, "con0", &options).unwrap();
                }
                b't' => {
                    let second = chardevs.add("con1", &options);
                    say(&front, &chardevs.block_on(second).unwrap_err().to_string());
                }
                other => say(&front, &format!("<{}>", other as char)),
            }
        } else if let Some(event) = front.next_event() {
            if event == Event::Closed {
                say(&front, "[closed]");
                break;
            }
        } else {
            poll(&mut [PollFd::new(&ready, PollFlags::IN)], None).unwrap();
        }
    }
    chardevs.block_on(chardevs.shut_down(DEADLINE));
}

fn say(front: &FrontEnd, text: &str) {
    assert_eq!(
        front.write_all(text.as_bytes(), Some(DEADLINE)).unwrap(),
        text.len()
    );
}

fn start(stdin: impl Into<Stdio>, stdout: impl Into<Stdio>, signal: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["stdio::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, signal)
        .stdin(stdin)
        .stdout(stdout)
        .spawn()
        .unwrap()
}

/// Reads until `marker` has come and returns all of it.
fn read_past(from: &mut impl Read, marker: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(marker) {
        let mut buf = [0; 256];
        let count = from.read(&mut buf).unwrap();
        assert!(
            count > 0,
            "{marker:?} not in {:?}",
            String::from_utf8_lossy(&all)
        );
        all.extend_from_slice(&buf[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn terminal() -> (File, OwnedFd) {
    let (master, name) = common::terminal();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    (master, slave)
}

fn copy(fd: &OwnedFd) -> Stdio {
    fd.try_clone().unwrap().into()
}

#[test]
fn a_terminal_is_raw_meanwhile_and_then_as_before() {
    for signal in ["on", "off"] {
        let (mut master, slave) = terminal();
        let before = tcgetattr(&slave).unwrap();
        let mut child = start(copy(&slave), copy(&slave), signal);
        read_past(&mut master, "[ready]");
        let raw = tcgetattr(&slave).unwrap();
        assert!(
            !raw.local_modes
                .intersects(LocalModes::ECHO | LocalModes::ICANON)
        );
        assert_eq!(raw.local_modes.contains(LocalModes::ISIG), signal == "on");
        assert!(raw.output_modes.contains(OutputModes::OPOST));
        assert!(
            !fcntl_getfl(&slave).unwrap().contains(OFlags::NONBLOCK),
            "others would notice"
        );

        master.write_all(b"a").unwrap();
        read_past(&mut master, "<a>");
        // Twice: the first refusal must not have opened the door to the second.
        for _ in 0..2 {
            master.write_all(b"t").unwrap();
            read_past(
                &mut master,
                "cannot use stdio by multiple character devices",
            );
        }
        master.write_all(b"sb").unwrap();
        read_past(&mut master, "<b>");
        assert!(
            !tcgetattr(&slave)
                .unwrap()
                .local_modes
                .contains(LocalModes::ECHO)
        );
        // To stdio itself: what is typed meanwhile is read, in order, and the settings follow.
        for (round, keys) in ["oc", "hd", "oooe", "hohohf"].iter().enumerate() {
            master.write_all(keys.as_bytes()).unwrap();
            let last = keys.chars().last().unwrap();
            read_past(&mut master, &format!("<{last}>"));
            let modes = tcgetattr(&slave).unwrap().local_modes;
            let signals = (signal == "on") == (round % 2 == 1);
            assert_eq!(modes.contains(LocalModes::ISIG), signals, "{keys}");
            assert!(!modes.contains(LocalModes::ECHO));
        }
        master.write_all(b"q").unwrap();
        assert!(child.wait().unwrap().success());
        let after = tcgetattr(&slave).unwrap();
        assert_eq!(after.local_modes, before.local_modes);
        assert_eq!(after.input_modes, before.input_modes);
        assert_eq!(after.output_modes, before.output_modes);
        assert_eq!(after.control_modes, before.control_modes);
    }
}

#[test]
fn the_end_of_a_pipe_closes_input_but_not_output() {
    let (stdin, mut to) = std::io::pipe().unwrap();
    let (mut from, stdout) = std::io::pipe().unwrap();
    let shared = [
        OwnedFd::from(stdin.try_clone().unwrap()),
        stdout.try_clone().unwrap().into(),
    ];
    let mut child = start(stdin, stdout, "on");
    to.write_all(b"abs").unwrap();
    read_past(&mut from, "[back]");
    for fd in &shared {
        assert!(!fcntl_getfl(fd.as_fd()).unwrap().contains(OFlags::NONBLOCK));
    }
    to.write_all(b"c").unwrap();
    read_past(&mut from, "<c>");
    drop(to);
    read_past(&mut from, "[closed]");
    drop(shared);
    std::io::copy(&mut from, &mut std::io::sink()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_socket_stays_blocking_for_others() {
    let (mut peer, socket) = UnixStream::pair().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let socket = OwnedFd::from(socket);
    let mut child = start(copy(&socket), copy(&socket), "on");
    peer.write_all(b"ab").unwrap();
    read_past(&mut peer, "<b>");
    assert!(!fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK));
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    read_past(&mut peer, "[closed]");
    assert!(child.wait().unwrap().success());
}

#[test]
fn files_work_and_keep_one_position_with_others() {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in"), dir.path().join("out"));
    std::fs::write(&input, "ab").unwrap();
    let mut out = File::create(&output).unwrap();
    out.write_all(b"before ").unwrap();
    let stdout = out.try_clone().unwrap();
    let mut child = start(File::open(&input).unwrap(), stdout, "on");
    assert!(child.wait().unwrap().success());
    out.write_all(b"after").unwrap();
    let all = wait_for("output", || std::fs::read_to_string(&output).ok());
    assert!(all.starts_with("before "), "{all}");
    assert!(all.contains("[ready]<a><b>[closed]"), "{all}");
    assert!(all.ends_with("after"), "{all}");
}
