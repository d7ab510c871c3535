//! Mistakes in what is typed are told with what was probably meant; and where daemons are.

use std::process::{Child, Command, Stdio};

use crate::ctl_rig::{Daemon, chardevctl, text, until, wait};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_daemon_without_a_configuration_has_no_consoles_and_it_is_said() {
    let daemon = Daemon::start();
    let output = daemon.ctl(&["consoles"]);
    assert!(output.status.success() && text(&output.stdout).starts_with("CONSOLE"));
    let said = text(&output.stderr);
    assert!(said.contains("it was started without --config"), "{said}");
    assert!(said.contains("'chardevctl list'"), "{said}");
}

#[test]
fn kinds_options_values_drivers_and_ids_that_were_meant_are_named() {
    let daemon = Daemon::with(&[
        "--chardev",
        "ringbuf,id=con0",
        "--chardev",
        "null,id=con1",
        "--device",
        "exec,chardev=con0,command=exec cat",
    ]);
    for (arguments, wanted) in [
        (&["add", "sokcet,id=x"][..], "did you mean 'socket'?"),
        (
            &["add", "nothing,id=x"],
            "'chardevd --chardev help' lists the kinds",
        ),
        (
            &["change", "con1", "socket"],
            "a socket needs an address\nadd path=FILE, or host=HOST,port=PORT",
        ),
        (&["change", "con1", "pty,pth=/x"], "did you mean 'path'?"),
        (
            &["change", "con1", "socket,path=/x,sever=on"],
            "did you mean 'server'?",
        ),
        (
            &["change", "con1", "null,x-closed=hodl"],
            "did you mean 'hold'?",
        ),
        (&["change", "cno1", "null"], "did you mean 'con1'?"),
        (
            &["device", "add", "exce,chardev=con1"],
            "did you mean 'exec'?",
        ),
        (
            &["device", "add", "exec,chardev=con1,comand=x"],
            "did you mean 'command'?",
        ),
        (
            &["device", "add", "exec,chardev=con1,command=sh -c 'a, b'"],
            "a comma ends what command= says: write each comma of the command twice",
        ),
        (
            &["device", "add", "exec,chardev=con1,command=sh -c 'a, b'"],
            "chardevctl device add exec,chardev=ID -- sh -c 'echo a, b'",
        ),
        (&["device", "del", "cno0"], "did you mean 'con0'?"),
        (
            &["device", "restart", "nosuch"],
            "Device 'nosuch' not found",
        ),
        (
            &["device", "del", "nosuch"],
            "'chardevctl device list' shows all devices",
        ),
        (
            &["add", "pty,path=/x"],
            "add id=NAME, such as pty,path=/x,id=con1",
        ),
        (&["lsit"], "'list'"),
    ] {
        let output = daemon.ctl(arguments);
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains(wanted),
            "{arguments:?}: {said}"
        );
    }
}

#[test]
fn a_command_is_taken_as_it_is() {
    let daemon = Daemon::with(&["--chardev", "ringbuf,id=con0"]);
    let script = "echo \"$1, it's $2\"; exec cat";
    let line = [
        "device",
        "add",
        "exec,chardev=con0",
        "--",
        "sh",
        "-c",
        script,
        "x",
        "a, b",
        "",
    ];
    daemon.succeed(&line);
    let found = daemon.expect("it's.*");
    assert!(found.ends_with(" it's \n"), "{found}");
    assert!(
        daemon
            .succeed(&["history", "con0"])
            .starts_with("a, b, it's ")
    );
}

/// A daemon in this runtime directory, with a default monitor unless it is told otherwise.
fn start(runtime: &std::path::Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chardevd"));
    command
        .env_remove("CHARDEVD_NO_DEFAULT_MONITOR")
        .env("XDG_RUNTIME_DIR", runtime);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().expect("chardevd runs")
}

fn stop(mut child: Child) -> String {
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a process");
    wait(&mut child);
    let mut said = String::new();
    let stderr = child.stderr.take();
    stderr.map(|mut stderr| std::io::Read::read_to_string(&mut stderr, &mut said));
    said
}

