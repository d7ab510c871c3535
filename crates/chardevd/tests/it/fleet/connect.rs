//! `chardevctl connect`, by way of three real servers.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use chardev_qapi::Object;
use rustix::process::{Pid, Signal, kill_process};

use super::expected;
use super::peers::{BEGIN, Host};
use super::servers::{Servers, until};
use crate::ctl_rig::{chardevctl, wait};

/// A `chardevctl connect`, which does not outlive the test.
struct Connected(Child);

impl Connected {
    fn start(servers: &Servers, console: &str) -> Connected {
        Connected::within(servers, "lab", console)
    }

    fn within(servers: &Servers, cluster: &str, console: &str) -> Connected {
        let mut command = connect(servers, cluster, console);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Connected(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    /// What it has said, once it has ended with that status.
    fn said(&mut self, status: i32) -> String {
        let ended = wait(&mut self.0);
        let said = std::io::read_to_string(self.0.stderr.take().unwrap()).unwrap();
        assert_eq!(ended.code(), Some(status), "{said}");
        said
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(servers: &Servers, cluster: &str, console: &str) -> Command {
    let mut command = chardevctl();
    let servers = servers.addresses("nats").join(",");
    let arguments = [
        "--fleet",
        &servers,
        "--cluster",
        cluster,
        "connect",
        console,
    ];
    command.args(arguments);
    command
}

#[test]
fn a_program_is_the_peer_of_a_console() {
    let dir = tempfile::tempdir().unwrap();
    let mut servers = Servers::start();
    let host = Host::start(dir.path(), &servers, "node.7", "x-nats");
    until("there is a console", || host.back("con0").contains("nats:"));
    let mut program = Connected::start(&servers, "node.7/con0");
    until("it is there", || host.is_connected());
    for (console, status, said) in [
        ("node.7/con0", 1, "'con0' has a peer already: NATS"),
        ("node.7/con1", 1, "'con1' takes no peer over the fleet"),
        (
            "node.1/con0",
            3,
            "nobody serves 'con0' of the host 'node.1'",
        ),
        ("con0", 2, "write HOST/CONSOLE"),
    ] {
        let refused = Connected::start(&servers, console).said(status);
        assert!(refused.contains(said), "{refused}");
    }
    let far = host.far();
    let (mut input, output) = (program.0.stdin.take(), program.0.stdout.take());
    let (mut typed, mut seen) = (far.try_clone().unwrap(), output.unwrap());
    const COUNT: usize = 3 << 20;
    let text = expected(BEGIN[0], COUNT as u64);
    let printed = text.clone();
    let printing = std::thread::spawn(move || {
        let mut far = far;
        far.write_all(&printed).unwrap();
    });
    let typing = std::thread::spawn(move || {
        let mut all = vec![0; COUNT];
        typed.read_exact(&mut all).unwrap();
        all
    });
    let writing = {
        let (mut input, text) = (input.take().unwrap(), text.clone());
        std::thread::spawn(move || {
            input.write_all(&text).unwrap();
            input
        })
    };
    servers.kill(0);
    let mut all = vec![0; COUNT];
    seen.read_exact(&mut all).unwrap();
    assert!(all == text && typing.join().unwrap() == text);
    printing.join().unwrap();
    input = Some(writing.join().unwrap());

    // What is printed just before the console goes elsewhere is here before the end.
    let mut far = host.far();
    far.write_all(&text[..100_000]).unwrap();
    let mut rest = vec![0; 1];
    seen.read_exact(&mut rest).unwrap();
    host.change(r#"{"type": "null", "data": {}}"#);
    seen.read_to_end(&mut rest).unwrap();
    assert!(text.starts_with(&rest));
    let said = program.said(0);
    assert!(said.contains("node.7/con0 goes elsewhere now"), "{said}");
    drop(input);

    // Who is told to end tells the console.
    host.change(r#"{"type": "x-nats", "data": {}}"#);
    let mut program = Connected::start(&servers, "node.7/con0");
    // It hears of signals by now.
    far.write_all(&text[..1]).unwrap();
    let mut first = [0];
    let seen = program.0.stdout.as_mut().unwrap();
    seen.read_exact(&mut first).unwrap();
    kill_process(Pid::from_child(&program.0), Signal::TERM).unwrap();
    wait(&mut program.0);
    until("it has left", || !host.is_connected());
}

#[test]
fn a_host_that_goes_to_another_cluster_takes_its_consoles_along() {
    let dir = tempfile::tempdir().unwrap();
    let servers = Servers::start();
    let host = Host::start(dir.path(), &servers, "node.7", "x-nats");
    let file = host.dir.join("chardevd.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let reload = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let reloaded = host.daemon.client().execute("x-reload", Object::new());
        reloaded.unwrap();
    };
    until("there is a console", || host.back("con0").contains("nats:"));
    let mut far = host.far();
    let mut before = Connected::start(&servers, "node.7/con0");
    until("it is there", || host.is_connected());
    far.write_all(b"before").unwrap();
    let mut seen = [0; 6];
    before
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut seen)
        .unwrap();
    assert_eq!(&seen, b"before");

    reload(&text.replace("cluster = 'lab'", "cluster = 'other'"));
    let said = before.said(1);
    assert!(said.contains("is in another fleet"), "{said}");
    until("it is missed", || !host.is_connected());
    let mut after = Connected::within(&servers, "other", "node.7/con0");
    until("it is there", || host.is_connected());
    far.write_all(b"after!").unwrap();
    after
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut seen)
        .unwrap();
    assert_eq!(&seen, b"after!");

    // Without a fleet it is a console whose peer does not come.
    let (_, rest) = text.split_once("[[monitor]]").unwrap();
    reload(&format!("[[monitor]]{rest}"));
    after.said(1);
    until("it is missed", || !host.is_connected());
    assert!(host.back("con0").starts_with("disconnected:nats:"));
}
