//! The pointing devices at changes; what they say is compared with QEMU in the daemon's tests.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use chardev::backends::Unix;
use chardev::spec::Options;
use chardev::{
    Axis, BlockingFrontEnd as _, Chardevs, FrontEnd, InputEvent, ModemLines, MouseButton,
};

use crate::common::{DEADLINE, input, read_until, wait_for};

fn mouse() -> Options {
    Options::new("msmouse")
}

fn tablet() -> Options {
    Options::new("wctablet")
}

/// The report of a movement to the right.
fn report(by: u8) -> [u8; 3] {
    [0x40, by, 0]
}

/// A mouse is moved, and is replaced before anybody has read that; then a client of a socket says
/// something, and is replaced as well.
#[test]
fn two_hundred_changes_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("mouse", mouse()).unwrap();
    let front = chardevs.front_end("mouse", Arc::new(())).unwrap();
    front.set_modem(ModemLines::DTR | ModemLines::RTS);
    let name = wait_for("its name", || {
        Some(input(&front)).filter(|it| !it.is_empty())
    });
    assert_eq!(name[0], b'M');
    let mut expected = Vec::new();
    for round in 0..100_u8 {
        let by = round % 60 + 1;
        let axis = Axis::X;
        let moved = InputEvent::Moved {
            axis,
            by: by.into(),
        };
        chardevs.send_input(Some("mouse"), &[moved]).unwrap();
        expected.extend(report(by));
        let client = speak_over_a_socket(&chardevs, ("mouse", &front), &path, round);
        expected.push(round);
        chardevs.blocking_change("mouse", mouse()).unwrap();
        // It is new, and says its name as soon as it is set up.
        expected.extend(&name);
        assert_eq!(rest(client), [round; 100]);
        let read = read_until(&front, expected.len());
        assert_eq!(read, expected, "round {round}");
        expected.clear();
    }
}

/// A pen is put down and taken up, which nobody has read when the tablet is replaced; then a client
/// of a socket says something, and is replaced as well.
#[test]
fn two_hundred_changes_of_a_tablet_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("tablet", tablet()).unwrap();
    let front = chardevs.front_end("tablet", Arc::new(())).unwrap();
    let mut expected = Vec::new();
    for round in 0..100_u8 {
        // Each is a new one, which has to be started, and says where the pen is.
        front.write_all(b"ST\r", Some(DEADLINE)).unwrap();
        expected.extend([0xe0, 0, 0, 0, 0, 0, 0]);
        let at = i64::from(round) * 200;
        let placed = [Axis::X, Axis::Y].map(|axis| InputEvent::Placed { axis, at });
        chardevs.send_input(Some("tablet"), &placed).unwrap();
        let [x, y] = [at * 1537 / 10_000, at * 1152 / 10_000];
        let low = |lines: i64| (lines % 128) as u8;
        let high = |lines: i64| (lines / 128) as u8;
        let report = [0xe0, high(x), low(x), 0, high(y), low(y), 0];
        expected.extend(report);
        for down in [true, false] {
            let button = MouseButton::Left;
            let pressed = [InputEvent::Button { button, down }];
            chardevs.send_input(Some("tablet"), &pressed).unwrap();
            expected.push(if down { 0xa0 } else { 0xe0 });
            expected.extend(&report[1..]);
        }
        let client = speak_over_a_socket(&chardevs, ("tablet", &front), &path, round);
        expected.push(round);
        chardevs.blocking_change("tablet", tablet()).unwrap();
        assert_eq!(rest(client), [round; 100]);
        let read = read_until(&front, expected.len());
        assert_eq!(read, expected, "round {round}");
        expected.clear();
    }
    assert_eq!(input(&front), b"", "a new tablet says nothing by itself");
}

/// The pointer gives way to a socket, whose client says one byte and is told a hundred.
fn speak_over_a_socket(
    chardevs: &Chardevs,
    (id, front): (&str, &FrontEnd),
    path: &Path,
    round: u8,
) -> UnixStream {
    chardevs.blocking_change(id, Unix::listen(path)).unwrap();
    let mut client = UnixStream::connect(path).unwrap();
    assert!(front.wait_connected(Some(DEADLINE)).unwrap());
    client.write_all(&[round]).unwrap();
    front.write_all(&[round; 100], Some(DEADLINE)).unwrap();
    client
}

/// All that is still to come.
fn rest(mut client: UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    rest
}

/// What had no room is one report, which a change must not lose either.
#[test]
fn a_movement_that_waits_for_room_is_read_after_a_change() {
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("mouse", mouse()).unwrap();
    let front = chardevs.front_end("mouse", Arc::new(())).unwrap();
    front.set_modem(ModemLines::DTR | ModemLines::RTS);
    wait_for("its name", || {
        Some(input(&front)).filter(|it| !it.is_empty())
    });
    let axis = Axis::X;
    for _ in 0..100 {
        let moved = [InputEvent::Moved { axis, by: 5 }];
        chardevs.send_input(Some("mouse"), &moved).unwrap();
    }
    chardevs
        .blocking_change("mouse", Options::new("null"))
        .unwrap();
    let (mut read, mut way) = (Vec::new(), 0);
    wait_for("the whole way", || {
        read.extend(input(&front));
        let reports = read.chunks_exact(3);
        way = reports
            .map(|it| u32::from(it[0] & 3) << 6 | u32::from(it[1]))
            .sum();
        (way >= 500).then_some(())
    });
    assert_eq!((way, read.len() % 3), (500, 0));
}
