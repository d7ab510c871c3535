//! Arguments and paths are bytes, and what is shown of them is no more than text.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::daemon_rig::{self, Daemon, until};
use chardev_qapi::{Json, Object};

/// No text in any reading of UTF-8.
const ODD: &[u8] = b"g\xf6\xdfe\xff\xe2\x82";

fn odd(before: &str, after: &str) -> Vec<u8> {
    [before.as_bytes(), ODD, after.as_bytes()].concat()
}

fn name(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn chardevctl(socket: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevctl"));
    command.arg("--socket").arg(socket).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn paths_and_arguments_are_bytes() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(name(&odd("sub-", "")))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    command.current_dir(dir.path());
    for argument in [
        odd(
            "--chardev=socket,id=s,path=s-",
            ",server=on,wait=off,logfile=",
        )
        .into_iter()
        .chain(odd("log-", ",x-logsize=4k"))
        .collect(),
        b"-chardev".to_vec(),
        odd("pty,id=p,path=p-", ""),
        b"-chardev".to_vec(),
        odd("file,id=f,path=f-", ""),
        b"-device".to_vec(),
        odd(
            "exec,chardev=s,command=seq 1 1500; touch ran-",
            "; exec sleep 1000",
        )
        .into_iter()
        .chain(odd(",cwd=sub-", ""))
        .collect(),
        b"-pidfile".to_vec(),
        odd("pid-", ""),
        b"-device".to_vec(),
        odd("vfio-user-serial,chardev=f,socket=v-", ""),
        b"-qmp".to_vec(),
        odd("unix:", ",server=on,wait=off"),
        b"-monitor".to_vec(),
        odd("unix:hmp-", ",server=on,wait=off"),
    ] {
        command.arg(OsStr::from_bytes(&argument));
    }
    let monitor = dir.path().join(name(ODD));
    let mut daemon = Daemon::adopt(command, &monitor);
    for (directory, before, after) in [
        ("", "s-", ""),
        ("", "log-", ".1"),
        ("", "p-", ""),
        ("", "f-", ""),
        ("", "pid-", ""),
        ("", "v-", ""),
    ] {
        let path = dir.path().join(directory).join(name(&odd(before, after)));
        until("a file is there", || fs::symlink_metadata(&path).is_ok());
    }
    let ran = dir
        .path()
        .join(name(&odd("sub-", "")))
        .join(name(&odd("ran-", "")));
    until("the program ran", || ran.exists());

    // QMP has no bytes, and says so as QEMU does.
    let mut client = daemon.client();
    let answer = client.execute("query-chardev", Object::new()).unwrap();
    let filename = answer.as_array().unwrap().iter().find_map(|entry| {
        (entry.get("label")?.as_str()? == "s")
            .then(|| entry.get("filename")?.as_str().map(str::to_owned))?
    });
    assert_eq!(
        filename.unwrap(),
        "disconnected:unix:s-g\u{fffd}\u{fffd}e\u{fffd}\u{fffd},server=on"
    );
    drop(client);
    // A person's monitor has them.
    let mut person = UnixStream::connect(dir.path().join(name(&odd("hmp-", "")))).unwrap();
    person.set_read_timeout(Some(daemon_rig::DEADLINE)).unwrap();
    person.write_all(b"info chardev\r").unwrap();
    let (mut said, wanted) = (
        Vec::new(),
        odd("s: filename=disconnected:unix:s-", ",server=on"),
    );
    while !said.windows(wanted.len()).any(|window| window == wanted) {
        let mut piece = [0; 4096];
        let count = person.read(&mut piece).unwrap();
        said.extend_from_slice(&piece[..count]);
    }
    daemon.terminate();
    let left: Vec<_> = ["s-", "p-", "pid-", "v-", ""]
        .into_iter()
        .filter(|before| fs::symlink_metadata(dir.path().join(name(&odd(before, "")))).is_ok())
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn errors_show_bytes_and_controls_escaped() {
    for (argument, shown) in [
        (
            &b"file,id=f,path=no/\xff\x1b[2J"[..],
            r"Could not open 'no/\xff\x1b[2J'",
        ),
        (
            b"file,id=f,path=no/a\nchardevd: all is well",
            r"'no/a\nchardevd: all is well'",
        ),
        (
            "file,id=f,path=no/\u{202e}txt\u{9b}1m".as_bytes(),
            r"'no/\u{202e}txt\u{9b}1m'",
        ),
        (
            b"nosuch\x1b,id=f",
            r"'nosuch\x1b' is not a valid char driver name",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_chardevd"))
            .arg("-chardev")
            .arg(OsStr::from_bytes(argument))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(shown), "{said:?}");
        assert!(
            !said
                .trim_end()
                .contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{said:?}"
        );
    }
    let output = Command::new(env!("CARGO_BIN_EXE_chardevd"))
        .arg(OsStr::from_bytes(b"--no\xff\n"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(r"--no\xff"), "{said:?}");
}

#[test]
fn what_a_client_named_is_shown_escaped() {
    let daemon = Daemon::start(&[]);
    let id = "a\u{1b}[31m\nb\u{9b}\u{202e}";
    let shown = r"a\x1b[31m\nb\u{9b}\u{202e}";
    let dir = daemon.dir().display();
    let mut client = daemon.client();
    let backend = format!(
        r#"{{"type": "socket", "data": {{"addr": {{"type": "unix", "data": {{"path": "{dir}/x\u001b\u202e"}}}}, "server": true}}}}"#
    );
    let arguments = Object::new()
        .with("id", id)
        .with("backend", Json::parse(&backend).unwrap());
    client.execute("chardev-add", arguments).unwrap();
    drop(client);
    for (arguments, wanted) in [
        (&["list"][..], shown),
        (&["list"], r"/x\x1b\u{202e}"),
        (&["remove", "nosuch\u{1b}[2J"], r"'nosuch\x1b[2J'"),
        (&["change", id, "file,path=/no/such\u{7}"], r"/no/such\x07"),
        (&["attach", "no\u{1b}c"], r"no\x1bc"),
        (&["break", "no\u{202e}c"], r"no\u{202e}c"),
        (&["watch", "no\u{9b}c"], r"no\u{9b}c"),
        (&["history", "no\rc"], r"no\rc"),
        (&["add", "no\u{1b}kind,id=x"], r"no\x1bkind"),
        (&["qmp", "no\u{1b}command"], r"no\x1bcommand"),
    ] {
        let output = chardevctl(daemon.monitor(), arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(wanted), "{arguments:?}: {said:?}");
        let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!said.contains(bad), "{arguments:?}: {said:?}");
    }
    // JSON has its own way.
    let json = chardevctl(daemon.monitor(), &["list", "--json"]);
    let json = Json::parse(String::from_utf8(json.stdout).unwrap().trim()).unwrap();
    let labels = json
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry.get("label")?.as_str());
    assert!(labels.into_iter().any(|label| label == id));
}
