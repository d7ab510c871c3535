//! What programs are given, and how they are started.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use chardev_qapi::{Json, Object};
use rustix::process::{Pid, Signal, kill_process};

use crate::config_start::Configured;
use crate::daemon_rig::{Daemon, console, read_until, until};

/// Whoever starts the daemon may have signals ignored, descriptors open, and limits of its own.
#[test]
fn a_program_has_what_a_login_would_give_it() {
    let dir = tempfile::tempdir().unwrap();
    let monitor = dir.path().join("qmp");
    let mut command = Command::new("sh");
    let script = "trap '' HUP INT QUIT TERM PIPE USR1 CHLD; umask 026; ulimit -Sn 80; exec 7</dev/null; \
                  exec \"$0\" \"$@\"";
    // Each word that commas would separate is written with two.
    let program = "grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status; echo fds $(echo /proc/self/fd/*); \
                   echo umask $(umask) limit $(ulimit -Sn) con $CHARDEV $CHARDEVD_PID $MINE $TERM; \
                   echo in $(pwd); echo size $(stty size </dev/tty); \
                   read -r _ _ _ _ group session tty front _ </proc/$$/stat; \
                   echo leads $((group == $$)) $((session == $$)) $((tty != 0)) $((front == $$)); \
                   echo end";
    std::fs::create_dir(dir.path().join("place")).unwrap();
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_chardevd")])
        .args(["-chardev", "socket,id=con,path=con,server=on,wait=on"])
        .args([
            "-device",
            &format!("exec,chardev=con,cwd=place,command={program}"),
        ])
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", monitor.display()))
        .env("MINE", "mine")
        .env("NOTIFY_SOCKET", "/nowhere")
        .env_remove("TERM")
        .current_dir(dir.path());
    let daemon = Daemon::adopt_in(command, dir, &monitor);
    let said = read_until(&mut console(&daemon.dir().join("con")), "end\r\n");
    let place = std::fs::canonicalize(daemon.dir().join("place")).unwrap();
    for wanted in [
        "SigBlk:\t0000000000000000".to_owned(),
        "SigIgn:\t0000000000000000".to_owned(),
        // Standard ones, and what the shell itself reads the list with.
        "fds /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\r".to_owned(),
        format!("umask 0026 limit 80 con con {} mine vt100", daemon.id()),
        format!("in {}\r", place.display()),
        "leads 1 1 1 1".to_owned(),
        "size 0 0".to_owned(),
    ] {
        assert!(said.contains(&wanted), "{wanted:?} in {said}");
    }
}

#[test]
fn a_program_that_cannot_start_says_why_and_leaves_nothing_behind() {
    let daemon = Daemon::start(&[
        "-chardev",
        "null,id=con",
        "-device",
        "exec,id=d,chardev=con,command=true,cwd=/dev/null",
    ]);
    let mut client = daemon.client();
    let mut error = String::new();
    until("it has failed", || {
        let all = client.execute("x-query-devices", Object::new()).unwrap();
        let device = &all.as_array().unwrap()[0];
        let told = device.get("error").and_then(Json::as_str);
        error = told.unwrap_or_default().to_owned();
        told.is_some()
    });
    assert!(error.contains("Not a directory"), "{error}");
    let children = format!("/proc/{}/task", daemon.id());
    for task in std::fs::read_dir(children).unwrap() {
        let list = task.unwrap().path().join("children");
        // A thread may have ended meanwhile.
        let left = std::fs::read_to_string(list).unwrap_or_default();
        assert_eq!(left, "");
    }
}

/// Five hundred copies of a large daemon's page tables are what made it slow to start.
#[test]
fn no_program_costs_a_copy_of_the_page_tables() {
    const CONSOLES: usize = 20;
    let configured = Configured::start("");
    let calls = configured.path("calls");
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=fork,vfork,clone,clone3,execve", "-o"])
        .arg(&calls)
        .args(["-p", &configured.daemon.id().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace, which ./setup installs");
    let mut said = BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("attached") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "strace ended");
    }
    configured.reload(&format!(
        "[template.t]\nexec = 'exec cat'\nto = 'null'\n\
         [[lines]]\ntemplate = 't'\nnames = 'c[1-{CONSOLES}]'\n"
    ));
    until("all have a process", || {
        let all = configured.ask("x-query-devices");
        let has_one = |device: &&Json| device.get("pid").is_some();
        all.as_array().unwrap().iter().filter(has_one).count() == CONSOLES
    });
    // It lets go of the daemon, and has written everything.
    kill_process(Pid::from_child(&strace), Signal::TERM).unwrap();
    strace.wait().unwrap();
    let calls = std::fs::read_to_string(calls).unwrap();
    // Nor one for a shell that has nothing to do.
    let runs = |program: &str| calls.matches(&format!("execve(\"{program}\"")).count();
    assert_eq!(runs("/bin/sh"), 0, "{calls}");
    let begins = |line: &&str| {
        ["fork(", "clone(", "clone3("]
            .iter()
            .any(|it| line.contains(it))
    };
    let made = calls.lines().filter(begins);
    let processes: Vec<&str> = made.filter(|line| !line.contains("CLONE_THREAD")).collect();
    assert_eq!(processes.len(), CONSOLES, "{calls}");
    for call in processes {
        assert!(
            call.contains("CLONE_VM|") && call.contains("CLONE_VFORK"),
            "{call}"
        );
    }
}

#[test]
fn a_plain_command_finds_all_as_it_would_from_a_shell() {
    let consoles = [
        ("plain", "env"),
        ("shell", "env; true"),
        ("lost", "exec nothing-there"),
    ];
    let mut arguments = Vec::new();
    for (id, command) in consoles {
        arguments.extend(["-chardev".to_owned(), format!("ringbuf,id={id}")]);
        let device = format!("exec,chardev={id},id={id},tell-end=on,command={command}");
        arguments.extend(["-device".to_owned(), device]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&arguments);
    let mut client = daemon.client();
    let mut said = |id: &str| {
        let mut text = String::new();
        until("it has ended", || {
            let read = Object::new().with("device", id).with("size", 65_536u64);
            let more = client.execute("ringbuf-read", read).unwrap();
            text += more.as_str().unwrap();
            text.contains("the program ended")
        });
        text
    };
    let variables = |text: &str, id: &str| {
        // These count shells.
        let counts = |line: &&str| {
            ["_=", "SHLVL=", "OLDPWD="]
                .iter()
                .any(|it| line.starts_with(it))
        };
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| line.contains('=') && !counts(line))
            .map(|line| line.replace(&format!("CHARDEV={id}"), "CHARDEV=it"))
            .collect();
        lines.sort();
        lines
    };
    let plain = variables(&said("plain"), "plain");
    assert_eq!(plain, variables(&said("shell"), "shell"));
    assert!(plain.contains(&"CHARDEV=it".to_owned()), "{plain:?}");
    let lost = said("lost");
    assert!(lost.contains("nothing-there: not found"), "{lost}");
    assert!(lost.contains("status 127"), "{lost}");
}