#[test]
fn there_is_a_monitor_whatever_the_arguments_and_one_daemon_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let ctl = |arguments: &[&str]| {
        let mut command = chardevctl();
        command.env("XDG_RUNTIME_DIR", dir.path()).args(arguments);
        command.output().expect("chardevctl runs")
    };
    let qmp = |name: &str| {
        format!(
            "unix:{},server=on,wait=off",
            dir.path().join(name).display()
        )
    };
    let first = start(
        dir.path(),
        &["-chardev", "null,id=mine", "-qmp", &qmp("one")],
    );
    until("it answers", || ctl(&["list"]).status.success());
    let list = text(&ctl(&["list", "--json"]).stdout);
    // It is no chardev that anybody sees.
    assert_eq!(list.matches("\"label\"").count(), 2, "{list}");
    assert!(list.contains("mine"));
    // Several clients, and those that stay, are served.
    assert!(
        ctl(&["expect", "mine", "--timeout", "0.1", "x"])
            .status
            .code()
            == Some(4)
    );

    let second = start(
        dir.path(),
        &["-chardev", "null,id=other", "-qmp", &qmp("two")],
    );
    let other = dir.path().join("two").display().to_string();
    until("the other answers", || {
        ctl(&["--socket", &other, "list"]).status.success()
    });
    assert!(text(&ctl(&["list"]).stdout).contains("mine"));
    let said = stop(second);
    assert!(
        said.contains(
            "no default monitor here (--no-default-monitor): a daemon is already serving"
        ),
        "{said}"
    );
    assert!(
        text(&ctl(&["list"]).stdout).contains("mine"),
        "it is still there"
    );
    assert_eq!(stop(first), "");
    assert!(!dir.path().join("chardevd/qmp.sock").exists());

    let third = start(
        dir.path(),
        &[
            "--no-default-monitor",
            "-chardev",
            "null,id=a",
            "-qmp",
            &qmp("one"),
        ],
    );
    until("it answers", || {
        ctl(&[
            "--socket",
            &dir.path().join("one").display().to_string(),
            "list",
        ])
        .status
        .success()
    });
    let output = ctl(&["list"]);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.contains("chardevd (pid "), "{said}");
    stop(third);
}

#[test]
fn a_configuration_needs_no_monitor_of_its_own_to_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("lab.toml");
    let text_of_file = "[console.lab0]\nto = 'null'\nfrom = 'null'\n";
    std::fs::write(&file, text_of_file).expect("a file");
    let config = ["--config", file.to_str().expect("text")];
    let list = || {
        let mut command = chardevctl();
        command.env("XDG_RUNTIME_DIR", dir.path());
        command.args(["list", "--json"]).output().expect("it runs")
    };
    let first = start(dir.path(), &config);
    until("it answers", || list().status.success());
    let listed = text(&list().stdout);
    assert!(
        listed.contains("lab0") && !listed.contains("monitor"),
        "{listed}"
    );
    // Another daemon has the place, and this one works without.
    let other = dir.path().join("other.toml");
    let socket = dir.path().join("other");
    let text_of_file = format!(
        "[console.other]\nto = {{ kind = 'socket', path = '{}', server = true }}\nfrom = 'null'\n",
        socket.display()
    );
    std::fs::write(&other, text_of_file).expect("a file");
    let other = other.to_str().expect("text");
    let mut second = start(dir.path(), &["--config", other]);
    let stderr = second.stderr.take().expect("a pipe");
    let mut said = String::new();
    let mut lines = std::io::BufReader::new(stderr);
    std::io::BufRead::read_line(&mut lines, &mut said).expect("text");
    until("its console is there", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    let given_up = "no default monitor here (--no-default-monitor): a daemon is already";
    assert!(said.contains(given_up), "{said}");
    stop(second);
    assert!(text(&list().stdout).contains("lab0"), "it is still there");
    stop(first);
}
