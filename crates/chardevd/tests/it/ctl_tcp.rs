//! `chardevctl` over TCP, which passes no descriptors: streams are tunnels.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use crate::ctl_rig::{Attached, Daemon, chardevctl, text, until, wait};

/// A daemon with a monitor over TCP beside its own, and where that is.
fn start(command: &str, more: &str) -> (Daemon, String) {
    start_with(command, more, &[])
}

fn start_with(command: &str, more: &str, and: &[&str]) -> (Daemon, String) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let device = format!("exec,chardev=con0,command={}", command.replace(',', ",,"));
    let monitor = format!("tcp:{address},server=on,wait=off{more}");
    let arguments = ["--chardev", "ringbuf,id=con0,x-history=1048576"];
    let device = ["--device", &device, "--qmp", &monitor];
    let arguments = [&arguments[..], &device, and].concat();
    (Daemon::with(&arguments), address)
}

fn ctl(address: &str, arguments: &[&str]) -> Command {
    let mut command = chardevctl();
    command.args(["--host", address]).args(arguments);
    command
}

fn run(address: &str, arguments: &[&str]) -> Output {
    ctl(address, arguments).output().expect("it runs")
}

#[test]
fn what_needs_a_stream_works_over_tcp_as_well() {
    let (daemon, address) = start("echo ready; exec cat", ",x-clients=0");
    let told = |arguments: &[&str]| {
        let output = run(&address, arguments);
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        text(&output.stdout)
    };
    told(&["expect", "con0", "--from", "oldest", "ready"]);
    told(&["expect", "con0", "--send", "over tcp\\r", "over tcp"]);
    assert!(told(&["history", "con0"]).contains("over tcp"));
    let mut watch = ctl(&address, &["watch", "con0", "--from", "0"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut attached = Attached::begin(&mut ctl(&address, &["attach", "con0"]));
    attached.wait_for("over tcp");
    attached.type_in(b"typed\r");
    attached.wait_for("typed");
    let is_attached = || {
        let list = daemon.succeed(&["list"]);
        let mut rows = list.lines().filter(|row| row.starts_with("con0 "));
        let row = rows.next();
        row.is_some_and(|row| row.contains("127.0.0.1:"))
    };
    until("who is attached is listed", is_attached);
    attached.type_in(b"\x1d.");
    assert!(attached.wait().success());
    until("it has left", || !is_attached());
    daemon.succeed(&["qmp", "quit"]);
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut watch.stdout.take().expect("piped"), &mut seen)
        .expect("text");
    let status = wait(&mut watch);
    // The daemon has ended, which it is told as over a Unix socket.
    assert_eq!(status.code(), Some(8), "{seen:?}");
    assert!(
        seen.starts_with("ready") && seen.contains("typed"),
        "{seen}"
    );
}

#[test]
fn what_is_sent_through_a_tunnel_arrives_whole_however_soon_it_is_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out");
    // It floods us, so that what we leave is never empty.
    let command = format!("stty raw -echo; yes flood & exec cat > {}", out.display());
    let (_daemon, address) = start(&command, ",x-clients=0");
    let sent: String = (0..20_000)
        .map(|number| format!("line {number}\n"))
        .collect();
    for round in 1..=3 {
        let mut attach = ctl(&address, &["attach", "con0", "--idle", "50", "--force"]);
        let attach = attach.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut attach = attach.spawn().expect("it runs");
        let mut input = attach.stdin.take().expect("piped");
        input.write_all(sent.as_bytes()).expect("it takes it");
        drop(input);
        // A console that never falls silent is not left for that: it is told to go.
        until("all is there", || {
            std::fs::read(&out).is_ok_and(|all| all.len() >= round * sent.len())
        });
        let pid = rustix::process::Pid::from_child(&attach);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is there");
        wait(&mut attach);
    }
    let all = std::fs::read_to_string(&out).expect("text");
    assert!(all == sent.repeat(3), "{} of {}", all.len(), 3 * sent.len());
}

#[test]
fn a_monitor_with_one_client_at_a_time_says_what_it_lacks() {
    let (_daemon, address) = start("exec cat", "");
    let output = run(&address, &["attach", "con0"]);
    let errors = text(&output.stderr);
    assert!(
        errors.contains("a monitor with 'x-clients=0' has as many as come"),
        "{errors}"
    );
}

#[test]
fn tunnels_are_few_and_only_for_whoever_offered_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let many = dir.path().join("many");
    let and = format!("unix:{},server=on,wait=off,x-clients=0", many.display());
    let (_daemon, address) = start_with("exec cat", ",x-clients=0", &["--qmp", &and]);
    let wrong = run(&address, &["qmp", "x-tunnel-join", r#"{"key":"00"}"#]);
    assert!(text(&wrong.stderr).contains("no tunnel waits for this key"));
    let offers: String = (0..70)
        .map(|number| {
            format!(r#"{{"execute":"x-tunnel-offer","arguments":{{"fdname":"f{number}"}}}}"#)
        })
        .collect();
    let offers = format!("{{\"execute\":\"qmp_capabilities\"}}{offers}");
    let mut relay = ctl(&address, &["qmp"]);
    let relay = relay.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut relay = relay.spawn().expect("it runs");
    let mut input = relay.stdin.take().expect("piped");
    input.write_all(offers.as_bytes()).expect("written");
    drop(input);
    let answers = text(&relay.wait_with_output().expect("answers").stdout);
    assert_eq!(answers.matches("\"key\"").count(), 64, "{answers}");
    assert_eq!(answers.matches("wait to be joined already").count(), 6);
    // One user's key is nobody else's, over whatever monitor.
    let key = answers.split("\"key\": \"").nth(1).expect("a key");
    let stolen = format!(r#"{{"key":"{}"}}"#, &key[..32]);
    let mut other = chardevctl();
    let other = other.arg("--socket").arg(&many);
    let refused = other.args(["qmp", "x-tunnel-join", &stolen]).output();
    let refused = refused.expect("it runs");
    assert!(
        text(&refused.stderr).contains("no tunnel waits for this key"),
        "{refused:?}"
    );
}
