//! A terminal device of the host, played by the slave of a pty.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;

use crate::cable::{event, hear, said, serial, settled};
use crate::common::{add, change, read_until, ring, terminal, wait_for};
use chardev::{Answer, Chardevs, Event, Parity, Purge, SerialParams};
use rustix::io::ioctl_fionread;
use rustix::termios::{ControlModes, LocalModes, tcgetattr};

#[test]
fn parameters_reach_the_device_and_bytes_pass_both_ways() {
    let (mut cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &serial(&device));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.next_event(), Some(Event::Opened));
    let params = SerialParams {
        speed: 9600,
        parity: Parity::Even,
        data_bits: 7,
        stop_bits: 2,
    };
    assert_eq!(settled(&front, front.set_serial(params)), Answer::Failed);
    // A pty has the settings but no lines.
    assert_eq!(front.modem_inputs(), None);
    // It is set up elsewhere, and takes what comes after that.
    said(&front, "to the device");
    let settings = tcgetattr(&cable).unwrap();
    assert_eq!(settings.output_speed(), 9600);
    // A pty's kernel driver keeps to 8 bits without parity, whatever it is told.
    let modes = ControlModes::CSTOPB | ControlModes::CLOCAL;
    assert!(settings.control_modes.contains(modes));
    assert!(!settings.local_modes.contains(LocalModes::ICANON));
    hear(&mut cable, "to the device");
    cable.write_all(b"from it").unwrap();
    assert_eq!(read_until(&front, 7), b"from it");

    // What was set up is set up again on the next device.
    let (other, device) = self::terminal();
    change(&chardevs, "con0", &serial(&device)).unwrap();
    assert_eq!(tcgetattr(&other).unwrap().output_speed(), 9600);
    let Event::Changed(answers) = event(&front) else {
        panic!("it was changed");
    };
    assert_eq!(settled(&front, answers.serial), Answer::Failed);
    let params = SerialParams {
        parity: Parity::None,
        data_bits: 8,
        ..params
    };
    assert_eq!(settled(&front, front.set_serial(params)), Answer::Done);
}

#[test]
fn the_same_device_may_be_wanted_again() {
    let (mut cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &serial(&device));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    for round in 0..100 {
        let line = format!("round {round:03} ");
        cable.write_all(line.as_bytes()).unwrap();
        assert_eq!(front.write(line.as_bytes()), line.len());
        change(&chardevs, "con0", &serial(&device)).unwrap();
        assert_eq!(read_until(&front, line.len()), line.as_bytes());
        hear(&mut cable, &line);
    }
}

#[test]
fn a_device_that_vanishes_is_a_peer_that_left() {
    let (mut cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &serial(&device));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(front.next_event(), Some(Event::Opened));
    cable.write_all(b"last words").unwrap();
    drop(cable);
    wait_for("the end", || (!front.is_open()).then_some(()));
    assert_eq!(front.write(b"nobody there"), 0);
    // Bytes that its kernel had when the device vanished are gone with it, or are all there.
    change(&chardevs, "con0", &ring(64)).unwrap();
    assert_eq!(front.write(b"goes on"), 7);
    assert_eq!(chardevs.ring_read("con0", 99).unwrap(), b"goes on");
}

#[test]
fn a_change_to_a_device_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(64));
    for (device, cause) in [
        ("/nonexistent".to_owned(), "No such file or directory"),
        (
            file.to_str().unwrap().to_owned(),
            "it is not a character device",
        ),
    ] {
        let error = change(&chardevs, "con0", &serial(&device)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Failed to add chardev 'con0': Could not open '{device}': {cause}")
        );
    }
    // With a front end nothing would be added, so the cause stands alone, as in QEMU.
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let error = change(&chardevs, "con0", &serial("/nonexistent")).unwrap_err();
    let cause = "Could not open '/nonexistent': No such file or directory";
    assert_eq!(error.to_string(), cause);
    drop(front);
    // Anything that is one will do, as in QEMU.
    change(&chardevs, "con0", &serial("/dev/null")).unwrap();
}

/// What it says is unsent is always nothing, so only input is counted.
#[test]
fn a_purge_throws_away_what_is_in_the_device() {
    let (mut cable, device) = terminal();
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &serial(&device));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(event(&front), Event::Opened);
    let other = File::open(&device).unwrap();
    let purge = |which| {
        assert_eq!(front.purge(which), Answer::Pending);
        assert_eq!(event(&front), Event::Purged);
    };
    cable.write_all(b"stale").unwrap();
    wait_for("the input", || {
        (ioctl_fionread(&other).unwrap() == 5).then_some(())
    });
    purge(Purge::OUTPUT);
    assert_eq!(read_until(&front, 5), b"stale");
    cable.write_all(b"stale").unwrap();
    wait_for("the input", || {
        (ioctl_fionread(&other).unwrap() == 5).then_some(())
    });
    purge(Purge::INPUT);
    assert_eq!(front.stats().input_purged, 5);
    cable.write_all(b"fresh").unwrap();
    assert_eq!(read_until(&front, 5), b"fresh");

    // What the kernel has passed on to the other end of a pseudoterminal is sent.
    let mut written = 0;
    while let count @ 1.. = front.write(&[b'x'; 4096]) {
        written += count;
    }
    purge(Purge::OUTPUT);
    said(&front, "fresh");
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    while !heard.ends_with(b"fresh") {
        let count = cable.read(&mut buffer).unwrap();
        heard.extend_from_slice(&buffer[..count]);
    }
    assert!(heard.len() < written, "{} of {written}", heard.len());
}

#[test]
fn a_purge_where_no_device_is_concerns_what_waits() {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &ring(64));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    assert_eq!(event(&front), Event::Opened);
    assert_eq!(chardevs.type_in("con0", b"typed").unwrap(), 5);
    assert_eq!(front.purge(Purge::all()), Answer::Unsupported);
    assert_eq!(front.read(&mut [0; 8]), 0);
    assert_eq!(front.stats().input_purged, 5);
}
