//! A monitor with several clients at a time: `x-clients`, and `x-query-monitors`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::daemon_rig::{self, Daemon, connect, console, read_until, until};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;

/// A daemon that has a second monitor, whose socket takes `clients`.
fn start(dir: &Path, clients: &str) -> (Daemon, PathBuf) {
    let path = dir.join("many");
    let device = format!("unix:{},server=on,wait=off,{clients}", path.display());
    (Daemon::start(&["-name", "vm", "-qmp", &device]), path)
}

fn named(client: &mut Client<UnixStream>) -> bool {
    let answer = client.execute("query-name", Object::new()).unwrap();
    answer.get("name").and_then(Json::as_str) == Some("vm")
}

/// What `x-query-monitors` says of the second monitor.
fn monitor(client: &mut Client<UnixStream>) -> Json {
    let answer = client.execute("x-query-monitors", Object::new()).unwrap();
    let all = answer.as_array().unwrap();
    let label =
        |monitor: &&Json| monitor.get("label").and_then(Json::as_str) == Some("compat_monitor0");
    all.iter().find(label).unwrap().clone()
}

fn clients(client: &mut Client<UnixStream>) -> usize {
    let monitor = monitor(client);
    monitor
        .get("clients")
        .and_then(Json::as_array)
        .unwrap()
        .len()
}

#[test]
fn several_clients_are_served_and_the_next_one_waits_for_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, path) = start(dir.path(), "x-clients=3");
    let mut other = daemon.client();
    let mut all: Vec<_> = (0..3).map(|_| connect(&path)).collect();
    assert!(all.iter_mut().all(named));
    let told = monitor(&mut other);
    assert_eq!(told.get("limit"), Some(&Json::from(3u32)));
    assert_eq!(told.get("mode"), Some(&Json::from("control")));
    let told = told.get("clients").and_then(Json::as_array).unwrap();
    assert_eq!(told.len(), 3);
    let own = i64::from(std::process::id());
    for client in told {
        assert_eq!(client.get("pid"), Some(&Json::from(own)), "{client}");
    }
    // Their programs are looked up elsewhere, so that no monitor waits for it.
    until("the programs are known", || {
        let told = monitor(&mut other);
        let clients = told.get("clients").and_then(Json::as_array).unwrap();
        let named = |client: &Json| client.get("program").and_then(Json::as_str).is_some();
        clients.len() == 3 && clients.iter().all(named)
    });
    let mut fourth = console(&path);
    fourth.set_nonblocking(true).unwrap();
    assert!(all.iter_mut().all(named));
    assert!(fourth.read(&mut [0; 1]).is_err(), "nobody greets it yet");
    fourth.set_nonblocking(false).unwrap();
    all.remove(1);
    read_until(&mut fourth, "}}\r\n");
    assert!(all.iter_mut().all(named));
    drop((fourth, all));
    until("all are gone", || clients(&mut other) == 0);
    // A plain monitor is listed with whoever is at it.
    let answer = other.execute("x-query-monitors", Object::new()).unwrap();
    let plain = &answer.as_array().unwrap()[1];
    assert_eq!(plain.get("limit"), Some(&Json::from(1u32)));
    assert_eq!(
        plain.get("clients").and_then(Json::as_array).unwrap().len(),
        1
    );
}

#[test]
fn the_monitor_s_chardev_can_be_changed_while_several_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let (_daemon, path) = start(dir.path(), "x-clients=0");
    let mut all: Vec<_> = (0..4).map(|_| connect(&path)).collect();
    let next = dir.path().join("next");
    let backend = format!(
        "{{'type': 'socket', 'data': {{'x-clients': 0, 'addr': {{'type': 'unix', 'data': {{'path': '{}'}}}}}}}}",
        next.display()
    );
    // The one that asks is answered, and stays.
    daemon_rig::change(&mut all[2], "compat_monitor0", &backend);
    assert!(all.iter_mut().all(named));
    assert!(!path.exists());
    all.push(connect(&next));
    all.push(connect(&next));
    assert!(all.iter_mut().all(named));
    assert_eq!(clients(&mut all[0]), 6);
    // One client at a time again: those that are there stay until they leave.
    daemon_rig::change(
        &mut all[5],
        "compat_monitor0",
        "{'type': 'pty', 'data': {}}",
    );
    assert!(all.iter_mut().all(named));
}

#[test]
fn events_and_descriptors_are_each_client_s_own() {
    let dir = tempfile::tempdir().unwrap();
    let (_daemon, path) = start(dir.path(), "x-clients=0");
    let (mut one, mut other) = (connect(&path), connect(&path));
    let enable = Object::new().with("enable", true);
    one.execute("x-chardev-events", enable).unwrap();
    let backend = Json::parse("{'type': 'null', 'data': {}}").unwrap();
    let add = Object::new().with("id", "n").with("backend", backend);
    other.execute("chardev-add", add.clone()).unwrap();
    other.execute("chardev-change", add).unwrap();
    // The client that looked whether the daemon answers may be told of as leaving first.
    while one.next_event().unwrap().name != "X_CHARDEV_CHANGED" {}
    other.execute("stop", Object::new()).unwrap();
    while one.next_event().unwrap().name != "STOP" {}
    let heard = other.take_events();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].name, "STOP");
}

