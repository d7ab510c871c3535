//! `chardevctl import`: what other programs' configurations become, and both programs side by side.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::config_start::Configured;
use crate::ctl_rig::{Attached, chardevctl};
use crate::daemon_rig::{DEADLINE, chardevd, read_until, until};
use crate::tls::free_port;

/// What `chardevctl import` prints for `text`.
fn import(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("given");
    fs::write(&file, text).unwrap();
    let printed = import_file(&file);
    printed.replace(&format!("{}/", dir.path().display()), "")
}

fn import_file(file: &Path) -> String {
    let output = chardevctl().arg("import").arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", file.display());
    String::from_utf8(output.stdout).unwrap()
}

/// What `chardevd --check` says about a configuration.
fn check(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.toml");
    fs::write(&file, text).unwrap();
    let output = chardevd(&["--config", file.to_str().unwrap(), "--check"]);
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn consoles_of_conserver_are_ours() {
    let printed = import(
        "default full { rw *; }\n\
         default * { logfile /var/log/&.log; logfilemax 4m; include full; master localhost; }\n\
         default ts { type host; host ts1; portbase 2000; portinc 100; }\n\
         console a.b { include ts; port 3; break 4; }\n\
         console raw { include ts; port 1; protocol raw; logfile \"\"; }\n\
         default tty { type device; device /dev/ttyC.; devicesubst .=Pd; portbase -1; baud 9600; }\n\
         console t1 { include tty; port 9; parity even; options !ixon, cstopb, ondemand; }\n\
         console run { type exec; exec \"sh -c 'echo a; exec cat'\"; motd \"a \\\"b\\\"\"; aliases r; }\n\
         console far { type ipmi; host bmc; }\n\
         access * { trusted 127.0.0.1; }\n",
    );
    let expected = r#"# From given.
# conserver's clients speak a protocol of its own; here a console is attached to with
#   'chardevctl attach NAME', or goes wherever 'to' says.
# Left out: access * { trusted 127.0.0.1 }: who may use a monitor is who may open its socket.

# break 4: a break here is a break, sent by 'chardevctl break'
[console."a.b"]
socket = { host = "ts1", port = "2300", telnet = true }
log = { file = "/var/log/{name}.log", size = "4M" }

[console.raw]
socket = { host = "ts1", port = "2100" }

# options ondemand: a console is open whether or not somebody has come
[console.t1]
serial = { path = "/dev/ttyC8", x-baud = 9600, x-parity = "even", x-stopbits = 2 }
log = { file = "/var/log/{name}.log", size = "4M" }

# aliases r: a console has one name
[console.run]
exec = "sh -c 'echo a; exec cat'"
log = { file = "/var/log/{name}.log", size = "4M" }
description = "a \"b\""

# type ipmi: there is no IPMI; run ipmitool sol as a program
[console.far]
enabled = false
log = { file = "/var/log/{name}.log", size = "4M" }
"#;
    assert_eq!(printed, expected);
    assert_eq!(check(&printed), "4 consoles, ok\n");
}

#[test]
fn connections_of_ser2net_are_consoles() {
    let printed = import(
        "%YAML 1.1\n---\n\
         define: &dev \"/dev/serial/by-path/x\"\n\
         default:\n  name: speed\n  value: 115200e72\n\
         connection: &plain\n  accepter: tcp,127.0.0.1,2000\n  connector: serialdev,\n    *(dev)-port0\n\
         \x20 options:\n    trace-read: /var/log/plain\n    max-connections: 3\n    kickolduser: false\n\
         connection: &tel\n  accepter: telnet(rfc2217),tcp,2001\n  timeout: 30\n\
         \x20 connector: serialdev,/dev/ttyS1,9600n81,local,rtscts\n\
         connection: &again\n  accepter: tcp,2003\n  enable: off\n\
         \x20 connector: serialdev,/dev/ttyS1,local\n\
         connection: &far\n  accepter: telnet,sctp,2002\n  connector: telnet,tcp,host,23\n\
         connection: &sol\n  accepter: unix,/run/sol\n  connector: ipmisol,lan 1.2.3.4,9600\n\
         rotator: &rot\n  accepter: tcp,2020\n  connections: [ *plain, *tel ]\n",
    );
    let expected = r#"# From given.
# ser2net opens a device when somebody connects; here it is open all the time, and what comes
#   while nobody is there is discarded, unless policy = { x-closed = "history" }.
# Left out: rotator rot: a connection has one console here.

# max-connections 3: one at a time; others watch with 'chardevctl watch', or 'to' is a hub
[console.plain]
serial = { path = "/dev/serial/by-path/x-port0", x-baud = 115200, x-parity = "even", x-databits = 7, x-stopbits = 2 }
to = "socket,host=127.0.0.1,port=2000,server=on"
log = "/var/log/plain"

# timeout 30: nobody is sent away for being silent
[console.tel]
serial = { path = "/dev/ttyS1", x-baud = 9600, x-flow = "rtscts" }
to = "socket,host=,port=2001,server=on,x-rfc2217=on"

[console.again]
serial = { path = "/dev/ttyS1", x-baud = 115200, x-parity = "even", x-databits = 7, x-stopbits = 2 }
to = "socket,host=,port=2003,server=on"
enabled = false

# accepter telnet,sctp,2002: there is nothing like it here; it is reached by 'chardevctl attach'
[console.far]
socket = { host = "host", port = "23", telnet = true }

# connector ipmisol,lan 1.2.3.4,9600: there is no IPMI; run ipmitool sol as a program
[console.sol]
enabled = false
to = "socket,path=/run/sol,server=on"
"#;
    assert_eq!(printed, expected);
    assert_eq!(check(&printed), "3 consoles, ok\n");
}

#[test]
fn the_packages_own_files_are_imported() {
    for (file, verdict) in [
        ("/etc/ser2net.yaml", "2 consoles, ok\n"),
        (
            "/usr/share/doc/ser2net/examples/ser2net.yaml",
            "0 consoles, ok\n",
        ),
        ("/etc/conserver/conserver.cf", "0 consoles, ok\n"),
        (
            "/usr/share/doc/conserver-server/examples/conserver.cf",
            "8 consoles, ok\n",
        ),
        (
            "/usr/share/doc/conserver-server/examples/test.cf",
            "4 consoles, ok\n",
        ),
    ] {
        let file = Path::new(file);
        assert!(file.is_file(), "{} is missing: run ./setup", file.display());
        assert_eq!(check(&import_file(file)), verdict, "{}", file.display());
    }
}

#[test]
fn what_is_neither_is_said_to_be_neither() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    for (text, why) in [
        ("[console.a]\n", "say which it is with --from"),
        (
            "console a {\n type exec\n}\n",
            "line 3: ';' is missing before '}'",
        ),
        ("connection: [\n", "line 2"),
    ] {
        fs::write(&file, text).unwrap();
        let output = chardevctl().arg("import").arg(&file).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(why), "{said}");
    }
}

