//! A program that has ended is told of, to whoever asks and whoever is attached, and started again.

use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::daemon_rig::{self, Daemon, console, read_until, until};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;

/// What `x-query-devices` says of the device `id`.
fn device(client: &mut Client<UnixStream>, id: &str) -> Json {
    let all = client.execute("x-query-devices", Object::new()).unwrap();
    let is_it = |one: &&Json| one.get("id").and_then(Json::as_str) == Some(id);
    all.as_array().unwrap().iter().find(is_it).unwrap().clone()
}

/// The next event about the device `id`.
fn next(client: &mut Client<UnixStream>, id: &str) -> chardev_qmp::client::Event {
    loop {
        let event = client.next_event().unwrap();
        let is_it = event.data.get("id").and_then(Json::as_str) == Some(id);
        if is_it && event.name.starts_with("X_DEVICE_") {
            return event;
        }
    }
}

fn state(client: &mut Client<UnixStream>, id: &str) -> String {
    let device = device(client, id);
    device
        .get("state")
        .and_then(Json::as_str)
        .unwrap()
        .to_owned()
}

#[test]
fn how_a_program_ended_is_told_and_it_is_started_again_on_demand() {
    let daemon = Daemon::start(&[
        "-chardev",
        "null,id=a",
        "-chardev",
        "null,id=b",
        "-chardev",
        "null,id=c",
        "-chardev",
        "null,id=d",
        "-device",
        "exec,id=exits,chardev=a,command=exit 3",
        "-device",
        "exec,chardev=b,command=kill -9 $$",
        "-device",
        "exec,id=lost,chardev=c,command=true,cwd=/nonexistent",
        "-device",
        "exec,id=lives,chardev=d,command=sleep 1000",
    ]);
    let mut client = daemon.client();
    let enable = Object::new().with("enable", true);
    client.execute("x-chardev-events", enable).unwrap();
    for id in ["exits", "b", "lost"] {
        until("it has ended", || state(&mut client, id) != "running");
    }
    let exits = device(&mut client, "exits");
    assert_eq!(exits.get("state"), Some(&Json::from("ended")), "{exits}");
    assert_eq!(exits.get("status"), Some(&Json::from(3u32)), "{exits}");
    assert_eq!(
        device(&mut client, "b").get("signal"),
        Some(&Json::from(9u32))
    );
    let lost = device(&mut client, "lost");
    assert_eq!(lost.get("state"), Some(&Json::from("failed")), "{lost}");
    let error = lost.get("error").and_then(Json::as_str).unwrap();
    assert!(error.contains("No such file"), "{lost}");

    client.take_events();
    let restart = |client: &mut Client<UnixStream>, id: &str| {
        client.execute("x-device-restart", Object::new().with("id", id))
    };
    restart(&mut client, "exits").unwrap();
    let started = next(&mut client, "exits");
    assert_eq!(started.name, "X_DEVICE_STARTED", "{}", started.data);
    let ended = next(&mut client, "exits");
    assert_eq!(ended.name, "X_DEVICE_ENDED");
    assert_eq!(ended.data.get("pid"), started.data.get("pid"));
    assert_eq!(ended.data.get("status"), Some(&Json::from(3u32)));
    assert_eq!(ended.data.get("restart"), Some(&Json::from(false)));

    // One that runs is hung up first.
    let before = device(&mut client, "lives").get("pid").cloned();
    restart(&mut client, "lives").unwrap();
    until("another one runs", || {
        let now = device(&mut client, "lives");
        now.get("state") == Some(&Json::from("running")) && now.get("pid").cloned() != before
    });
    let error = restart(&mut client, "nobody").unwrap_err();
    assert!(
        error.to_string().contains("Device 'nobody' not found"),
        "{error}"
    );
}

