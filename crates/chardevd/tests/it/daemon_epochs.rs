//! An epoch says which life of a console an offset is of.

use std::os::unix::net::UnixStream;

use chardev_qapi::{Json, Object};
use chardev_qmp::client::Client;

use crate::daemon_rig::{Daemon, change};

/// The epoch in an answer or an event.
fn epoch(data: &Json) -> String {
    let epoch = data.get("epoch").and_then(Json::as_str);
    epoch.expect("an epoch").to_owned()
}

fn of_con(client: &mut Client<UnixStream>) -> String {
    let id = Object::new().with("id", "con");
    let stats = client.execute("x-query-chardev-stats", id);
    epoch(&stats.unwrap().as_array().unwrap()[0])
}

#[test]
fn a_console_has_one_for_life_and_another_in_the_next_one() {
    let daemon = Daemon::start(&["-chardev", "null,id=con"]);
    let mut client = daemon.client();
    let on = Object::new().with("enable", true);
    client.execute("x-chardev-events", on).unwrap();
    let first = of_con(&mut client);
    assert_eq!(first.len(), 16, "{first}");
    assert!(first.bytes().all(|c| c.is_ascii_hexdigit()), "{first}");

    change(&mut client, "con", r#"{"type": "ringbuf", "data": {}}"#);
    let changed = client.next_event().unwrap();
    assert_eq!(changed.name, "X_CHARDEV_CHANGED");
    assert_eq!(epoch(&changed.data), first);
    assert_eq!(of_con(&mut client), first, "a change is the same life");

    let id = || Object::new().with("id", "con");
    let history = client.execute("x-chardev-history", id()).unwrap();
    assert_eq!(epoch(&history), first);
    let mark = id().with("text", "here");
    let marked = client.execute("x-chardev-mark", mark).unwrap();
    assert_eq!(epoch(&marked), first);
    assert_eq!(epoch(&client.next_event().unwrap().data), first);

    // As QEMU says it, so not there.
    let listed = client.execute("query-chardev", Object::new()).unwrap();
    let mut listed = listed.as_array().unwrap().iter();
    assert!(listed.all(|chardev| chardev.get("epoch").is_none()));

    client.execute("chardev-remove", id()).unwrap();
    let none = Object::new()
        .with("type", "null")
        .with("data", Object::new());
    let again = id().with("backend", none);
    client.execute("chardev-add", again).unwrap();
    assert_ne!(of_con(&mut client), first);
}
