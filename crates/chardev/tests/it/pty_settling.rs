//! A pty as programs open it: they flush it, and find all output there nevertheless.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chardev::spec::{OptionValue, Options};
use chardev::{BlockingFrontEnd, Chardevs, Event, Ready, ReadyFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};

use crate::common::{DEADLINE, add, hold, text, wait_for};

/// What programs do with a terminal that they have opened, as `strace` shows.
type Opening = fn(&File);

const OPENINGS: [(&str, Opening); 4] = [
    ("picocom and Python's tty.setraw", |slave| {
        let settings = tcgetattr(slave).unwrap();
        tcsetattr(slave, OptionalActions::Flush, &settings).unwrap();
    }),
    ("tio", |slave| {
        tcflush(slave, QueueSelector::IOFlush).unwrap();
        set(slave);
    }),
    ("minicom, screen and pyserial", |slave| {
        set(slave);
        tcflush(slave, QueueSelector::IOFlush).unwrap();
    }),
    ("socat", set),
];

fn set(slave: &File) {
    let settings = tcgetattr(slave).unwrap();
    tcsetattr(slave, OptionalActions::Now, &settings).unwrap();
}

fn open_slave(path: &str) -> File {
    let flags = rustix::fs::OFlags::NOCTTY.bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flags);
    options.open(path).unwrap()
}

/// Waits for all of `got`; what was flushed away never comes.
fn read_all(slave: &mut File, got: &mut [u8], what: &str) {
    let mut done = 0;
    while done < got.len() {
        let mut fds = [PollFd::new(&*slave, PollFlags::IN)];
        let limit = Timespec::try_from(DEADLINE).unwrap();
        let ready = poll(&mut fds, Some(&limit)).unwrap();
        assert_eq!(ready, 1, "{what}: only {done} bytes of {} came", got.len());
        done += slave.read(&mut got[done..]).unwrap();
    }
}

/// The byte at `at` of the console's output.
fn printed(at: usize) -> u8 {
    (at % 251) as u8
}

#[test]
fn output_waits_until_a_client_has_flushed() {
    let chardevs = Chardevs::new().unwrap();
    let path = add(&chardevs, "con0", &hold("pty")).pty.unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let mut printed_so_far = 0;
    for round in 0..200 {
        let (who, opening) = OPENINGS[round % OPENINGS.len()];
        let mut slave = open_slave(&path);
        let text: Vec<u8> = (printed_so_far..printed_so_far + 700)
            .map(printed)
            .collect();
        let mut got = [0; 700];
        std::thread::scope(|scope| {
            // The console prints as soon as anything is taken.
            scope.spawn(|| front.write_all(&text, Some(DEADLINE)).unwrap());
            opening(&slave);
            read_all(&mut slave, &mut got, &format!("round {round}, as {who}"));
        });
        let first = got.iter().zip(&text).position(|(got, sent)| got != sent);
        assert_eq!(first, None, "round {round}, as {who}");
        printed_so_far += text.len();
        drop(slave);
        wait_for("the departure", || (!front.is_open()).then_some(()));
        while front.next_event().is_some() {}
    }
}

#[test]
fn a_client_that_does_not_flush_waits_no_longer_than_was_said() {
    let chardevs = Chardevs::new().unwrap();
    for (id, ms) in [("con0", 0), ("con1", 300)] {
        let options = hold("pty").with("x-settle-ms", OptionValue::Int(ms));
        let path = add(&chardevs, id, &options).pty.unwrap();
        let front = chardevs.front_end(id, Arc::new(())).unwrap();
        let mut slave = open_slave(&path);
        let began = Instant::now();
        assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
        assert_eq!(chardevs.tasks().is_empty(), ms == 0, "{id}");
        front.write_all(b"login: ", Some(DEADLINE)).unwrap();
        slave.read_exact(&mut [0; 7]).unwrap();
        assert!(
            began.elapsed() >= Duration::from_millis(ms.unsigned_abs()),
            "{id}"
        );
        wait_for("nothing to wait for", || {
            chardevs.tasks().is_empty().then_some(())
        });
    }
}

#[test]
fn input_passes_while_output_waits() {
    use std::io::Write;

    let chardevs = Chardevs::new().unwrap();
    let options = hold("pty").with("x-settle-ms", OptionValue::Int(10_000));
    let path = add(&chardevs, "con0", &options).pty.unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let mut slave = open_slave(&path);
    slave.write_all(b"typed at once").unwrap();
    assert_eq!(wait_for("opened", || front.next_event()), Event::Opened);
    assert_eq!(crate::common::read_until(&front, 13), b"typed at once");
    assert_eq!(front.write(b"x"), 0);
    tcflush(&slave, QueueSelector::IFlush).unwrap();
    wait_for("the flush", || (front.write(b"x") == 1).then_some(()));
    slave.write_all(b"and later").unwrap();
    assert_eq!(crate::common::read_until(&front, 9), b"and later");
}

#[test]
fn output_goes_on_after_the_wait_while_input_never_stops() {
    use std::io::Write;

    let chardevs = Chardevs::new().unwrap();
    let path = add(&chardevs, "con0", &hold("pty")).pty.unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let done = AtomicBool::new(false);
    let mut slave = open_slave(&path);
    let mut typist = slave.try_clone().unwrap();
    std::thread::scope(|scope| {
        let typing = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                typist.write_all(b"typed without end").unwrap();
            }
        });
        let front = &front;
        scope.spawn(move || {
            let ready = ReadyFd::new(front, Ready::READ).unwrap();
            let mut buf = [0; 4096];
            // A terminal that nobody reads is full, and holds the typist.
            while !typing.is_finished() {
                ready.clear();
                if front.read(&mut buf) == 0 && front.next_event().is_none() {
                    let moment = Timespec::try_from(Duration::from_millis(100)).unwrap();
                    let mut fds = [PollFd::new(&ready, PollFlags::IN)];
                    poll(&mut fds, Some(&moment)).unwrap();
                }
            }
        });
        let taken = front.write_all(b"login: ", Some(DEADLINE));
        done.store(true, Ordering::SeqCst);
        assert_eq!(taken.unwrap(), 7);
        slave.read_exact(&mut [0; 7]).unwrap();
    });
}

#[test]
fn whoever_ends_the_wait_all_that_wait_for_room_are_woken() {
    let chardevs = Chardevs::new().unwrap();
    let options = hold("pty").with("x-settle-ms", OptionValue::Int(200));
    let path = add(&chardevs, "base", &options).pty.unwrap();
    let mux = Options::new("mux").with("chardev", text("base"));
    add(&chardevs, "mux0", &mux);
    let front = || chardevs.front_end("mux0", Arc::new(())).unwrap();
    let (patient, busy) = (front(), front());
    for _ in 0..10 {
        let slave = open_slave(&path);
        wait_for("a peer", || busy.is_open().then_some(()));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| patient.write_all(b"a", Some(DEADLINE)).unwrap());
            // It never waits, so that most likely it is the first to see that the wait is over.
            let began = Instant::now();
            while busy.write(b"b") == 0 {
                assert!(began.elapsed() < DEADLINE, "there is no room");
            }
            assert_eq!(waits.join().unwrap(), 1, "nobody was woken");
        });
        drop(slave);
        wait_for("the departure", || (!busy.is_open()).then_some(()));
        while busy.next_event().is_some() || patient.next_event().is_some() {}
    }
}
