//! A daemon with a configuration: its consoles, those that fail, and how they come back.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use chardev_qapi::{Json, Object};
use tempfile::TempDir;

use crate::daemon_rig::{Daemon, chardevd, console, read_until, until};

/// A daemon that reads `f.toml` in a directory of its own, where the monitor is, too.
pub(crate) struct Configured {
    pub(crate) daemon: Daemon,
    file: PathBuf,
}

impl Configured {
    pub(crate) fn start(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Configured::start_in(dir, text)
    }

    pub(crate) fn start_in(dir: TempDir, text: &str) -> Self {
        Configured::run_in(dir, text, Command::new(env!("CARGO_BIN_EXE_chardevd")))
    }

    /// With the program that `command` runs.
    fn run_in(dir: TempDir, text: &str, mut command: Command) -> Self {
        let file = dir.path().join("f.toml");
        let monitor = dir.path().join("qmp");
        let text = format!("{text}\n[[monitor]]\nlisten = 'unix:qmp'\n");
        fs::write(&file, text).unwrap();
        command.current_dir(dir.path()).args(["--config", "f.toml"]);
        let daemon = Daemon::adopt_in(command, dir, &monitor);
        Configured { daemon, file }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.daemon.dir().join(name)
    }

    /// Writes the file anew.
    pub(crate) fn write(&self, text: &str) {
        let text = format!("{text}\n[[monitor]]\nlisten = 'unix:qmp'\n");
        fs::write(&self.file, text).unwrap();
    }

    pub(crate) fn ask(&self, command: &str) -> Json {
        self.daemon
            .client()
            .execute(command, Object::new())
            .unwrap()
    }

    /// Writes the file anew and has it read.
    pub(crate) fn reload(&self, text: &str) -> Json {
        self.write(text);
        self.ask("x-reload")
    }

    /// A member of what is said of console `name`.
    pub(crate) fn said_of(&self, name: &str, member: &str) -> Option<String> {
        let all = self.ask("x-query-consoles");
        let mut all = all.as_array().unwrap().iter();
        let console = all.find(|console| text(console, "name") == name)?;
        Some(match console.get(member)? {
            Json::Str(text) => text.clone(),
            other => other.to_string(),
        })
    }

    pub(crate) fn state(&self, name: &str) -> String {
        self.said_of(name, "state").unwrap_or_default()
    }
}

pub(crate) fn text<'a>(object: &'a Json, name: &str) -> &'a str {
    object.get(name).and_then(Json::as_str).unwrap_or("?")
}

#[test]
fn each_source_of_a_console_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let served = UnixListener::bind(dir.path().join("served")).unwrap();
    let configured = Configured::start_in(
        dir,
        "[defaults]\nto = 'socket,path={name}.sock,server=on'\ngroups = ['all', '{name}s']\n
         policy = { x-closed = 'hold' }\n
         [console.words]\nexec = ['sh', '-c', 'while read x; do echo \"$0 $x\"; done', \"it's, me\"]\n
         [console.line]\nexec = 'stty -echo; while read x; do echo got $x; done'\n
         [console.far]\nsocket = 'unix:served'\ndescription = 'far away'\n
         [console.listens]\nsocket = { path = 'listens.far', server = true }\n
         [console.ring]\nfrom = 'pty,path=ring.far'\n",
    );
    let mut words = console(&configured.path("words.sock"));
    words.write_all(b"x\n").unwrap();
    read_until(&mut words, "it's, me x\r\n");
    let mut line = console(&configured.path("line.sock"));
    line.write_all(b"y\n").unwrap();
    read_until(&mut line, "got y\r\n");
    let (mut far, _) = served.accept().unwrap();
    let mut near = console(&configured.path("far.sock"));
    near.write_all(b"over there\n").unwrap();
    read_until(&mut far, "over there\n");
    far.write_all(b"and back\n").unwrap();
    read_until(&mut near, "and back\n");
    let mut far = console(&configured.path("listens.far"));
    let mut near = console(&configured.path("listens.sock"));
    far.write_all(b"came\n").unwrap();
    read_until(&mut near, "came\n");
    assert!(configured.path("ring.far").exists());
    for name in ["words", "line", "far", "listens", "ring"] {
        assert_eq!(configured.state(name), "running", "{name}");
    }
    let said = |member| configured.said_of("far", member).unwrap();
    assert_eq!(said("from"), "socket unix:served");
    assert_eq!(said("groups"), "[\"all\", \"fars\"]");
    assert_eq!(said("description"), "far away");
}

