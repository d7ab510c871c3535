//! Devices come and go while the daemon runs, and all that runs can be written out and started
//! again.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::daemon_rig::{Daemon, change, console, read_until, until};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::{Client, ClientError};

fn ask(client: &mut Client<UnixStream>, command: &str, arguments: &str) -> Result<Json, String> {
    let arguments = Json::parse(arguments).unwrap();
    let arguments = arguments.as_object().unwrap().clone();
    match client.execute(command, arguments) {
        Err(ClientError::Command(error)) => Err(error.to_string()),
        answer => Ok(answer.unwrap()),
    }
}

fn add(client: &mut Client<UnixStream>, arguments: &str) -> Result<Json, String> {
    ask(client, "device_add", arguments)
}

fn delete(client: &mut Client<UnixStream>, id: &str) {
    ask(client, "device_del", &format!("{{'id': '{id}'}}")).unwrap();
    loop {
        let event = client.next_event().unwrap();
        let device = event.data.get("device").and_then(Json::as_str);
        if event.name == "DEVICE_DELETED" && device == Some(id) {
            return;
        }
    }
}

fn devices(client: &mut Client<UnixStream>) -> Vec<String> {
    let all = client.execute("x-query-devices", Object::new()).unwrap();
    let ids = all.as_array().unwrap().iter();
    ids.map(|one| one.get("id").and_then(Json::as_str).unwrap().to_owned())
        .collect()
}

/// A daemon with the sockets `a` and `b`, which listen at their names.
fn start() -> Daemon {
    let socket = |id: &str| format!("socket,id={id},path={id},server=on,wait=off");
    Daemon::start(&["-chardev", &socket("a"), "-chardev", &socket("b")])
}