#[test]
fn devices_without_a_program_and_devices_that_wait_are_listed() {
    let daemon = Daemon::start(&[
        "-chardev",
        "null,id=a",
        "-chardev",
        "null,id=b",
        "-chardev",
        "socket,id=w,path=w,server=on,wait=on",
        "-device",
        "null-modem,id=pair,chardev=a,peer=b",
        "-device",
        "exec,chardev=w,command=sleep 1000",
    ]);
    let mut client = daemon.client();
    assert_eq!(state(&mut client, "pair"), "running");
    assert_eq!(state(&mut client, "w"), "waiting");
    let pair = Object::new().with("id", "pair");
    let error = client.execute("x-device-restart", pair).unwrap_err();
    assert!(error.to_string().contains("runs no program"), "{error}");
    let _peer = console(&daemon.dir().join("w"));
    until("it runs", || state(&mut client, "w") == "running");
    let output = daemon_rig::chardevd(&[
        "-chardev",
        "null,id=a",
        "-chardev",
        "null,id=b",
        "-device",
        "exec,id=x,chardev=a,command=true",
        "-device",
        "exec,id=x,chardev=b,command=true",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("Duplicate device ID 'x'"), "{said}");
}

#[test]
fn the_console_itself_shows_it_where_that_is_wanted() {
    let daemon = Daemon::start(&[
        "-chardev",
        "socket,id=con,path=con,server=on,wait=on",
        "-device",
        "exec,chardev=con,command=echo words; exit 5,tell-end=on",
    ]);
    let mut peer = console(&daemon.dir().join("con"));
    let shown = read_until(&mut peer, "status 5]\r\n");
    assert_eq!(shown, "words\r\n\r\n[con: the program ended, status 5]\r\n");
}

#[test]
fn an_end_is_told_also_where_nobody_takes_the_last_words() {
    let daemon = Daemon::start(&[
        "-chardev",
        "socket,id=con,path=con,server=on,wait=off,x-closed=hold",
        "-device",
        "exec,id=d,chardev=con,command=echo words; exit 5",
    ]);
    let mut client = daemon.client();
    until("it has ended", || state(&mut client, "d") == "ended");
    let ended = device(&mut client, "d");
    assert_eq!(ended.get("status"), Some(&Json::from(5u32)));
    let mut peer = console(&daemon.dir().join("con"));
    assert_eq!(read_until(&mut peer, "words\r\n"), "words\r\n");
}

/// Programs that take SIGHUP as a wish to read their configuration again, and such as take no hint.
#[test]
fn a_program_that_ignores_its_hang_up_is_ended_before_it_starts_again() {
    let exec = |id: &str, command: &str| format!("exec,chardev={id},command={command}");
    let round = "echo up; while :; do sleep 0.05; done";
    let stubborn = exec("stubborn", &format!("trap '' HUP TERM; {round}"));
    let service = exec(
        "service",
        &format!("trap '' HUP; trap 'exit 5' TERM; {round}"),
    );
    // The shell itself does not ignore it, but what it started does.
    let inner = format!("trap \"\" HUP; echo $$ > left; {round}");
    let behind = exec("behind", &format!("sh -c '{inner}'; true"));
    let ids = ["stubborn", "service", "behind"];
    let rings = ids.map(|id| format!("ringbuf,id={id}"));
    let mut arguments = Vec::new();
    for (ring, device) in rings.iter().zip([&stubborn, &service, &behind]) {
        arguments.extend(["-chardev", ring, "-device", device]);
    }
    let mut daemon = Daemon::start(&arguments);
    let mut client = daemon.client();
    let enable = Object::new().with("enable", true);
    client.execute("x-chardev-events", enable).unwrap();
    let is_up = |client: &mut Client<UnixStream>, id: &str| {
        let read = Object::new().with("device", id).with("size", 4096u64);
        let said = client.execute("ringbuf-read", read).unwrap();
        said.as_str().unwrap().contains("up")
    };
    for id in ids {
        until("it is up", || is_up(&mut client, id));
    }
    let left = std::fs::read_to_string(daemon.dir().join("left")).unwrap();
    client.take_events();
    for (id, name, number) in [
        ("stubborn", "signal", 9u32),
        ("service", "status", 5),
        ("behind", "signal", 1),
    ] {
        let wanted = Object::new().with("id", id);
        client.execute("x-device-restart", wanted).unwrap();
        let ended = next(&mut client, id);
        assert_eq!(ended.name, "X_DEVICE_ENDED", "{id}");
        assert_eq!(ended.data.get(name), Some(&Json::from(number)), "{id}");
        until("it is up again", || is_up(&mut client, id));
    }
    let first = Path::new("/proc").join(left.trim()).join("status");
    let first = std::fs::read_to_string(first).unwrap_or_default();
    // Nobody may have asked for its status yet.
    let is_there = first.contains("State:") && !first.contains("State:\tZ");
    assert!(!is_there, "there are two of them: {first}");
    drop(client);
    let (_, said) = daemon.terminate();
    let killed = "exec on 'stubborn': it ignored SIGHUP and SIGTERM; killing it";
    // At the restart and at the end of the daemon.
    assert_eq!(said.matches(killed).count(), 2, "{said}");
    assert_eq!(said.matches("; killing it").count(), 2, "{said}");
}