#[test]
fn a_flood_of_clients_leaves_half_of_the_descriptors_to_the_consoles() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many");
    let mut command = std::process::Command::new("/bin/sh");
    command.current_dir(dir.path()).args([
        "-c",
        "ulimit -n 96; exec \"$0\" -qmp unix:qmp,server=on,wait=off -qmp unix:many,server=on,wait=off,x-clients=0",
        env!("CARGO_BIN_EXE_chardevd"),
    ]);
    let daemon = Daemon::adopt(command, &dir.path().join("qmp"));
    let mut other = daemon.client();
    // More than the backlog holds would have to wait to connect at all.
    let flood: Vec<_> = (0..60).map(|_| console(&path)).collect();
    until("the room is full", || {
        let answer = other.execute("x-query-monitors", Object::new()).unwrap();
        let served = |monitor: &Json| {
            monitor
                .get("clients")
                .and_then(Json::as_array)
                .unwrap()
                .len()
        };
        answer.as_array().unwrap().iter().map(served).max() == Some(48)
    });
    let pty = Json::parse("{'type': 'pty', 'data': {}}").unwrap();
    let add = Object::new().with("id", "p").with("backend", pty);
    other.execute("chardev-add", add).unwrap();
    drop(flood);
    let mut next = connect(&path);
    next.execute("query-name", Object::new()).unwrap();
}

#[test]
fn whoever_looked_in_before_is_not_greeted_in_the_next_client_s_place() {
    let dir = tempfile::tempdir().unwrap();
    let (_daemon, path) = start(dir.path(), "x-clients=1");
    for _ in 0..200 {
        drop(console(&path));
        assert!(named(&mut connect(&path)));
    }
}

#[test]
fn a_client_that_reads_nothing_does_not_keep_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let (mut daemon, path) = start(dir.path(), "x-clients=0");
    let mut deaf = UnixStream::connect(&path).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let asked = "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-version\"}\n";
    let mut sent = 0;
    until("it takes no more", || match deaf.write(asked.as_bytes()) {
        Ok(count) => {
            sent += count;
            false
        }
        Err(_) => sent > 100 << 10,
    });
    let began = Instant::now();
    let (status, said) = daemon.terminate();
    assert!(status.success(), "{said}");
    // A second for the monitor to tell of the end, and two for its chardev to deliver.
    let took = began.elapsed();
    assert!(took < Duration::from_millis(4500), "{took:?}");
}

#[test]
fn a_device_serves_one_client_at_a_time_whatever_the_option_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con");
    let chardev = format!(
        "socket,id=c,path={},server=on,wait=off,x-clients=0",
        path.display()
    );
    let _daemon = Daemon::start(&[
        "-chardev",
        &chardev,
        "-device",
        "exec,chardev=c,command=cat",
    ]);
    use std::io::Write;
    let mut first = console(&path);
    first.write_all(b"first\n").unwrap();
    read_until(&mut first, "first\r\nfirst\r\n");
    let mut second = console(&path);
    second.write_all(b"second\n").unwrap();
    drop(first);
    read_until(&mut second, "second\r\nsecond\r\n");
}

#[test]
fn what_the_option_takes_is_checked() {
    for (line, error) in [
        (
            "server=off,x-clients=2",
            "incompatible with socket in client connect mode",
        ),
        ("server=on,wait=off,x-clients=-1", "x-clients"),
        (
            "server=on,wait=off,x-clients=65536",
            "expects a number from 0 to 65535",
        ),
    ] {
        let line = format!("socket,id=c,path=/nonexistent/x,{line}");
        let output = daemon_rig::chardevd(&["-chardev", &line]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(error), "{said}");
    }
}

/// Counted rather than timed: what monitors compute must cost the thread of the consoles nothing.
#[test]
fn monitors_do_not_compute_on_the_thread_that_serves_consoles() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, path) = start(dir.path(), "x-clients=0");
    let ticks = |name: &str| -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap();
        let stats = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")));
        let stats = stats.filter_map(Result::ok);
        let of_thread = stats.filter_map(|stat| {
            let (head, fields) = stat.rsplit_once(") ")?;
            let fields: Vec<&str> = fields.split(' ').collect();
            let used: u64 = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
            head.ends_with(&format!("({name}")).then_some(used)
        });
        of_thread.sum()
    };
    let before = ticks("chardev-io");
    let mut clients = [connect(&path), connect(&path), daemon.client()];
    until("much was computed", || {
        for client in &mut clients {
            client.execute("query-qmp-schema", Object::new()).unwrap();
        }
        ticks("monitors") >= 50
    });
    let used = ticks("chardev-io") - before;
    assert!(
        used <= 5,
        "the thread of the consoles computed for {used} ticks"
    );
}