#[test]
fn programs_come_and_go_without_the_consoles() {
    let daemon = start();
    let mut client = daemon.client();
    let mut peer = console(&daemon.dir().join("a"));
    for round in 0..3 {
        let command = format!("trap '' HUP; echo here {round}, ready; cat");
        let program = Object::new()
            .with("driver", "exec")
            .with("id", "p")
            .with("chardev", "a")
            .with("restart", true)
            .with("command", command);
        client.execute("device_add", program).unwrap();
        read_until(&mut peer, &format!("here {round}, ready"));
        assert_eq!(devices(&mut client), ["p"]);
        // The console is its own until it has gone.
        let taken = add(
            &mut client,
            "{'driver': 'null-modem', 'chardev': 'a', 'peer': 'b'}",
        );
        assert!(taken.unwrap_err().contains("'a'"));
        delete(&mut client, "p");
        assert!(devices(&mut client).is_empty());
    }
    // The same peer, over a null modem now.
    let modem = "{'driver': 'null-modem', 'chardev': 'a', 'peer': 'b', 'id': 'n'}";
    add(&mut client, modem).unwrap();
    let mut other = console(&daemon.dir().join("b"));
    std::io::Write::write_all(&mut other, b"over\n").unwrap();
    read_until(&mut peer, "over\n");
    delete(&mut client, "n");
    for id in ["a", "b"] {
        ask(&mut client, "chardev-remove", &format!("{{'id': '{id}'}}")).unwrap();
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let daemon = start();
    let mut client = daemon.client();
    for (command, arguments, error) in [
        (
            "device_add",
            "{'driver': 'e1000'}",
            "'e1000' is not a valid device model name",
        ),
        ("device_add", "{}", "Parameter 'driver' is missing"),
        (
            "device_add",
            "{'driver': 'exec', 'chardev': 'nosuch', 'command': 'true'}",
            "Property 'exec.chardev' can't find value 'nosuch'",
        ),
        (
            "device_add",
            "{'driver': 'exec', 'chardev': 'a', 'command': 'true', 'speed': 9}",
            "Property 'exec.speed' not found",
        ),
        (
            "device_add",
            "{'driver': 'exec', 'chardev': 'a', 'command': ['true']}",
            "Invalid parameter type for 'command', expected: string",
        ),
        (
            "device_add",
            "{'driver': 'exec', 'chardev': 'a', 'x,command': 'true'}",
            "Property 'exec.x,command' not found",
        ),
        (
            "device_del",
            "{'id': 'nosuch'}",
            "Device 'nosuch' not found",
        ),
    ] {
        let refused = ask(&mut client, command, arguments).unwrap_err();
        assert!(refused.contains(error), "{command} {arguments}: {refused}");
    }
    assert!(devices(&mut client).is_empty());
    // Nothing was held on to.
    add(
        &mut client,
        "{'driver': 'exec', 'chardev': 'a', 'command': 'sleep 1000', 'id': 'p'}",
    )
    .unwrap();
    let twice = "{'driver': 'exec', 'chardev': 'b', 'command': 'true', 'id': 'p'}";
    assert_eq!(
        add(&mut client, twice).unwrap_err(),
        "Duplicate device ID 'p'"
    );
}

#[test]
fn a_console_of_a_guest_takes_its_ports_with_it() {
    let daemon = start();
    let mut client = daemon.client();
    for _ in 0..3 {
        add(
            &mut client,
            "{'driver': 'vhost-user-console', 'id': 'v', 'chardev': 'a', 'socket': 'v', 'max-ports': 2}",
        )
        .unwrap();
        add(
            &mut client,
            "{'driver': 'virtserialport', 'bus': 'v.0', 'chardev': 'b', 'name': 'n', 'id': 'q'}",
        )
        .unwrap();
        let alone = ask(&mut client, "device_del", "{'id': 'q'}").unwrap_err();
        assert!(alone.contains("is removed with it"), "{alone}");
        delete(&mut client, "v");
        until("the port has gone, too", || devices(&mut client).is_empty());
        assert!(!daemon.dir().join("v").exists());
    }
}

#[test]
fn people_make_and_end_devices_too() {
    let daemon = start();
    let mut client = daemon.client();
    let ctl = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_chardevctl"))
            .arg("--socket")
            .arg(daemon.monitor())
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.success(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    drop(client);
    let made = ctl(&[
        "device",
        "add",
        "exec,id=p,chardev=a,command=echo one,, two; cat",
    ]);
    assert_eq!(made, (true, String::new(), String::new()));
    let (_, list, _) = ctl(&["device", "list"]);
    assert!(list.contains("p ") && list.contains("running"), "{list}");
    let (fine, _, error) = ctl(&["device", "add", "exec,chardev=a"]);
    assert!(!fine && error.contains("'command' is missing"), "{error}");
    assert!(ctl(&["device", "restart", "p"]).0);
    assert!(ctl(&["device", "del", "p"]).0);
    client = daemon.client();
    until("it has gone", || devices(&mut client).is_empty());
    let line = "{'command-line': 'device_add exec,id=p,chardev=a,command=cat'}";
    assert_eq!(
        ask(&mut client, "human-monitor-command", line),
        Ok("".into())
    );
    let line = "{'command-line': 'device_del p'}";
    assert_eq!(
        ask(&mut client, "human-monitor-command", line),
        Ok("".into())
    );
    until("it has gone again", || devices(&mut client).is_empty());
}

/// What `chardevctl export` prints.
fn export(daemon: &Daemon, more: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_chardevctl"))
        .arg("--socket")
        .arg(daemon.monitor())
        .arg("export")
        .args(more)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// A daemon in `dir` with arguments as a shell reads them; its monitor is at `qmp.sock` there.
fn started_in(dir: &Path, arguments: &str) -> Daemon {
    let mut command = Command::new("sh");
    let arguments = arguments.replace('\n', " ");
    let line = format!("exec {} {arguments}", env!("CARGO_BIN_EXE_chardevd"));
    command.current_dir(dir).args(["-c", &line]);
    Daemon::adopt(command, &dir.join("qmp.sock"))
}

/// The actions that an export has, but for the monitor's own chardev.
fn actions(exported: &str) -> Vec<Json> {
    let all = Json::parse(exported).unwrap();
    let all = all.get("actions").and_then(Json::as_array).unwrap().iter();
    let is_monitor = |action: &&Json| action.to_string().contains("compat_monitor0");
    all.filter(|action| !is_monitor(action)).cloned().collect()
}

#[test]
fn what_is_exported_and_started_again_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = started_in(
        dir.path(),
        r#"
        -qmp unix:qmp.sock,server=on,wait=off
        -chardev socket,id=plain,path=plain,server=on,wait=off,logfile=plain.log,x-closed=hold
        -chardev stdio,id=keys,mux=on,signal=off
        -chardev ringbuf,id=ring,size=64k
        -chardev "pty,id=odd,path=it's a,, b"
        -chardev hub,id=all,chardevs.0=ring,chardevs.1=odd
        -chardev null,id=a1
        -device "exec,chardev=plain,command=echo 'one,, two'; cat,restart=on"
        -mon chardev=keys"#,
    );
    let mut client = daemon.client();
    // Whatever has become of them since.
    change(
        &mut client,
        "plain",
        "{'type': 'file', 'data': {'out': 'plain.out', 'append': true}}",
    );
    change(
        &mut client,
        "ring",
        "{'type': 'udp', 'data': {'remote': {'type': 'inet', 'data': {'host': 'localhost', 'port': '9'}}}}",
    );
    ask(
        &mut client,
        "x-chardev-set",
        "{'id': 'a1', 'x-history': 4096, 'x-closed': 'history'}",
    )
    .unwrap();
    ask(
        &mut client,
        "x-chardev-set",
        "{'id': 'plain', 'x-drain-ms': 1}",
    )
    .unwrap();
    let late = "{'id': 'late', 'backend': {'type': 'socket', 'data': {'addr': {'type': 'unix', 'data': {'path': 'late'}}}}}";
    ask(&mut client, "chardev-add", late).unwrap();
    ask(
        &mut client,
        "x-chardev-hub-add",
        "{'id': 'all', 'chardev': 'late'}",
    )
    .unwrap();
    add(
        &mut client,
        "{'driver': 'exec', 'chardev': 'a1', 'id': 'q', 'command': 'sleep 1000'}",
    )
    .unwrap();
    drop(client);
    let (exported, said) = export(&daemon, &[]);
    assert_eq!(said, "");
    for line in [
        "-chardev file,id=plain,logfile=plain.log,x-closed=hold,x-drain-ms=1,path=plain.out,append=on",
        "-chardev null,id=a1,x-closed=history,x-history=4096",
        "-chardev socket,id=late,path=late,server=on,wait=off",
        "-device exec,id=q,chardev=a1,command='sleep 1000'",
    ] {
        let line = line.replace("command='sleep 1000'", "command=sleep 1000");
        let quoted = line.replacen(' ', " '", 1) + "'";
        let has = |text: &str| exported.lines().any(|one| one == text);
        assert!(has(&line) || has(&quoted), "{line}:\n{exported}");
    }
    let (json, _) = export(&daemon, &["--json"]);
    drop(daemon);
    let again = started_in(dir.path(), &exported);
    assert_eq!(export(&again, &[]).0, exported);
    assert_eq!(export(&again, &["--json"]).0, json);
    drop(again);
    // The chardevs alone, by one transaction.
    let other = Daemon::start(&[]);
    let wanted = actions(&json);
    let arguments = Object::new().with("actions", wanted.clone());
    let mut client = other.client();
    client.execute("x-chardev-transaction", arguments).unwrap();
    drop(client);
    assert_eq!(actions(&export(&other, &["--json"]).0), wanted);
}

#[test]
fn what_the_command_line_cannot_say_is_named() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for id in ["1", "2", "3", "4", "5"] {
        let add = format!("{{'id': 'c{id}', 'backend': {{'type': 'null', 'data': {{}}}}}}");
        ask(&mut client, "chardev-add", &add).unwrap();
    }
    let hub = "{'id': 'h', 'backend': {'type': 'hub', 'data': {'chardevs': ['c1', 'c2', 'c3', 'c4', 'c5']}}}";
    ask(&mut client, "chardev-add", hub).unwrap();
    drop(client);
    let (exported, said) = export(&daemon, &[]);
    assert!(
        !exported.contains("id=h") && exported.contains("id=c5"),
        "{exported}"
    );
    assert!(
        said.contains("chardev h: 'chardevs' has 5 elements"),
        "{said}"
    );
}

/// As firmware's tests have it: what the guest wants is the status, and all is put away first.
#[test]
fn a_guest_ends_the_daemon_over_a_testdev() {
    let dir = tempfile::tempdir().unwrap();
    let pidfile = dir.path().join("pid");
    let pidfile = pidfile.to_str().unwrap();
    let log = dir.path().join("log");
    let testdev = format!("testdev,id=t,logfile={}", log.display());
    // It says so when the test is ready for it.
    let go = dir.path().join("go");
    let wait = format!("until [ -e {} ]; do sleep 0.01; done", go.display());
    let device = format!("exec,chardev=t,command={wait}; printf 'all is well 3q'; sleep 1000");
    let mut daemon = Daemon::start(&[
        "-pidfile", pidfile, "-chardev", &testdev, "-device", &device,
    ]);
    assert!(Path::new(pidfile).exists());
    std::fs::write(&go, "").unwrap();
    assert_eq!(daemon.wait().code(), Some(7));
    assert!(daemon.said().contains("with status 7"), "{}", daemon.said());
    assert_eq!(std::fs::read(&log).unwrap(), b"all is well 3q");
    assert!(!Path::new(pidfile).exists());
}
