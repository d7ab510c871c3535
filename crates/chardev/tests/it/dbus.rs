//! The back end `dbus`, with clients on a bus of the test's own and without a bus.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Instant;

use crate::bus_rig::Bus;
use crate::common::{DEADLINE, add, change, echo, hold, read_until, ring, wait_for};
use crate::dbus_rig::{Client, on_bus, on_no_bus, register};
use chardev::spec::Options;
use chardev::{BlockingFrontEnd, Chardevs, Event, FrontEnd};

fn front(chardevs: &Chardevs, id: &str) -> FrontEnd {
    chardevs.front_end(id, Arc::new(())).unwrap()
}

/// The property, once it is this.
fn becomes(client: &Client, label: &str, name: &str, value: &str) {
    wait_for(&format!("{name} to be {value:?}"), || {
        (client.property(label, name).as_deref() == Some(value)).then_some(())
    });
}

#[test]
fn a_client_on_a_bus_registers_the_peer_and_another_one_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let (_bus, address) = Bus::start(&dir.path().join("bus"));
    let chardevs = Chardevs::new().unwrap();
    let options = on_bus(Options::new("dbus"), "org.test.console", &address);
    let info = add(&chardevs, "con0", &options);
    assert_eq!(info.filename, "disconnected:fd:,server=on");
    let (first, second) = (Client::on(&address), Client::on(&address));
    becomes(&first, "con0", "Name", "org.test.console");
    for (name, value) in [
        ("FEOpened", "false"),
        ("Echo", "false"),
        ("Owner", ""),
        ("Interfaces", ""),
    ] {
        assert_eq!(
            first.property("con0", name).as_deref(),
            Some(value),
            "{name}"
        );
    }
    let front = front(&chardevs, "con0");
    front.set_open(true);
    becomes(&first, "con0", "FEOpened", "true");
    let mut one = first.register("con0").unwrap();
    assert_eq!(first.property("con0", "Owner"), Some(first.name()));
    assert!(front.is_open());
    echo(&front, &mut one);
    first.send_break("con0");
    let is_break = || front.next_event().filter(|event| *event == Event::Break);
    wait_for("the break", is_break);
    // What the first one had sent is read before anything of the second one's.
    one.write_all(b"from the first ").unwrap();
    front.write(b"to the first");
    let mut two = second.register("con0").unwrap();
    two.write_all(b"from the second").unwrap();
    assert_eq!(second.property("con0", "Owner"), Some(second.name()));
    assert_eq!(read_until(&front, 30), b"from the first from the second");
    let mut all = String::new();
    one.read_to_string(&mut all).unwrap();
    assert_eq!(all, "to the first");
    echo(&front, &mut two);
    drop(two);
    becomes(&first, "con0", "Owner", "");
    // The object goes with the chardev.
    drop(front);
    chardevs.blocking_remove("con0").unwrap();
    wait_for("its end", || {
        first.property("con0", "Name").is_none().then_some(())
    });
}

#[test]
fn what_cannot_be_a_peer_is_refused_and_disturbs_nobody() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &on_no_bus(Options::new("dbus"), "x"));
    let front = front(&chardevs, "con0");
    let client = Client::beside(&chardevs);
    let mut peer = client.register("con0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    for (fd, why) in [
        (
            std::fs::File::open("/dev/null").unwrap().into(),
            "is not a socket",
        ),
        (
            std::os::fd::OwnedFd::from(listener),
            "is not a connected socket",
        ),
    ] {
        let error = client.register_fd("con0", fd).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    echo(&front, &mut peer);
    assert_eq!(client.property("nobody", "Name"), None);
}

#[test]
fn a_peer_without_a_bus_sees_every_chardev() {
    let dir = tempfile::tempdir().unwrap();
    let (_bus, address) = Bus::start(&dir.path().join("bus"));
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "one", &on_no_bus(Options::new("dbus"), "n1"));
    add(
        &chardevs,
        "t-wo",
        &on_bus(Options::new("dbus"), "n2", &address),
    );
    let client = Client::beside(&chardevs);
    assert_eq!(client.property("one", "Name").as_deref(), Some("n1"));
    assert_eq!(client.property("t_2dwo", "Name").as_deref(), Some("n2"));
    let on_the_bus = Client::on(&address);
    becomes(&on_the_bus, "t_2dwo", "Name", "n2");
    assert_eq!(on_the_bus.property("one", "Name"), None);
    // One that comes later is seen as well.
    add(&chardevs, "three", &on_no_bus(Options::new("dbus"), "n3"));
    becomes(&client, "three", "Name", "n3");
    let front = front(&chardevs, "three");
    let mut peer = client.register("three").unwrap();
    echo(&front, &mut peer);
}

