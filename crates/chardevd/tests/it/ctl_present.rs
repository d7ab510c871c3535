//! `chardevctl --fleet list` and `events`: who is up, and what happens, against three real servers.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use chardev_qapi::{Json, Object};

use crate::ctl_fleet::{ctl, succeed};
use crate::ctl_rig::{chardevctl, text};
use crate::daemon_rig::{Daemon, console};
use crate::fleet::keys::start;
use crate::fleet::secure::Secure;
use crate::fleet::servers::{Servers, until};
use crate::fleet::{Feed, Host};

/// A member of what the list says of a console, as text.
fn member(servers: &Servers, (host, console): (&str, &str), name: &str) -> Option<String> {
    let output = ctl(servers, &["list", "--json"]).output().unwrap();
    // While servers die it may fail.
    let list = Json::parse(&text(&output.stdout)).ok()?;
    let is_it = |entry: &&Json| {
        entry.get("host").and_then(Json::as_str) == Some(host)
            && entry.get("console").and_then(Json::as_str) == Some(console)
    };
    let entry = list.as_array()?.iter().find(is_it)?;
    let member = entry.get(name)?;
    let text = member.as_str().map(str::to_owned);
    Some(text.unwrap_or_else(|| member.to_string()))
}

fn until_said(servers: &Servers, of: (&str, &str), name: &str, wanted: Option<&str>) {
    until(&format!("{of:?}: {name} is {wanted:?}"), || {
        member(servers, of, name).as_deref() == wanted
    });
}

#[test]
fn the_list_says_who_is_up_while_hosts_and_servers_die_and_return() {
    let dir = tempfile::tempdir().unwrap();
    let mut servers = Servers::start();
    let mut hosts: Vec<_> = (0..3)
        .map(|number| Host::start(dir.path(), number, &servers))
        .collect();
    for host in ["host.0", "host.1", "host.2"] {
        for console in ["con0", "con1", "con2"] {
            until_said(&servers, (host, console), "state", Some("up"));
        }
    }
    let silent = ("host.1", "con1");
    until_said(&servers, silent, "output-offset", Some("0"));
    until_said(&servers, silent, "last-heard", None);
    until_said(&servers, silent, "front-end", Some("null-modem"));
    until_said(&servers, silent, "back-end", Some("null"));
    let table = text(&succeed(&servers, &["list"]));
    let row = table.lines().find(|line| line.starts_with("host.1/con1 "));
    let words: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(
        words,
        ["host.1/con1", "up", "null", "0", "-", "no"],
        "{table}"
    );

    // One that printed is killed: it is down within its time, and what it printed is still there.
    Feed::new(&hosts[1], 0, 0).print(5000);
    until("it is in the stream", || {
        hosts[1].printed(0).1 == 5000 && hosts[1].is_up_to_date()
    });
    hosts[1].daemon.kill();
    until_said(&servers, ("host.1", "con0"), "state", Some("down"));
    until_said(&servers, ("host.1", "con0"), "output-offset", Some("5000"));
    until_said(&servers, silent, "state", None);
    until_said(&servers, ("host.2", "con1"), "state", Some("up"));
    servers.kill(0);
    hosts[1].daemon = Host::daemon(&hosts[1].dir);
    until_said(&servers, silent, "state", Some("up"));
    until_said(&servers, ("host.1", "con0"), "output-offset", Some("0"));
    servers.begin(0);

    // A console comes, is changed and goes, while a server is frozen.
    let execute = |command: &str, arguments: &str| {
        let arguments = Json::parse(arguments).unwrap();
        let arguments: Object = arguments.as_object().unwrap().clone();
        hosts[2]
            .daemon
            .client()
            .execute(command, arguments)
            .unwrap();
    };
    servers.freeze(1, true);
    execute(
        "chardev-add",
        "{'id': 'new', 'backend': {'type': 'null', 'data': {}}}",
    );
    until_said(&servers, ("host.2", "new"), "back-end", Some("null"));
    execute(
        "chardev-change",
        "{'id': 'new', 'backend': {'type': 'ringbuf', 'data': {'size': 4096}}}",
    );
    until_said(&servers, ("host.2", "new"), "back-end", Some("ringbuf"));
    servers.freeze(1, false);
    execute("chardev-remove", "{'id': 'new'}");
    until_said(&servers, ("host.2", "new"), "back-end", None);

    // One that ends by itself deletes its keys, if the servers have a leader again by then.
    assert!(hosts[0].daemon.terminate().0.success());
    until("it is down and has ended", || {
        let table = text(&ctl(&servers, &["list"]).output().unwrap().stdout);
        let row = table.lines().find(|line| line.starts_with("host.0/con1 "));
        let words: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
        (words.get(1), words.get(5)) == (Some(&"down"), Some(&"yes"))
    });
}

