//! `x-chardev-attach`: who may join whom, and what those are told who are put out.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::daemon_rig::{DEADLINE, Daemon, change, console, read_until, until};
use chardev_qapi::{Json, Object};
use chardevd::ctl::connect::{Address, Monitor, connect};

/// A daemon whose console `con` runs `cat`, and whose second monitor takes several clients.
struct Rig {
    daemon: Daemon,
    _dir: tempfile::TempDir,
    many: Address,
}

impl Rig {
    fn start(chardev: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("many");
        let monitor = format!("unix:{},server=on,wait=off,x-clients=0", path.display());
        let daemon = Daemon::start(&[
            "-chardev",
            chardev,
            "-device",
            "exec,chardev=con,command=stty -echo; touch ready; exec cat",
            "-qmp",
            &monitor,
        ]);
        let ready = daemon.dir().join("ready");
        until("the program is ready", || ready.exists());
        let many = Address::Unix(path);
        Rig {
            daemon,
            _dir: dir,
            many,
        }
    }

    fn monitor(&self) -> Monitor {
        connect(&self.many).unwrap()
    }

    fn attached(&self) -> Vec<String> {
        let id = Object::new().with("id", "con");
        let stats = self.daemon.client().execute("x-query-chardev-stats", id);
        let stats = stats.unwrap();
        let all = stats.as_array().unwrap()[0].get("attached").cloned();
        let all = all.as_ref().and_then(Json::as_array).unwrap_or_default();
        let mode = |one: &Json| one.get("mode").and_then(Json::as_str).unwrap().to_owned();
        all.iter().map(mode).collect()
    }
}

fn attach(monitor: &mut Monitor, how: &'static str) -> Result<UnixStream, String> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    monitor.stream_mut().pass(theirs.into());
    let name = || Object::new().with("fdname", "peer");
    monitor.execute("getfd", name()).unwrap();
    let mut arguments = name().with("id", "con");
    if !how.is_empty() {
        arguments.insert(how, true);
    }
    match monitor.execute("x-chardev-attach", arguments) {
        Ok(_) => Ok(ours),
        Err(error) => Err(error.to_string()),
    }
}

fn rest(mut stream: UnixStream) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    rest
}

#[test]
fn who_is_attached_is_not_put_out_unless_by_force_and_then_told_by_whom() {
    let rig = Rig::start("null,id=con");
    let (mut first, mut second) = (rig.monitor(), rig.monitor());
    let mut console = attach(&mut first, "").unwrap();
    let error = attach(&mut second, "").unwrap_err();
    // By its number, or by its name once that is known.
    let us = format!("pid {}, u", std::process::id());
    assert!(error.contains(&us) && error.contains("'force'"), "{error}");
    console.write_all(b"still there\n").unwrap();
    read_until(&mut console, "still there\r\n");
    let mut taken = attach(&mut second, "force").unwrap();
    let event = first.next_event().unwrap();
    assert_eq!(event.name, "X_CHARDEV_DETACHED");
    assert_eq!(event.data.get("reason"), Some(&Json::from("taken")));
    let by = event.data.get("by").and_then(Json::as_str).unwrap();
    assert!(by.contains(&us), "{by}");
    assert_eq!(rest(console), "");
    taken.write_all(b"mine\n").unwrap();
    read_until(&mut taken, "mine\r\n");
    drop(taken);
    until("nobody is attached", || rig.attached().is_empty());
    // Who leaves by themselves is told nothing.
    second.execute("query-name", Object::new()).unwrap();
    assert_eq!(second.take_events().len(), 0);
    attach(&mut second, "").unwrap();
}

#[test]
fn whoever_is_put_out_is_told_by_whom_each_time() {
    let rig = Rig::start("null,id=con");
    let (mut first, mut second) = (rig.monitor(), rig.monitor());
    for round in 0..50 {
        let console = attach(&mut first, "").unwrap();
        let taken = attach(&mut second, "force").unwrap();
        let event = first.next_event().unwrap();
        assert_eq!(
            event.data.get("reason"),
            Some(&Json::from("taken")),
            "{round}"
        );
        assert_eq!(rest(console), "");
        drop(taken);
        until("nobody is attached", || rig.attached().is_empty());
    }
}

#[test]
fn those_who_share_see_and_type_and_those_who_only_read_see() {
    let rig = Rig::start("null,id=con");
    let mut monitors = [rig.monitor(), rig.monitor(), rig.monitor()];
    let mut one = attach(&mut monitors[0], "share").unwrap();
    let mut two = attach(&mut monitors[1], "share").unwrap();
    let mut sees = attach(&mut monitors[2], "read-only").unwrap();
    assert_eq!(rig.attached(), ["share", "share", "read-only"]);
    for text in ["one\n", "two\n"] {
        let typist = if text == "one\n" { &mut one } else { &mut two };
        typist.write_all(text.as_bytes()).unwrap();
        let shown = text.replace('\n', "\r\n");
        for all in [&mut one, &mut two, &mut sees] {
            read_until(all, &shown);
        }
    }
    sees.write_all(b"unheard\n").unwrap();
    // The first one's place is free, and the others go on.
    drop(one);
    until("it is noticed", || rig.attached() == ["share", "read-only"]);
    two.write_all(b"alone\n").unwrap();
    assert_eq!(read_until(&mut two, "alone\r\n"), "alone\r\n");
    assert_eq!(read_until(&mut sees, "alone\r\n"), "alone\r\n");
    // Who only reads stands in nobody's way, and is not put out.
    let mut three = attach(&mut monitors[0], "force").unwrap();
    assert_eq!(rest(two), "");
    assert_eq!(monitors[1].next_event().unwrap().name, "X_CHARDEV_DETACHED");
    three.write_all(b"three\n").unwrap();
    read_until(&mut sees, "three\r\n");
    for wrong in [["force", "share"], ["share", "read-only"]] {
        let mut arguments = Object::new().with("id", "con").with("fdname", "none");
        wrong.iter().for_each(|how| arguments.insert(*how, true));
        let error = monitors[0]
            .execute("x-chardev-attach", arguments)
            .unwrap_err();
        assert!(error.to_string().contains("mutually exclusive"), "{error}");
    }
}

