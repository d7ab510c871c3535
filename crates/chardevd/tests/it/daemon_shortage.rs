//! A daemon that is out of descriptors: its clients wait, are served in turn, and it says so once.

use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::daemon_rig::{Daemon, console, until};
use chardev_qapi::{Json, Object};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

const LISTENERS: usize = 60;
/// How many descriptors are left for them.
const SPARE: u64 = 30;
/// How many clients stay.
const LAST: usize = 10;

#[test]
fn clients_wait_for_descriptors_and_are_served_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let path = |number: usize| dir.path().join(format!("c{number}"));
    let mut arguments = Vec::new();
    for number in 0..LISTENERS {
        let path = path(number).display().to_string();
        arguments.push("-chardev".to_owned());
        arguments.push(format!(
            "socket,id=c{number},path={path},server=on,wait=off"
        ));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start(&arguments);
    let mut client = daemon.client();
    leave(daemon.id(), SPARE);
    let mut clients: Vec<UnixStream> = (0..LISTENERS)
        .map(|number| console(&path(number)))
        .collect();
    let mut served = || {
        let stats = client.execute("x-query-chardev-stats", Object::new());
        let with_peer = |number: &usize| {
            let label = format!("c{number}");
            let mut all = stats.as_ref().unwrap().as_array().unwrap().iter();
            all.any(|one| {
                one.get("label").and_then(Json::as_str) == Some(&label) && one.get("peer").is_some()
            })
        };
        (0..LISTENERS).filter(with_peer).collect::<Vec<_>>()
    };
    until("some are served", || served().len() > LAST);
    let first = served().len();
    assert!(
        first < LISTENERS,
        "{first} are served with {SPARE} descriptors"
    );
    // What a client that waits has sent is not lost.
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    // Those that came last are the ones that wait, and there is room for them once others leave.
    clients.drain(..LISTENERS - LAST);
    until("all that are left are served", || {
        served() == Vec::from_iter(LISTENERS - LAST..LISTENERS)
    });
    let (status, said) = daemon.terminate();
    assert!(status.success(), "{said}");
    let times = said.matches("clients wait until some are closed").count();
    assert!((1..=3).contains(&times), "said {times} times: {said}");
}

#[test]
fn a_listening_socket_takes_one_descriptor() {
    let mut daemon = Daemon::start(&["--io-threads", "1"]);
    let count = || {
        let path = format!("/proc/{}/fd", daemon.id());
        std::fs::read_dir(path).unwrap().count()
    };
    let dir = tempfile::tempdir().unwrap();
    let mut client = daemon.client();
    let mut add = |number: usize| {
        let path = dir.path().join(format!("c{number}")).display().to_string();
        let line = format!("chardev-add socket,id=c{number},path={path},server=on,wait=off");
        let arguments = Object::new().with("command-line", line);
        let answer = client.execute("human-monitor-command", arguments);
        assert_eq!(answer.unwrap().as_str(), Some(""));
    };
    // The first one may open what all of them share.
    add(0);
    let before = count();
    (1..=LISTENERS).for_each(&mut add);
    assert_eq!(count(), before + LISTENERS);
    daemon.terminate();
}

/// Takes all descriptors from the process `id` that it does not use, except for `spare`.
fn leave(id: u32, spare: u64) {
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    let current = open.count() as u64 + spare;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(current),
        maximum,
    };
    prlimit(Pid::from_raw(id as i32), Resource::Nofile, limit).unwrap();
}
