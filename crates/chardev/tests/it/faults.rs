//! Errors of the host on either side of a change: what happens is defined, and nothing accepted
//! is dropped without a count.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{add, change, hold, read_until, ring, terminal, text, wait_for};
use chardev::spec::{OptionValue, Options};
use chardev::{Chardevs, Event, FrontEnd};

/// Writes until nothing more is taken; returns how much was.
fn fill(front: &FrontEnd) -> u64 {
    let mut total = 0;
    loop {
        match front.write(&[b'o'; 8192]) {
            0 => return total,
            count => total += count as u64,
        }
    }
}

/// Changes to a ring and sees that output goes on at once.
fn goes_on(chardevs: &Chardevs, front: &FrontEnd) {
    change(chardevs, "con0", &ring(4096)).unwrap();
    assert_eq!(front.write(b"goes on"), 7);
    assert_eq!(chardevs.ring_read("con0", 4096).unwrap(), b"goes on");
}

/// Files that take nothing: a full disk (`ENOSPC`), and one that fails (`EIO`, because a process
/// has no memory at address 0).
fn broken_files() -> [Options; 2] {
    ["/dev/full", "/proc/self/mem"].map(|path| {
        hold("file")
            .with("out", text(path))
            .with("append", OptionValue::Bool(true))
    })
}

#[test]
fn enospc_and_eio_in_the_old_back_end_hold_output_until_the_change() {
    for broken in broken_files() {
        let chardevs = Chardevs::new().unwrap();
        add(&chardevs, "con0", &broken);
        let front = chardevs.front_end("con0", Arc::new(())).unwrap();
        let accepted = fill(&front);
        assert_eq!(front.stats().output_delivered, accepted);
        goes_on(&chardevs, &front);
        assert_eq!(front.stats().output_discarded, 0);
    }
}

#[test]
fn enospc_and_eio_to_the_end_are_counted() {
    for broken in broken_files() {
        let chardevs = Chardevs::new().unwrap();
        add(&chardevs, "con0", &broken);
        let front = chardevs.front_end("con0", Arc::new(())).unwrap();
        let accepted = fill(&front);
        chardevs.block_on(chardevs.shut_down(Duration::from_millis(200)));
        let undrained = || (front.stats().output_undrained == accepted).then_some(());
        wait_for("the count", undrained);
    }
}

#[test]
fn enospc_and_eio_in_the_new_back_end_hold_output_and_can_be_changed_away() {
    for broken in broken_files() {
        let dir = tempfile::tempdir().unwrap();
        let chardevs = Chardevs::new().unwrap();
        let path = dir.path().join("old");
        add(&chardevs, "con0", &hold("file").with("out", text(&path)));
        let front = chardevs.front_end("con0", Arc::new(())).unwrap();
        assert_eq!(front.write(b"before"), 6);
        change(&chardevs, "con0", &broken).unwrap();
        fill(&front);
        goes_on(&chardevs, &front);
        wait_for("the old file", || {
            (std::fs::read(&path).unwrap() == b"before").then_some(())
        });
    }
}

#[test]
fn a_terminal_that_vanishes_is_a_departure_and_can_be_changed_away() {
    let (mut cable, name) = terminal();
    let chardevs = Chardevs::new().unwrap();
    add(
        &chardevs,
        "con0",
        &hold("serial").with("device", text(&name)),
    );
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
    assert_eq!(front.write(b"out"), 3);
    let mut got = [0; 3];
    cable.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"out");
    cable.write_all(b"last words").unwrap();
    assert_eq!(read_until(&front, 10), b"last words");
    drop(cable);
    wait_for("held", || (front.write(b"x") == 0).then_some(()));
    let discarded = front.stats().output_discarded;
    goes_on(&chardevs, &front);
    assert_eq!((discarded, front.stats().output_discarded), (0, 0));
}

#[test]
fn a_terminal_that_is_not_there_any_more_refuses_the_change() {
    // Its number is soon another terminal's, but the name that led to it leads nowhere.
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("ttyUSB0").display().to_string();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(64));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    while front.next_event().is_some() {}
    let error = change(
        &chardevs,
        "con0",
        &hold("serial").with("device", text(&name)),
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains(&name), "{error}");
    assert_eq!(front.next_event(), None);
    assert_eq!(front.write(b"on"), 2);
    assert_eq!(chardevs.ring_read("con0", 64).unwrap(), b"on");
}
