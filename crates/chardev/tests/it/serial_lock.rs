//! A serial device belongs to one at a time, and to the same one across a change.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cable::{event, hear, plug_in, said, serial, unplug};
use crate::common::{add, change, read_until, ring, terminal, text, wait_for};
use chardev::spec::{OptionValue, Options};
use chardev::{Chardevs, Event, FrontEnd};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

const DEADLINE: Duration = Duration::from_secs(20);

fn shared(device: &str) -> Options {
    serial(device).with("x-lock", OptionValue::Bool(false))
}

/// Another program that opens the device and locks it.
fn lock(device: impl AsRef<Path>) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = File::from(open(device.as_ref(), flags, Mode::empty())?);
    flock(&file, FlockOperation::NonBlockingLockExclusive).map(|()| file)
}

fn is_free(device: &str) -> bool {
    lock(device).is_ok()
}

fn refusal(chardevs: &Chardevs, id: &str, options: &Options) -> String {
    let added = chardevs.block_on(chardevs.add(id, options));
    added.unwrap_err().to_string()
}

fn remove(chardevs: &Chardevs, id: &str) {
    chardevs.block_on(chardevs.remove(id)).unwrap();
}

fn front(chardevs: &Chardevs) -> FrontEnd {
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    wait_for("the device", || front.is_open().then_some(()));
    front
}

#[test]
fn a_second_opener_is_refused_until_the_first_has_left() {
    let (_cable, device) = terminal();
    let (first, second) = (Chardevs::new().unwrap(), Chardevs::new().unwrap());
    add(&first, "con0", &serial(&device));
    for chardevs in [&first, &second] {
        let error = refusal(chardevs, "con1", &serial(&device));
        let text = format!(
            "Could not open '{device}': the chardev 'con0' has it to itself; remove that one, or \
             give both x-lock=off to share it"
        );
        assert!(error.ends_with(&text), "{error}");
    }
    assert_eq!(lock(&device).unwrap_err(), Errno::AGAIN);
    // What is refused leaves nothing, and who does not lock is not refused.
    add(&second, "shared", &shared(&device));
    remove(&second, "shared");
    assert!(!is_free(&device));
    remove(&first, "con0");
    add(&second, "con1", &serial(&device));
    remove(&second, "con1");
    wait_for("the lock", || is_free(&device).then_some(()));
}

#[test]
fn a_device_that_another_program_has_locked_is_refused() {
    let (_cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    let other = lock(&device).unwrap();
    let error = refusal(&chardevs, "con0", &serial(&device));
    let text = format!(
        "Could not open '{device}': another program has locked it; end that one, or give \
         x-lock=off to share it"
    );
    assert!(error.ends_with(&text), "{error}");
    add(&chardevs, "con1", &shared(&device));
    // One that may come later is waited for.
    let waiting = serial(&device).with("x-reconnect-ms", OptionValue::Int(10));
    add(&chardevs, "con0", &waiting);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert!(!front.is_open());
    drop(other);
    wait_for("the device", || front.is_open().then_some(()));
    assert!(!is_free(&device));
}

#[test]
fn a_change_to_the_same_device_keeps_the_lock_and_every_byte() {
    let (mut cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &serial(&device));
    let front = front(&chardevs);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let mut tries = 0;
            let end = Instant::now() + DEADLINE;
            while !over.load(Ordering::Relaxed) && Instant::now() < end {
                assert!(!is_free(&device), "after {tries} tries");
                tries += 1;
            }
            tries
        });
        for round in 0..100 {
            let line = format!("round {round:03} ");
            cable.write_all(line.as_bytes()).unwrap();
            said(&front, &line);
            let baud = OptionValue::Int(9600 + round);
            change(&chardevs, "con0", &serial(&device).with("x-baud", baud)).unwrap();
            assert_eq!(read_until(&front, line.len()), line.as_bytes());
            hear(&mut cable, &line);
        }
        over.store(true, Ordering::Relaxed);
        assert!(stranger.join().unwrap() > 0);
    });
    drop(front);
    remove(&chardevs, "con0");
    wait_for("the lock", || is_free(&device).then_some(()));
}

#[test]
fn a_change_that_fails_loses_neither_the_lock_nor_a_byte() {
    let (mut cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &serial(&device));
    let front = front(&chardevs);
    for _ in 0..3 {
        cable.write_all(b"before").unwrap();
        let failing = serial(&device).with("logfile", text("/nonexistent/log"));
        change(&chardevs, "con0", &failing).unwrap_err();
        assert!(!is_free(&device));
        assert_eq!(read_until(&front, 6), b"before");
        said(&front, "after");
        hear(&mut cable, "after");
    }
    // The lock is there to be lent again.
    change(&chardevs, "con0", &serial(&device)).unwrap();
    assert!(!is_free(&device));
}

#[test]
fn a_change_away_gives_the_device_up_and_one_back_takes_it_again() {
    let (mut cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &serial(&device));
    let front = front(&chardevs);
    for _ in 0..20 {
        // Its output may still be on the way when it is wanted again.
        said(&front, "output");
        change(&chardevs, "con0", &ring(64)).unwrap();
        change(&chardevs, "con0", &serial(&device)).unwrap();
        assert!(!is_free(&device));
        hear(&mut cable, "output");
    }
    change(&chardevs, "con0", &ring(64)).unwrap();
    wait_for("the lock", || is_free(&device).then_some(()));
    change(&chardevs, "con0", &serial(&device)).unwrap();
    // The lock goes with the wish for it, and comes with it.
    change(&chardevs, "con0", &shared(&device)).unwrap();
    wait_for("the lock", || is_free(&device).then_some(()));
    change(&chardevs, "con0", &serial(&device)).unwrap();
    assert!(!is_free(&device));
}

#[test]
fn a_device_that_comes_back_is_locked_again() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("ttyUSB0");
    let name = link.to_str().unwrap();
    let cable = plug_in(&link);
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &serial(name));
    let front = front(&chardevs);
    assert!(!is_free(name));
    assert_eq!(front.next_event(), Some(Event::Opened));
    unplug(&link, cable);
    assert_eq!(event(&front), Event::Closed);
    let _cable = plug_in(&link);
    assert_eq!(event(&front), Event::Opened);
    assert!(!is_free(name));
    change(&chardevs, "con0", &serial(name)).unwrap();
    assert!(!is_free(name));
}
