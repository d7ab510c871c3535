//! What a program behind `exec` is given: a login's surroundings, and nothing of ours.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::daemon_rig::until;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// What the program says of itself, once it is there.
const LOOK: &str = "(ls /proc/$$/fd; grep -E 'Sig(Ign|Blk|Cgt)' /proc/$$/status; umask; pwd; \
    cut -d' ' -f5-8 /proc/$$/stat; echo $$; ulimit -n; env) > said.new; mv said.new said; exec sleep 1000";

/// Starts the daemon from a shell that has things its programs must not have, and returns what one
/// of them said.
fn look_around(dir: &Path, more: &[&str]) -> Vec<String> {
    let surroundings = "trap '' HUP INT QUIT PIPE USR1 TSTP CHLD; umask 027; ulimit -n 500; \
        exec 7</dev/null 8>kept; exec \"$0\" \"$@\"";
    let device = format!("exec,chardev=con0,command={LOOK}");
    let mut daemon = Command::new("sh")
        .args(["-c", surroundings, env!("CARGO_BIN_EXE_chardevd")])
        .args([
            "-chardev",
            "ringbuf,id=con0,logfile=log",
            "-device",
            &device,
        ])
        .args(["-chardev", "socket,id=s,path=sock,server=on,wait=off"])
        .args(["-pidfile", "pid"])
        .args(more)
        .current_dir(dir)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    until("the program looked around", || dir.join("said").exists());
    let pid = fs::read_to_string(dir.join("pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    until("the daemon ends", || {
        let _ = daemon.try_wait();
        test_kill_process(pid).is_err()
    });
    let said = fs::read_to_string(dir.join("said")).unwrap();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn a_program_is_given_what_a_login_gives() {
    for more in [&[][..], &["-daemonize"]] {
        let dir = tempfile::tempdir().unwrap();
        let said = look_around(dir.path(), more);
        // The shell itself has put its standard output aside.
        let (fds, rest) = said.split_at(3);
        assert_eq!(fds, ["0", "1", "2"], "{said:#?}");
        let rest: Vec<&str> = rest
            .iter()
            .map(|line| line.trim())
            .skip_while(|line| *line == "10")
            .collect();
        let zero = "0000000000000000";
        for (line, name) in rest.iter().zip(["SigBlk:", "SigIgn:", "SigCgt:"]) {
            let value = line
                .strip_prefix(name)
                .unwrap_or_else(|| panic!("{said:#?}"));
            // The shell waits for what it runs.
            let value = if name == "SigCgt:" {
                zero
            } else {
                value.trim()
            };
            assert_eq!(value, zero, "{more:?} {name} {said:#?}");
        }
        assert_eq!(rest[3], "0027");
        assert_eq!(Path::new(rest[4]), dir.path().canonicalize().unwrap());
        // It leads its group and session, and is in front on its terminal.
        let ids: Vec<&str> = rest[5].split(' ').collect();
        assert_eq!([ids[0], ids[1], ids[3]], [rest[6]; 3]);
        assert_ne!(ids[2], "0", "no terminal");
        assert_eq!(rest[7], "500");
        let own = rest[8..]
            .iter()
            .find(|line| line.starts_with("CHARDEVD_READY_FD"));
        assert_eq!(own, None);
    }
}

#[test]
fn a_daemon_in_the_background_holds_nothing_that_was_not_given_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "exec 9>&0; exec \"$0\" \"$@\" < /dev/null",
        env!("CARGO_BIN_EXE_chardevd"),
    ]);
    command.args(["-chardev", "null,id=n", "-daemonize", "-pidfile", "pid"]);
    command.current_dir(dir.path()).stdin(write);
    assert!(command.status().unwrap().success());
    drop(command);
    // Whoever waits for the end of what it gave its children waits for the daemon otherwise.
    let mut buffer = [0; 1];
    let limit = rustix::event::Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let mut ready = [rustix::event::PollFd::new(
        &read,
        rustix::event::PollFlags::IN,
    )];
    assert_eq!(
        rustix::event::poll(&mut ready, Some(&limit)),
        Ok(1),
        "it is held"
    );
    assert_eq!(rustix::io::read(&read, &mut buffer), Ok(0));
    let pid = fs::read_to_string(dir.path().join("pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    until("the daemon ends", || test_kill_process(pid).is_err());
}
