//! Events about peers, changes and drops: for every monitor that asks; and what the counters say.

use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::daemon_rig::{Daemon, change, connect, console, until};
use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;

/// A daemon with two monitors, whose console `con` listens at `con` and prints what is written to
/// the socket `feed`.
fn start(dir: &std::path::Path) -> Daemon {
    let socket = |id: &str| {
        let path = dir.join(id);
        format!("socket,id={id},path={},server=on,wait=off", path.display())
    };
    let second = format!("unix:{},server=on,wait=off", dir.join("qmp2").display());
    Daemon::start(&[
        "-chardev",
        &socket("feed"),
        "-chardev",
        &socket("con"),
        "-device",
        "null-modem,chardev=feed,peer=con",
        "-qmp",
        &second,
    ])
}

/// The next event about `con` as text, without its epoch, which comes last.
fn next(client: &mut Client<UnixStream>) -> String {
    loop {
        let event = client.next_event().unwrap();
        let data = event.data;
        if data.get("id").and_then(Json::as_str) == Some("con") {
            let text = format!("{} {data}", event.name);
            let (text, epoch) = text.split_once(", \"epoch\": ").expect("an epoch");
            assert_eq!(epoch.len(), "\"0123456789abcdef\"}".len(), "{epoch}");
            return format!("{text}}}");
        }
    }
}

fn stats(daemon: &Daemon) -> Json {
    let id = Object::new().with("id", "con");
    let stats = daemon
        .client()
        .execute("x-query-chardev-stats", id)
        .unwrap();
    stats.as_array().unwrap()[0].clone()
}

#[test]
fn every_monitor_hears_of_peers_changes_and_drops() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path());
    let mut feed = console(&dir.path().join("feed"));
    let mut client = connect(&dir.path().join("qmp2"));
    let enable = Object::new().with("enable", true);
    client.execute("x-chardev-events", enable).unwrap();
    let us = format!("pid {}, uid ", std::process::id());

    let peer = console(&dir.path().join("con"));
    let connected = next(&mut client);
    let expected = format!("X_CHARDEV_CONNECTED {{\"id\": \"con\", \"peer\": \"{us}");
    assert!(connected.starts_with(&expected), "{connected}");
    let said = stats(&daemon);
    let who = said.get("peer").and_then(Json::as_str).unwrap();
    assert!(who.starts_with(&us), "{who}");

    drop(peer);
    assert!(next(&mut client).starts_with("X_CHARDEV_DISCONNECTED"));
    // Nobody is there, so it is discarded; told once at first, and then summed up.
    feed.write_all(b"lost").unwrap();
    let first = next(&mut client);
    let expected =
        r#"X_CHARDEV_DROPPED {"id": "con", "reason": "discarded", "bytes": 4, "total": 4}"#;
    assert_eq!(first, expected);
    for _ in 0..10 {
        feed.write_all(b"more").unwrap();
    }
    until("all is discarded", || {
        let dropped = stats(&daemon);
        dropped
            .get("dropped")
            .and_then(|all| all.get("discarded"))
            .and_then(Json::as_u64)
            == Some(44)
    });
    let mut total = 4;
    while total < 44 {
        let event = next(&mut client);
        assert!(event.starts_with("X_CHARDEV_DROPPED"), "{event}");
        let number = event.rsplit_once(": ").unwrap().1.trim_end_matches('}');
        total = number.parse().unwrap();
    }
    assert_eq!(total, 44);

    change(
        &mut daemon.client(),
        "con",
        "{'type': 'ringbuf', 'data': {}}",
    );
    let expected = r#"X_CHARDEV_CHANGED {"id": "con", "kind": "ringbuf", "filename": "ringbuf", "offset": 44, "count": 1}"#;
    assert_eq!(next(&mut client), expected);
    assert_eq!(
        next(&mut client),
        r#"X_CHARDEV_DRAINED {"id": "con", "undelivered": 0}"#
    );
}

/// Also where the change waits for nothing, so that the answer could be there at once.
#[test]
fn a_change_is_told_before_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path());
    let mut client = daemon.client();
    let enable = Object::new().with("enable", true);
    client.execute("x-chardev-events", enable).unwrap();
    for kind in ["null", "ringbuf"].repeat(20) {
        client.take_events();
        let backend = format!("{{'type': '{kind}', 'data': {{}}}}");
        change(&mut client, "con", &backend);
        let told = client.take_events();
        let told: Vec<_> = told.iter().map(|event| event.name.as_str()).collect();
        assert!(told.contains(&"X_CHARDEV_CHANGED"), "to {kind}: {told:?}");
    }
}

#[test]
fn a_client_that_has_not_asked_is_told_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path());
    let ask = |client: &mut Client<UnixStream>, enable: bool| {
        let enable = Object::new().with("enable", enable);
        client.execute("x-chardev-events", enable).unwrap();
    };
    let mut client = connect(&dir.path().join("qmp2"));
    ask(&mut client, true);
    ask(&mut client, false);
    client.take_events();
    let mut other = daemon.client();
    ask(&mut other, true);
    change(&mut client, "con", "{'type': 'null', 'data': {}}");
    assert!(next(&mut other).starts_with("X_CHARDEV_CHANGED"));
    client.execute("query-name", Object::new()).unwrap();
    assert_eq!(client.take_events().len(), 0);
    // The wish ends with the client.
    drop(other);
    let mut next_client = daemon.client();
    change(&mut client, "con", "{'type': 'null', 'data': {}}");
    next_client.execute("query-name", Object::new()).unwrap();
    assert_eq!(next_client.take_events().len(), 0);
}

#[test]
fn counters_tell_offsets_queues_and_times_of_changes() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path());
    let mut feed = console(&dir.path().join("feed"));
    let number = |name: &str| stats(&daemon).get(name).and_then(Json::as_u64);
    assert_eq!(stats(&daemon).get("change-times"), None);
    let history = "{'type': 'ringbuf', 'data': {'size': 64, 'x-history': 1024}}";
    change(&mut daemon.client(), "con", history);
    feed.write_all(b"twelve bytes").unwrap();
    until("it is in the ring", || number("ring-unread") == Some(12));
    assert_eq!(number("output-offset"), Some(12));
    assert_eq!(number("output-oldest"), Some(0));
    // The ring's content waits for the peer of the next back end.
    change(&mut daemon.client(), "con", "{'type': 'pty', 'data': {}}");
    assert_eq!(number("output-pending"), Some(12));
    assert_eq!(number("changes"), Some(2));
    let stats = stats(&daemon);
    let times = stats.get("change-times").unwrap();
    let micros = |name: &str| times.get(name).and_then(Json::as_u64).unwrap();
    assert!(
        micros("p50-us") <= micros("p99-us") && micros("p99-us") > 0,
        "{times}"
    );
    assert!(micros("last-us") <= micros("p99-us"), "{times}");
}