/// A `chardevctl events`, which does not outlive the test, and what it prints.
struct Listener {
    child: Child,
    lines: Receiver<String>,
    said: Receiver<String>,
}

impl Listener {
    fn start(mut command: Command) -> Listener {
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let lines = lines_of::<ChildStdout>(child.stdout.take().unwrap());
        let said = lines_of::<ChildStderr>(child.stderr.take().unwrap());
        Listener { child, lines, said }
    }

    /// Waits for a line that has all of that.
    fn wait_for(&self, wanted: &[&str]) -> String {
        wait_for(&self.lines, wanted)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of<R: Read + Send + 'static>(from: R) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let all = BufReader::new(from).lines();
        all.map_while(Result::ok)
            .all(|line| sender.send(line).is_ok());
    });
    lines
}

fn wait_for(lines: &Receiver<String>, wanted: &[&str]) -> String {
    loop {
        let line = lines.recv_timeout(Duration::from_secs(60));
        let line = line.unwrap_or_else(|_| panic!("no line with {wanted:?}"));
        if wanted.iter().all(|it| line.contains(it)) {
            return line;
        }
    }
}

/// Sets a marker, which is an event.
fn mark(daemon: &Daemon, console: &str, words: &str) {
    let arguments = Object::new().with("id", console).with("text", words);
    let done = daemon.client().execute("x-chardev-mark", arguments);
    done.unwrap();
}

/// Sets markers until somebody listens.
fn until_heard(daemon: &Daemon, console: &str, listener: &Listener) {
    until("somebody listens", || {
        mark(daemon, console, "ready");
        listener.lines.try_recv().is_ok()
    });
}

#[test]
fn what_happens_on_all_hosts_is_printed_as_it_happens() {
    let dir = tempfile::tempdir().unwrap();
    let mut servers = Servers::start();
    let hosts = [0, 1].map(|number| Host::start(dir.path(), number, &servers));
    until("the stream is there", || {
        ctl(&servers, &["list"]).output().unwrap().status.success()
    });
    let all = Listener::start(ctl(&servers, &["events"]));
    let json = Listener::start(ctl(
        &servers,
        &["events", "--json", "host.0", "host.1/con1"],
    ));
    until_heard(&hosts[0].daemon, "con0", &all);
    until_heard(&hosts[0].daemon, "con0", &json);
    mark(&hosts[0].daemon, "con1", "first");
    mark(&hosts[1].daemon, "con0", "second");
    mark(&hosts[1].daemon, "con1", "third");
    // Hosts are in no order with each other.
    let mut wanted = vec![
        "host.0/con1 text=first",
        "host.1/con0 text=second",
        "host.1/con1 text=third",
    ];
    while !wanted.is_empty() {
        let line = all.wait_for(&[" chardev-marked "]);
        let words: Vec<&str> = line.split_whitespace().collect();
        let said = format!("{} {}", words[2], words[words.len() - 1]);
        wanted.retain(|it| *it != said);
    }
    let mut wanted = vec![("host.0", "first"), ("host.1", "third")];
    while !wanted.is_empty() {
        let line = json.wait_for(&["X_CHARDEV_MARKED"]);
        let event = Json::parse(&line).unwrap();
        let said = |it: Option<&Json>| it.and_then(Json::as_str).map(str::to_owned).unwrap();
        let text = said(event.get("data").and_then(|data| data.get("text")));
        assert!(text != "second", "{line}");
        if text != "ready" {
            assert_eq!(said(event.get("console")), "con1", "{line}");
            let host = said(event.get("host"));
            wanted.retain(|it| *it != (&host[..], &text[..]));
        }
    }
    // Nobody's monitor is anybody's business.
    drop(hosts[0].daemon.client());

    (0..3).for_each(|number| servers.kill(number));
    wait_for(&all.said, &["the connection to the servers is lost"]);
    (0..3).for_each(|number| servers.begin(number));
    wait_for(&all.said, &["connected to again"]);
    until("it is heard again", || {
        mark(&hosts[1].daemon, "con2", "again");
        let mut lines = all.lines.try_iter();
        lines.any(|line| {
            assert!(
                !line.contains("monitor") && !line.contains(".far"),
                "{line}"
            );
            line.contains("text=again")
        })
    });

    let [first, mut second] = hosts;
    assert!(second.daemon.terminate().0.success());
    all.wait_for(&[" shutdown host.1 ", "reason=host-signal"]);
    drop(first);
}

