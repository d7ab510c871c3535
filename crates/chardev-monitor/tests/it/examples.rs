//! The example runs, with real clients at its socket.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chardev_monitor::{Json, Object};
use chardev_qmp::client::{Client, ClientError};

/// The example, built together with the tests into the folder beside theirs. It ends with the test.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(socket: &Path) -> Example {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    let mut child = Command::new(built.join("examples/own_command"))
        .arg(socket)
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo build -p chardev-monitor --examples builds it");
    let mut line = String::new();
    let output = child.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    assert!(line.starts_with("serving QMP at "), "{line:?}");
    Example(child)
}

fn connect(socket: &Path) -> Client<UnixStream> {
    let stream = UnixStream::connect(socket).unwrap();
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).unwrap();
    Client::connect(stream).unwrap()
}

fn degrees(value: &Json) -> Option<i64> {
    value.get("degrees").and_then(Json::as_i64)
}

#[test]
fn own_commands_stand_beside_ours_for_many_clients() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("qmp");
    let mut example = start(&socket);
    let mut waiting = connect(&socket);
    let mut clients: Vec<_> = (0..20).map(|_| connect(&socket)).collect();

    // Its name is in the list, and its types are in the schema.
    let all = waiting.execute("query-commands", Object::new()).unwrap();
    let names = all.as_array().unwrap().iter();
    let names: Vec<&str> = names
        .filter_map(|info| info.get("name")?.as_str())
        .collect();
    for name in [
        "chardev-change",
        "query-heater",
        "set-heater",
        "wait-heater",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    let schema = waiting.execute("query-qmp-schema", Object::new()).unwrap();
    let entry = |name: &str| {
        let named = |info: &&Json| info.get("name").and_then(Json::as_str) == Some(name);
        schema.as_array().unwrap().iter().find(named).unwrap()
    };
    let takes = entry("set-heater").get("arg-type").and_then(Json::as_str);
    let members = entry(takes.unwrap()).get("members").unwrap();
    let first = &members.as_array().unwrap()[0];
    assert_eq!(first.get("name").and_then(Json::as_str), Some("degrees"));
    let told = entry("HEATER_CHANGE").get("meta-type");
    assert_eq!(told.and_then(Json::as_str), Some("event"));

    // One waits, which keeps nobody else from being served; another sets what all of them hear of.
    waiting.send("wait-heater", Object::new()).unwrap();
    let set = |degrees: i64| Object::new().with("degrees", degrees);
    clients[7].execute("set-heater", set(21)).unwrap();
    assert_eq!(degrees(&waiting.receive().unwrap()), Some(21));
    for client in &mut clients {
        let event = client.next_event().unwrap();
        assert_eq!(event.name, "HEATER_CHANGE");
        assert_eq!(degrees(&event.data), Some(21));
        let answer = client.execute("query-heater", Object::new()).unwrap();
        assert_eq!(degrees(&answer), Some(21));
    }

    // What is wrong with arguments is said in QEMU's words before it is called, or in its own.
    for (arguments, error) in [
        (Object::new(), "Parameter 'degrees' is missing"),
        (
            Object::new().with("degrees", "hot"),
            "Invalid parameter type for 'degrees', expected: integer",
        ),
        (
            set(20).with("rooms", 2u32),
            "Parameter 'rooms' is unexpected",
        ),
        (
            set(200),
            "Parameter 'degrees' expects a number from 5 to 90",
        ),
    ] {
        match clients[0].execute("set-heater", arguments) {
            Err(ClientError::Command(found)) => assert_eq!(found.desc, error),
            other => panic!("{other:?}"),
        }
    }

    clients[0].execute("quit", Object::new()).unwrap();
    let ended = example.0.wait().unwrap();
    assert!(ended.success(), "{ended}");
}
