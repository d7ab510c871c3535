//! The daemon's commands beyond adding and changing: breaking connections, sets of descriptors,
//! stopping the devices, the human monitor, and going to the background.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::daemon_rig::{Daemon, connect, console, read_until, until};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;

fn ask(client: &mut Client<UnixStream>, request: &str) -> Result<Json, String> {
    let request = Json::parse(request).unwrap();
    let command = request.get("execute").and_then(Json::as_str).unwrap();
    let arguments = request.get("arguments").and_then(Json::as_object);
    let answer = client.execute(command, arguments.cloned().unwrap_or_default());
    answer.map_err(|error| error.to_string())
}

fn human(client: &mut Client<UnixStream>, line: &str) -> String {
    let arguments = Object::new().with("command-line", line);
    let answer = client.execute("human-monitor-command", arguments).unwrap();
    answer.as_str().unwrap().to_owned()
}

#[test]
fn yank_breaks_the_connection_for_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con.sock");
    let line = format!("socket,id=con0,path={},server=on,wait=off", path.display());
    let daemon = Daemon::start(&["-chardev", &line]);
    let mut peer = console(&path);
    let mut raw = console(daemon.monitor());
    read_until(&mut raw, "\r\n");
    let enable = "{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}";
    raw.write_all(enable.as_bytes()).unwrap();
    read_until(&mut raw, "\r\n");
    until("the peer is seen", || {
        raw.write_all(b"{'execute': 'query-chardev'}").unwrap();
        !read_until(&mut raw, "\r\n").contains("disconnected:unix")
    });
    let yank =
        "{'exec-oob': 'yank', 'arguments': {'instances': [{'type': 'chardev', 'id': 'con0'}]}}";
    raw.write_all(yank.as_bytes()).unwrap();
    assert_eq!(read_until(&mut raw, "\r\n"), "{\"return\": {}}\r\n");
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    // The next client is served.
    let _next = console(&path);
    until("the next peer is seen", || {
        raw.write_all(b"{'execute': 'query-chardev'}").unwrap();
        !read_until(&mut raw, "\r\n").contains("disconnected:unix")
    });
    raw.write_all(b"{'exec-oob': 'query-yank'}").unwrap();
    let listed = read_until(&mut raw, "\r\n");
    assert!(
        listed.contains("\"con0\"") && listed.contains("\"compat_monitor0\""),
        "{listed}"
    );
}

#[test]
fn out_of_band_does_not_wait_for_a_command_that_waits() {
    let daemon = Daemon::start(&[]);
    let mut raw = console(daemon.monitor());
    read_until(&mut raw, "\r\n");
    let enable = "{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}";
    raw.write_all(enable.as_bytes()).unwrap();
    read_until(&mut raw, "\r\n");
    let path = daemon.dir().join("waits.sock");
    let add = format!(
        "{{'execute': 'chardev-add', 'id': 'slow', 'arguments': {{'id': 'w', 'backend': {{'type': 'socket', \
         'data': {{'addr': {{'type': 'unix', 'data': {{'path': '{}'}}}}, 'wait': true}}}}}}}}\
         {{'execute': 'query-name', 'id': 'queued'}}{{'exec-oob': 'query-yank', 'id': 'now'}}",
        path.display()
    );
    raw.write_all(add.as_bytes()).unwrap();
    assert!(read_until(&mut raw, "\r\n").contains("\"now\""));
    let _client = console(&path);
    assert!(read_until(&mut raw, "\r\n").contains("\"slow\""));
    assert!(read_until(&mut raw, "\r\n").contains("\"queued\""));
}

#[test]
fn stop_holds_the_devices_and_cont_lets_them_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| dir.path().join(name));
    let lines = [0, 1].map(|at| {
        let id = ["a", "b"][at];
        format!(
            "socket,id={id},path={},server=on,wait=off",
            paths[at].display()
        )
    });
    let daemon = Daemon::start(&[
        "-chardev",
        &lines[0],
        "-chardev",
        &lines[1],
        "-device",
        "null-modem,chardev=a,peer=b",
    ]);
    let mut client = daemon.client();
    let [mut a, mut b] = [console(&paths[0]), console(&paths[1])];
    a.write_all(b"one.").unwrap();
    assert_eq!(read_until(&mut b, "."), "one.");
    assert_eq!(ask(&mut client, "{'execute': 'stop'}"), Ok(Json::empty()));
    assert_eq!(client.next_event().unwrap().name, "STOP");
    let status = ask(&mut client, "{'execute': 'query-status'}").unwrap();
    assert_eq!(status.get("status"), Some(&Json::from("paused")));
    a.write_all(b"two.").unwrap();
    b.set_nonblocking(true).unwrap();
    // A second answer proves that the devices had their turn.
    for _ in 0..3 {
        ask(&mut client, "{'execute': 'query-status'}").unwrap();
        assert!(b.read(&mut [0; 8]).is_err());
    }
    b.set_nonblocking(false).unwrap();
    ask(&mut client, "{'execute': 'stop'}").unwrap();
    ask(&mut client, "{'execute': 'cont'}").unwrap();
    // Stopping what is stopped is no event.
    assert_eq!(client.next_event().unwrap().name, "RESUME");
    assert_eq!(read_until(&mut b, "."), "two.");
}