/// Input that the front end does not take must wait, not be lost, and not fill the memory.
#[test]
fn what_is_typed_beside_others_waits_for_a_front_end_that_is_stopped() {
    let rig = Rig::start("ringbuf,id=con,size=4194304");
    let mut monitor = rig.monitor();
    let mut first = attach(&mut monitor, "share").unwrap();
    let second = attach(&mut rig.monitor(), "share").unwrap();
    monitor.execute("stop", Object::new()).unwrap();
    let line = "x".repeat(99) + "\n";
    let all = line.repeat(5000);
    let (mut typist, mut seen) = (second.try_clone().unwrap(), second);
    let typing = std::thread::spawn(move || typist.write_all(all.as_bytes()));
    // Nobody waits for what is shown beside, but it may wait for whoever types.
    std::thread::spawn(move || std::io::copy(&mut seen, &mut std::io::sink()));
    let pending = || {
        let id = Object::new().with("id", "con");
        let stats = rig
            .daemon
            .client()
            .execute("x-query-chardev-stats", id)
            .unwrap();
        let pending = stats.as_array().unwrap()[0].get("input-pending").cloned();
        pending.as_ref().and_then(Json::as_u64).unwrap()
    };
    until("it waits", || pending() == 64 << 10);
    monitor.execute("cont", Object::new()).unwrap();
    let wanted = line.replace('\n', "\r\n").len() * 5000;
    let mut came = 0;
    let mut buffer = vec![0; 64 << 10];
    while came < wanted {
        came += first.read(&mut buffer).unwrap();
    }
    assert_eq!(came, wanted);
    typing.join().unwrap().unwrap();
}

#[test]
fn a_peer_of_the_console_s_own_is_not_put_out_either() {
    let rig = Rig::start("socket,id=con,path=con,server=on,wait=off");
    let mut peer = console(&rig.daemon.dir().join("con"));
    peer.write_all(b"here\n").unwrap();
    read_until(&mut peer, "here\r\n");
    let mut monitor = rig.monitor();
    let error = attach(&mut monitor, "").unwrap_err();
    let us = format!("pid {}, uid", std::process::id());
    assert!(error.contains(&us), "{error}");
    let taken = attach(&mut monitor, "force").unwrap();
    // It is not disconnected, but set aside.
    drop(taken);
    until("nobody is attached", || rig.attached().is_empty());
    peer.write_all(b"back\n").unwrap();
    read_until(&mut peer, "back\r\n");
}

#[test]
fn a_change_and_the_daemon_s_end_are_told() {
    let mut rig = Rig::start("null,id=con");
    let mut monitor = rig.monitor();
    let console = attach(&mut monitor, "").unwrap();
    let ring = "{'type': 'ringbuf', 'data': {}}";
    change(&mut rig.daemon.client(), "con", ring);
    let event = monitor.next_event().unwrap();
    assert_eq!(event.name, "X_CHARDEV_DETACHED");
    let expected = r#"{"id": "con", "reason": "moved", "kind": "ringbuf", "filename": "ringbuf"}"#;
    assert_eq!(event.data.to_string(), expected);
    assert_eq!(rest(console), "");
    let _console = attach(&mut monitor, "").unwrap();
    rig.daemon.terminate();
    assert_eq!(monitor.next_event().unwrap().name, "SHUTDOWN");
}

#[test]
fn the_removal_of_the_chardev_is_told() {
    let rig = Rig::start("null,id=con");
    let add = Json::parse("{'id': 'free', 'backend': {'type': 'null', 'data': {}}}").unwrap();
    let mut monitor = rig.monitor();
    monitor
        .execute("chardev-add", add.as_object().unwrap().clone())
        .unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    monitor.stream_mut().pass(theirs.into());
    let name = || Object::new().with("fdname", "peer");
    monitor.execute("getfd", name()).unwrap();
    monitor
        .execute("x-chardev-attach", name().with("id", "free"))
        .unwrap();
    let id = Object::new().with("id", "free");
    rig.daemon.client().execute("chardev-remove", id).unwrap();
    let event = monitor.next_event().unwrap();
    assert_eq!(
        event.data.to_string(),
        r#"{"id": "free", "reason": "removed"}"#
    );
    assert_eq!(rest(ours), "");
}