#[test]
fn one_that_fails_stops_nobody_and_comes_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let taken = UnixListener::bind(dir.path().join("taken")).unwrap();
    let configured = Configured::start_in(
        dir,
        "[console.absent]\nserial = 'tty'\n
         [console.busy]\nexec = 'cat'\nto = 'socket,path=taken,server=on'\n
         [console.good]\nexec = 'echo here; exec cat'\nto = 'socket,path=good,server=on'\n
         [chardev.over]\nkind = 'hub'\nchardevs = ['absent-line2']\n",
    );
    let mut good = console(&configured.path("good"));
    good.write_all(b"x\n").unwrap();
    assert_eq!(configured.state("good"), "running");
    assert_eq!(configured.state("absent"), "failed");
    assert_eq!(configured.state("busy"), "failed");
    let reason = configured.said_of("absent", "reason").unwrap();
    assert!(
        reason.contains("tty': No such file or directory"),
        "{reason}"
    );
    // Nothing of a failed console is left that another attempt would be in the way of.
    let labels = configured.ask("query-chardev").to_string();
    assert!(!labels.contains("absent"), "{labels}");

    // A device that is plugged in, and a port that becomes free.
    let (master, _slave) = pty();
    symlink(&master, configured.path("tty")).unwrap();
    drop(taken);
    fs::remove_file(configured.path("taken")).unwrap();
    until("the absent one is there", || {
        configured.state("absent") == "running"
    });
    until("the busy one is there", || {
        configured.state("busy") == "running"
    });
}

/// A pty: the path of its slave, and what keeps it.
fn pty() -> (PathBuf, std::os::fd::OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    (PathBuf::from(name.to_str().unwrap()), master)
}

#[test]
fn a_wrong_file_starts_nothing_and_tells_everything() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.toml");
    fs::write(&file, "[console.a]\nexex = 'x'\n[console.b]\nexec = 7\n").unwrap();
    let output = chardevd(&["--config", file.to_str().unwrap()]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    for wrong in [
        "f.toml:2:1: there is no key 'exex'",
        "f.toml:4:8: 'exec' is a number",
    ] {
        assert!(said.contains(wrong), "{said}");
    }
}

#[test]
fn without_a_monitor_there_is_the_one_that_chardevctl_looks_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f.toml"), "[console.a]\nexec = 'cat'\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    command.current_dir(dir.path()).args(["--config", "f.toml"]);
    command.env("XDG_RUNTIME_DIR", dir.path());
    command.env_remove("CHARDEVD_NO_DEFAULT_MONITOR");
    let socket = dir.path().join("chardevd/qmp.sock");
    let runtime = dir.path().to_owned();
    let _daemon = Daemon::adopt_in(command, dir, &socket);
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chardevctl"));
        command
            .env("XDG_RUNTIME_DIR", &runtime)
            .env_remove("CHARDEVD_SOCKET");
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table = ctl(&["consoles"]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["a", "running", "exec", "cat", "ringbuf", "-"]);
    assert_eq!(
        ctl(&["reload"]),
        "0 added\n0 changed\n0 removed\n1 unchanged\n"
    );
}

#[test]
fn without_a_configuration_there_is_nothing_to_reload() {
    let daemon = Daemon::start(&["--chardev", "null,id=a"]);
    let mut client = daemon.client();
    assert_eq!(
        client.execute("x-query-consoles", Object::new()).unwrap(),
        Json::Array(vec![])
    );
    let error = client
        .execute("x-reload", Object::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("without --config"), "{error}");
}