#[test]
fn the_human_monitor_over_qmp_and_on_a_terminal_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hmp.sock");
    let device = format!("unix:{},server=on,wait=off", path.display());
    let mut daemon = Daemon::start(&["-chardev", "ringbuf,id=r", "-monitor", &device]);
    let mut client = daemon.client();
    assert_eq!(human(&mut client, "ringbuf_write r \"a\\\\b\\n\""), "");
    assert_eq!(human(&mut client, "ringbuf_read r 10"), "a\\\\b\r\n\r\n");
    assert_eq!(human(&mut client, "chardev-change r null"), "");
    assert!(human(&mut client, "info chardev").starts_with("r: filename=null\r\n"));
    assert_eq!(
        human(&mut client, "chardev-remove x"),
        "Error: Chardev 'x' not found\r\n"
    );
    let mut person = console(&path);
    let banner = read_until(&mut person, "(qemu) ");
    assert!(banner.contains("monitor - type 'help'"), "{banner}");
    person
        .write_all(b"chardev-add nu\tid=\x7f\x7f\x7f\x7f,id=n\r")
        .unwrap();
    let said = read_until(&mut person, "(qemu) ");
    assert!(!said.contains("rror"), "{said:?}");
    person.write_all(b"info chardev\r").unwrap();
    let said = read_until(&mut person, "(qemu) ");
    assert!(said.contains("n: filename=null\r\n"), "{said:?}");
    person.write_all(b"quit\r").unwrap();
    assert!(daemon.wait().success());
}

/// Whoever makes a pty must be told where it is.
#[test]
fn the_human_monitor_says_where_a_new_pty_is_and_what_there_is_to_choose_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hmp.sock");
    let device = format!("unix:{},server=on,wait=off", path.display());
    let daemon = Daemon::start(&["-chardev", "null,id=n", "-monitor", &device]);
    let mut client = daemon.client();
    let mut person = console(&path);
    read_until(&mut person, "(qemu) ");
    let mut say = |line: &str| {
        person.write_all(format!("{line}\r").as_bytes()).unwrap();
        read_until(&mut person, "(qemu) ")
    };
    for (number, (line, label)) in [
        ("chardev-add pty,id=ID", "ID"),
        ("chardev-change n pty", "n"),
        ("chardev-add pty,id=ID,mux=on", "ID-base"),
    ]
    .into_iter()
    .enumerate()
    {
        for (way, id) in ["qmp", "own"].map(|way| (way, format!("{way}{number}"))) {
            let (line, label) = (line.replace("ID", &id), label.replace("ID", &id));
            let said = match way {
                "qmp" => human(&mut client, &line),
                _ => say(&line),
            };
            let all = client.query_chardev().unwrap();
            let chardev = all.iter().find(|info| info.label == label).unwrap();
            let pty = chardev.filename.strip_prefix("pty:").unwrap();
            let told = format!("char device redirected to {pty} (label {label})\r\n");
            assert!(said.contains(&told), "{said:?} lacks {told:?}");
        }
    }
    for said in [human(&mut client, "chardev-add help"), say("chardev-add ?")] {
        let list = "Available chardev backend types: \r\n";
        assert!(
            said.contains(list) && said.contains("\r\n  pty\r\n"),
            "{said}"
        );
    }
    let said = human(&mut client, "chardev-change n socket,help");
    assert!(
        said.contains("\r\n  x-clients") && said.contains("\r\n  logfile"),
        "{said}"
    );
}

#[test]
fn a_set_of_descriptors_on_the_command_line_becomes_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let socket = dir.path().join("qmp.sock");
    let mut command = Command::new("/bin/sh");
    let script = format!(
        "exec {} -add-fd fd=9,set=4,opaque=log -chardev file,id=f,path=/dev/fdset/4 \
         -device null-modem,chardev=f,peer=p -chardev socket,id=p,path={},server=on,wait=off \
         -qmp unix:{},server=on,wait=off 9>'{}'",
        env!("CARGO_BIN_EXE_chardevd"),
        dir.path().join("peer.sock").display(),
        socket.display(),
        out.display()
    );
    command.arg("-c").arg(script);
    let mut daemon = Daemon::adopt(command, &socket);
    let mut client = daemon.client();
    let sets = ask(&mut client, "{'execute': 'query-fdsets'}").unwrap();
    assert!(sets.to_string().contains("\"opaque\": \"log\""), "{sets}");
    let mut peer = console(&dir.path().join("peer.sock"));
    peer.write_all(b"into the set\n").unwrap();
    until("the file has it", || {
        std::fs::read(&out).unwrap() == b"into the set\n"
    });
    let remove = "{'execute': 'remove-fd', 'arguments': {'fdset-id': 4}}";
    assert_eq!(ask(&mut client, remove), Ok(Json::empty()));
    assert!(ask(&mut client, remove).unwrap_err().contains("fdset-id:4"));
    daemon.terminate();
}

#[test]
fn in_the_background_the_parent_ends_when_all_is_set_up() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("qmp.sock");
    let pidfile = dir.path().join("pid");
    let start = |extra: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
        command.args(["-daemonize", "-qmp"]);
        command.arg(format!("unix:{},server=on,wait=off", socket.display()));
        command.args(extra).stdin(Stdio::null());
        command.output().unwrap()
    };
    let refused = start(&["-chardev", "stdio,id=s"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot use stdio with -daemonize"), "{said}");

    let output = start(&["-pidfile", pidfile.to_str().unwrap(), "-name", "guest=vm"]);
    assert!(output.status.success(), "{output:?}");
    // It is set up by now, so nothing has to be waited for.
    let stream = UnixStream::connect(&socket).unwrap();
    drop(stream);
    let mut client = connect(&socket);
    let name = ask(&mut client, "{'execute': 'query-name'}").unwrap();
    assert_eq!(name.get("name"), Some(&Json::from("vm")));
    let pid: i32 = std::fs::read_to_string(&pidfile)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    ask(&mut client, "{'execute': 'quit'}").unwrap();
    until("the file with its number is gone", || !pidfile.exists());
}