/// The device's end of a serial line, and the path of the other one.
struct Line {
    device: File,
    path: String,
}

impl Line {
    fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let mut settings = tcgetattr(&master).unwrap();
        settings.make_raw();
        tcsetattr(&master, OptionalActions::Now, &settings).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        Line {
            device: master.into(),
            path,
        }
    }
}

/// A server that is ended as its author meant it to be.
struct Peer(Child);

impl Peer {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn();
        Peer(child.unwrap_or_else(|error| panic!("{program}: {error}: run ./setup")))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Either call fails only if it has already ended.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A client of a port, once somebody listens there.
fn connect(port: u16) -> TcpStream {
    let mut client = None;
    until("the port accepts", || {
        client = TcpStream::connect(("127.0.0.1", port)).ok();
        client.is_some()
    });
    let client = client.unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
}

/// What comes over a line and its port, both ways, until the end of a conversation.
fn talk(line: &mut Line, client: &mut (impl crate::daemon_rig::Viewer + Write)) -> [String; 2] {
    client.write_all(b"typed at the port\r\n.").unwrap();
    let typed = read_until(&mut line.device, ".");
    line.device
        .write_all(b"\x1b[1mprinted\x1b[m by the device\r\n\xff\x00#")
        .unwrap();
    [typed, read_until(client, "#")]
}

#[test]
fn ser2net_and_ours_serve_the_same_lines_alike() {
    let config = |lines: &[Line; 2], ports: &[u16; 2]| {
        let one = |name: &str, at: usize| {
            format!(
                "connection: &{name}\n  accepter: tcp,127.0.0.1,{}\n  \
                 connector: serialdev,{},9600n81,local\n",
                ports[at], lines[at].path
            )
        };
        format!("%YAML 1.1\n---\n{}{}", one("first", 0), one("second", 1))
    };
    let mut theirs = [Line::new(), Line::new()];
    let mut ours = [Line::new(), Line::new()];
    let (their_ports, our_ports) = ([free_port(), free_port()], [free_port(), free_port()]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ser2net.yaml");
    fs::write(&file, config(&theirs, &their_ports)).unwrap();
    let arguments = ["-n", "-d", "-c", file.to_str().unwrap()];
    let _ser2net = Peer::start("/usr/sbin/ser2net", &arguments);
    let _ours = Configured::start(&import(&config(&ours, &our_ports)));
    for at in 0..2 {
        let mut client = connect(their_ports[at]);
        let expected = talk(&mut theirs[at], &mut client);
        let mut client = connect(our_ports[at]);
        assert_eq!(talk(&mut ours[at], &mut client), expected);
    }
}

/// The lines of a log that came over the line.
fn logged(log: &Path) -> Vec<String> {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with("[-- "));
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_is_neither_is_refused_with_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("given");
    let users = "root:x:0:0:root:/root:/bin/sh\nann:x:1:1::/:/bin/sh\n";
    for (text, from, why) in [
        (
            users,
            None,
            "it begins with 'root:x:0:0:root:/root:/bin/sh'",
        ),
        ("---\nkind: Pod\n", None, "say which it is with --from"),
        ("# nothing\n", None, "there is nothing in it"),
        (users, Some("ser2net"), "it has no keys of ser2net's"),
        (users, Some("conserver"), "'{' is missing"),
    ] {
        fs::write(&file, text).unwrap();
        let mut ctl = chardevctl();
        ctl.arg("import").arg(&file);
        if let Some(from) = from {
            ctl.args(["--from", from]);
        }
        let output = ctl.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(why),
            "{text}: {said}"
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn conserver_and_ours_serve_the_same_consoles_alike() {
    let dir = tempfile::tempdir().unwrap();
    let config = |line: &Line, logs: &Path| {
        format!(
            "default full {{ rw *; }}\n\
             default * {{ logfile {}/&.log; timestamp \"\"; include full; master localhost; }}\n\
             console line {{ type device; device {}; baud 9600; parity none; options !ixon; }}\n\
             console prog {{ type exec; exec \"stty -echo; echo ready; exec cat\"; }}\n\
             access * {{ trusted 127.0.0.1; }}\n",
            logs.display(),
            line.path
        )
    };
    let (mut theirs, mut ours) = (Line::new(), Line::new());
    let logs = ["theirs", "ours"].map(|name| dir.path().join(name));
    logs.iter().for_each(|logs| fs::create_dir(logs).unwrap());
    let file = dir.path().join("conserver.cf");
    fs::write(&file, config(&theirs, &logs[0])).unwrap();
    let port = free_port().to_string();
    let arguments = [
        "-C",
        file.to_str().unwrap(),
        "-M",
        "127.0.0.1",
        "-p",
        &port,
        "-E",
    ];
    let _conserver = Peer::start("/usr/sbin/conserver", &arguments);
    until("conserver listens", || {
        TcpStream::connect(format!("127.0.0.1:{port}")).is_ok()
    });
    let configured = Configured::start(&import(&config(&ours, &logs[1])));

    let mut client = Command::new("console");
    client.args([
        "-n",
        "-E",
        "-U",
        "-M",
        "127.0.0.1",
        "-p",
        &port,
        "-f",
        "line",
    ]);
    let mut their_client = Attached::begin(&mut client);
    their_client.wait_for("help]");
    let mut client = chardevctl();
    client
        .env("CHARDEVD_SOCKET", configured.path("qmp"))
        .args(["attach", "line"]);
    let mut our_client = Attached::begin(&mut client);
    our_client.wait_for("for help]");
    for (line, client) in [
        (&mut theirs, &mut their_client),
        (&mut ours, &mut our_client),
    ] {
        client.type_in(b"show version.");
        assert_eq!(read_until(&mut line.device, "."), "show version.");
        line.device
            .write_all(b"version \x1b[1m7\x1b[m\r\nswitch> \r\n")
            .unwrap();
        client.wait_for("version \x1b[1m7\x1b[m\r\nswitch> ");
    }
    for (name, expected) in [
        ("line.log", vec!["version \u{1b}[1m7\u{1b}[m", "switch> "]),
        ("prog.log", vec!["ready"]),
    ] {
        for logs in &logs {
            until("the log has it", || logged(&logs.join(name)) == expected);
        }
    }
}