/// The object stays the same, and whoever registers in between is the peer of whoever is there.
#[test]
fn nothing_is_lost_by_changes_and_a_client_may_register_at_any_time() {
    let chardevs = Chardevs::new().unwrap();
    let options = on_no_bus(hold("dbus"), "console");
    add(&chardevs, "con0", &options);
    let front = front(&chardevs, "con0");
    let client = Client::beside(&chardevs);
    let mut peers = Vec::new();
    for round in 0..60 {
        let mut peer = wait_for("the registration", || client.register("con0").ok());
        let typed = format!("typed in round {round} ").repeat(100).into_bytes();
        peer.write_all(&typed).unwrap();
        let printed = format!("printed in round {round} ")
            .repeat(100)
            .into_bytes();
        front.write_all(&printed, Some(DEADLINE)).unwrap();
        if round % 2 == 1 {
            change(&chardevs, "con0", &ring(64)).unwrap();
        }
        change(&chardevs, "con0", &options).unwrap();
        assert_eq!(read_until(&front, typed.len()), typed);
        peers.push((peer, printed));
    }
    for (mut peer, printed) in peers {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert!(all == printed);
    }
    // A peer that is kept has the owner that it had.
    let dir = tempfile::tempdir().unwrap();
    let (_bus, address) = Bus::start(&dir.path().join("bus"));
    let on_bus = on_bus(hold("dbus"), "console", &address);
    change(&chardevs, "con0", &on_bus).unwrap();
    let client = Client::on(&address);
    let mut peer = wait_for("the registration", || client.register("con0").ok());
    let kept = on_bus.with("x-handover", chardev::spec::OptionValue::Bool(true));
    change(&chardevs, "con0", &kept).unwrap();
    echo(&front, &mut peer);
    assert_eq!(client.property("con0", "Owner"), Some(client.name()));
}

/// No registration fails whatever changes meanwhile, everybody but the last sees his end, and that
/// one is heard.
#[test]
fn registrations_race_with_changes() {
    let chardevs = Chardevs::new().unwrap();
    let options = on_no_bus(hold("dbus"), "console");
    add(&chardevs, "con0", &options);
    let front = front(&chardevs, "con0");
    let client = Client::beside(&chardevs);
    let registering = std::thread::spawn(move || {
        let mut peers = Vec::new();
        for _ in 0..150 {
            let mut peer = client.register("con0").unwrap();
            // One whose back end was replaced by now is refused by its own write.
            let _ = peer.write_all(b"x");
            peers.push(peer);
        }
        peers
    });
    let mut changes = 0;
    while !registering.is_finished() {
        change(&chardevs, "con0", &options).unwrap();
        changes += 1;
    }
    assert!(changes > 20, "only {changes} changes");
    let peers = registering.join().unwrap();
    let mut last = register(&chardevs, "con0");
    for mut peer in peers {
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
    }
    // What they typed comes first, then the last one alone is there.
    last.write_all(b"!").unwrap();
    wait_for("the last one", || {
        let mut buf = [0; 100];
        let count = front.read(&mut buf);
        // What follows an event is read once that was taken.
        let _ = front.next_event();
        buf[..count].contains(&b'!').then_some(())
    });
    echo(&front, &mut last);
}

#[test]
fn a_bus_that_hangs_or_is_not_there_holds_up_its_own_command_alone() {
    let dir = tempfile::tempdir().unwrap();
    let silent = dir.path().join("silent");
    let listener = UnixListener::bind(&silent).unwrap();
    let chardevs = Chardevs::new().unwrap();
    let hanging = format!("unix:path={}", silent.display());
    let adding = {
        let (chardevs, address) = (chardevs.clone(), hanging.clone());
        std::thread::spawn(move || {
            let options = on_bus(Options::new("dbus"), "x", &address);
            chardevs.blocking_add("con0", &options)
        })
    };
    let (_held, _) = listener.accept().unwrap();
    // Meanwhile others on D-Bus and elsewhere work as ever.
    add(&chardevs, "con1", &on_no_bus(Options::new("dbus"), "x"));
    let front = front(&chardevs, "con1");
    let began = Instant::now();
    let mut rounds = 0;
    while !adding.is_finished() {
        let mut peer = register(&chardevs, "con1");
        echo(&front, &mut peer);
        rounds += 1;
    }
    assert!(rounds > 20, "{rounds} in {:?}", began.elapsed());
    let error = adding.join().unwrap().unwrap_err().to_string();
    let why = format!("Failed to connect to D-Bus '{hanging}': it does not answer");
    assert!(error.ends_with(&why), "{error}");
    drop(listener);
    let missing = on_bus(Options::new("dbus"), "x", "unix:path=/nowhere/bus");
    let error = chardevs
        .blocking_add("con0", &missing)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Failed to connect to D-Bus 'unix:path=/nowhere/bus': "),
        "{error}"
    );
}

#[test]
fn a_bus_that_was_lost_is_found_again_and_its_peers_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus");
    let (bus, address) = Bus::start(&path);
    let chardevs = Chardevs::new().unwrap();
    add(
        &chardevs,
        "con0",
        &on_bus(Options::new("dbus"), "x", &address),
    );
    let front = front(&chardevs, "con0");
    let client = Client::on(&address);
    let mut peer = wait_for("the registration", || client.register("con0").ok());
    echo(&front, &mut peer);
    drop(bus);
    echo(&front, &mut peer);
    // What its socket has left is in the way of the next one.
    let _ = std::fs::remove_file(&path);
    let (_bus, address) = Bus::start(&path);
    let client = Client::on(&address);
    becomes(&client, "con0", "Name", "x");
    let mut next = client.register("con0").unwrap();
    echo(&front, &mut next);
}