/// A `chardevctl` of somebody with that key.
fn as_who(secure: &Secure, key: &str, arguments: &[&str]) -> Command {
    let mut command = chardevctl();
    command
        .env("CHARDEV_FLEET", secure.servers.addresses("tls").join(","))
        .args(["--cluster", "lab", "--nkey"])
        .arg(secure.key(key))
        .arg("--ca")
        .arg(secure.ca())
        .args(arguments);
    command
}

/// A cluster whose accounts are from before there were buckets of hosts.
#[test]
fn who_may_not_know_who_is_up_still_sees_what_was_printed() {
    let secure = Secure::with(|_, text| {
        let parts: Vec<&str> = text
            .split("\"$JS.API.STREAM.INFO.KV_CHARDEV_LAB_HOSTS\",")
            .collect();
        assert_eq!(parts.len(), 2, "{text}");
        parts.concat()
    });
    let dir = tempfile::tempdir().unwrap();
    let _operator = start(&secure, dir.path(), "nkey", ("operator", "OPERATOR"), "");
    let consoles = "[console.con]\nsocket = { path = 'con.far', server = true }\nto = 'null'\n";
    let _host = start(&secure, dir.path(), "nkey", ("node7", "NODE7"), consoles);
    let far = dir.path().join("node7/con.far");
    std::io::Write::write_all(&mut console(&far), b"hello\n").unwrap();
    let run = |arguments: &[&str]| as_who(&secure, "READER", arguments).output().unwrap();
    until("it is read", || {
        run(&["history", "node7/con"]).stdout == b"hello\n"
    });
    let list = run(&["list"]);
    let table = text(&list.stdout);
    let row = table.lines().nth(1).unwrap_or_default();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[..4], ["node7/con", "-", "-", "6"], "{table}");
    let said = text(&list.stderr);
    assert!(list.status.success(), "{said}");
    for wanted in ["which hosts are up is not shown", "iolation"] {
        assert!(said.contains(wanted), "{said}");
    }
    let said = text(&run(&["watch", "node7/co"]).stderr);
    assert!(said.contains("did you mean 'node7/con'?"), "{said}");
}

#[test]
fn the_documented_reader_sees_all_of_it_over_tls_and_others_are_told_why_not() {
    let secure = Secure::start();
    let dir = tempfile::tempdir().unwrap();
    let operator = start(&secure, dir.path(), "nkey", ("operator", "OPERATOR"), "");
    let host = start(
        &secure,
        dir.path(),
        "nkey",
        ("node7", "NODE7"),
        "[defaults]\nsocket = { path = '{name}.far', server = true }\nto = 'null'\n\
         [console.con]\n[console.silent]\n",
    );
    let as_who = |key: &str, arguments: &[&str]| as_who(&secure, key, arguments);
    let read = |arguments: &[&str]| {
        let output = as_who("READER", arguments).output().unwrap();
        let said = text(&output.stderr);
        (output.status.success() && said.is_empty()).then(|| text(&output.stdout))
    };
    let far = dir.path().join("node7/con.far");
    std::io::Write::write_all(&mut console(&far), b"over TLS\n").unwrap();
    until("it is read", || {
        read(&["history", "node7/con"]).as_deref() == Some("over TLS\n")
    });
    until("both are listed", || {
        let list = read(&["list"]).unwrap_or_default();
        let row = |name: &str| {
            list.lines()
                .find(|it| it.starts_with(name))
                .map(str::to_owned)
        };
        let is_up = |name| row(name).is_some_and(|it| it.contains(" up "));
        is_up("node7/con ") && is_up("node7/silent ")
    });
    let events = Listener::start(as_who("READER", &["events", "node7"]));
    let others = Listener::start(as_who("OPERATOR", &["events"]));
    for listener in [&events, &others] {
        until_heard(&host, "con", listener);
        mark(&host, "silent", "heard");
        listener.wait_for(&["chardev-marked node7/silent ", "text=heard"]);
    }
    let watch = Listener::start(as_who("READER", &["watch", "node7/con", "--from-start"]));
    watch.wait_for(&["over TLS"]);
    drop((host, operator));

    // A key that opens something else, and one that opens nothing.
    let unknown = nkeys::KeyPair::new_user().seed().unwrap();
    std::fs::write(secure.key("UNKNOWN"), unknown).unwrap();
    for key in ["NODE8", "UNKNOWN"] {
        for arguments in [
            &["list"][..],
            &["history", "node7/con"],
            &["watch", "node7/con"],
            &["events"],
        ] {
            let output = as_who(key, arguments).output().unwrap();
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{key} {arguments:?}: {said}");
            assert!(output.stdout.is_empty(), "{key} {arguments:?}");
            for wanted in [" refuse: ", "iolation", "--nkey FILE", "'Who may what'"] {
                assert!(said.contains(wanted), "{key} {arguments:?}: {said}");
            }
        }
    }
}