#[test]
fn objects_and_ports_of_guests_are_there_for_what_names_them() {
    let configured = Configured::start(
        "[console.vm]\nvhost-user = 'vm.sock'\n
         [chardev.extra]\nline = 'null'\n
         [[device]]\nline = 'virtserialport,bus=vm.0,chardev=extra,id=port1,nr=5'\n
         [[object]]\nqom-type = 'authz-simple'\nid = 'me'\nidentity = 'CN=me'\n",
    );
    let devices = configured.ask("x-query-devices").to_string();
    for id in ["\"vm\"", "\"port1\""] {
        assert!(devices.contains(id), "{devices}");
    }
    let exported = configured.ask("x-export");
    let objects = exported.get("objects").unwrap().to_string();
    assert!(objects.contains(r#"\"id\": \"me\""#), "{objects}");
}

/// The daemon may accept one peer before the other, whatever their order, so what comes from the
/// one is held for the other.
#[test]
fn a_mux_is_put_on_a_console_and_on_its_line() {
    let configured = Configured::start(
        "[console.a]\nsocket = { path = 'far', server = true, x-closed = 'hold' }\n\
         to = 'socket,path=near,server=on,mux=on'\n",
    );
    let mut near = console(&configured.path("near"));
    let mut far = console(&configured.path("far"));
    near.write_all(b"through\n").unwrap();
    let mut got = [0; 8];
    far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"through\n");
}

#[test]
fn five_hundred_consoles_of_one_template_are_there() {
    let file = |five: &str| {
        format!(
            "[template.t]\nsocket = {{ path = '{{name}}.far', server = true }}\n\
             to = 'socket,path={{name}}.near,server=on'\ngroups = ['g{{n}}']\n\
             policy = {{ x-closed = 'hold' }}\n\
             [[lines]]\ntemplate = 't'\nnames = 'c[001-495]'\n\
             [[lines]]\ntemplate = 't'\nnames = 'd[1-5]'\n{five}\n"
        )
    };
    let configured = Configured::start(&file(""));
    let all = configured.ask("x-query-consoles");
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 500);
    let running = |console: &&Json| text(console, "state") == "running";
    until("all are there", || {
        let all = configured.ask("x-query-consoles");
        all.as_array().unwrap().iter().filter(running).count() == 500
    });
    let mut far = console(&configured.path("c495.far"));
    let mut near = console(&configured.path("c495.near"));
    far.write_all(b"the last one\n").unwrap();
    read_until(&mut near, "the last one\n");
    assert_eq!(configured.said_of("d5", "groups").unwrap(), "[\"g5\"]");

    let report = configured.reload(&file("to = 'socket,path={name}.new,server=on'"));
    let count = |sort: &str| report.get(sort).unwrap().as_array().unwrap().len();
    assert_eq!((count("changed"), count("unchanged")), (5, 495));
    far.write_all(b"still\n").unwrap();
    read_until(&mut near, "still\n");
    console(&configured.path("d5.new"));
}

#[test]
fn a_shells_limit_of_descriptors_is_for_programs_alone() {
    let text = "[console.limit]\nexec = 'while read x; do ulimit -Sn; done'\n\
                to = 'socket,path=limit,server=on'\n\
                [template.t]\nsocket = { path = '{name}.far', server = true }\n\
                [[lines]]\ntemplate = 't'\nnames = 'c[1-100]'\n";
    let mut command = Command::new("sh");
    let script = "ulimit -Sn 80; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_chardevd")]);
    let configured = Configured::run_in(tempfile::tempdir().unwrap(), text, command);
    let mut limit = console(&configured.path("limit"));
    limit.write_all(b"\n").unwrap();
    read_until(&mut limit, "80\r\n");
    for number in 1..=100 {
        let name = format!("c{number}");
        assert_eq!(configured.state(&name), "running", "{name}");
    }
}

/// What is set neither in the file nor elsewhere is the daemon's, and is shown as nobody's wish.
#[test]
fn a_console_keeps_what_the_daemon_keeps_unless_the_file_says_history() {
    let one = "[console.a]\nto = 'null'\nfrom = 'null'\n";
    let configured = Configured::start(&format!("{one}history = '1M'\n"));
    let lines = |configured: &Configured| {
        let exported = configured.daemon.client();
        let mut exported = exported;
        exported
            .execute("x-export", Object::new())
            .unwrap()
            .to_string()
    };
    assert!(lines(&configured).contains("x-history=1048576"));
    // What is said no more is what the daemon keeps of every chardev.
    configured.reload(one);
    assert!(lines(&configured).contains("x-history=65536"));
    let other = Configured::start(one);
    let said = lines(&other);
    assert!(
        said.contains("id=a") && !said.contains("x-history"),
        "{said}"
    );
}
