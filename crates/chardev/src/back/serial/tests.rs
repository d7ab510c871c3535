//! A device that is slow to set up: nobody waits for it, and the order of its settings is kept.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use chardev_core::{Answer, Late, Parity, SerialParams};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::control::Setup;
use super::*;
use crate::chardevs::Chardevs;
use crate::slow_fd::SlowFd;

const DEADLINE: Duration = Duration::from_secs(20);

/// What is said without options.
fn terms() -> Terms {
    Terms::of(&Options::new("serial")).unwrap()
}

/// A back end around a terminal, what is at the other end of its cable, and what lets one setting
/// up come to its end.
struct Rig {
    serial: Serial,
    cable: File,
    go: Sender<()>,
    gone: Option<Receiver<()>>,
    began: (Sender<u32>, Receiver<u32>),
    _chardevs: Chardevs,
}

fn at(speed: u32) -> Line {
    let params = SerialParams {
        speed,
        parity: Parity::None,
        data_bits: 8,
        stop_bits: 1,
    };
    Line {
        serial: Some(params),
        ..Line::default()
    }
}

/// A terminal device: the other end of its cable, and its name.
pub(super) fn pty() -> (OwnedFd, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    (master, path.into_string().unwrap())
}

fn rig() -> Rig {
    let chardevs = Chardevs::new().unwrap();
    let port = Port::of(chardevs.shared(), "con0");
    let (master, path) = pty();
    let slave: OwnedFd = open_device(Path::new(&path)).unwrap();
    let device = Device::new((slave, None), "tty", terms(), &port).ok();
    device.as_ref().unwrap().control.set_here(&at(115_200));
    let (go, gone) = channel();
    Rig {
        serial: Serial {
            port,
            name: "tty".to_owned(),
            device,
            coming: None,
            former: None,
            way_back: WayBack::new(None),
            had_lines: false,
            events: VecDeque::new(),
            line: Line::default(),
            live: true,
            terms: terms(),
        },
        cable: master.into(),
        go,
        gone: Some(gone),
        began: channel(),
        _chardevs: chardevs,
    }
}

impl Rig {
    /// Begins to set the line up; each such thing waits for `go`.
    fn set(&mut self, line: &Line) {
        let (began, gone) = (self.began.0.clone(), Mutex::new(self.gone.take()));
        let carry_out = move |setup: Setup, device: &SlowFd| {
            began.send(setup.params.speed).unwrap();
            if let Some(gone) = &*gone.lock().unwrap() {
                // Fails once everything is let go.
                let _ = gone.recv();
            }
            setup.carry_out(device)
        };
        self.serial
            .device
            .as_ref()
            .unwrap()
            .control
            .set_by(line, carry_out);
    }

    fn began(&self) -> u32 {
        self.began.1.recv_timeout(DEADLINE).unwrap()
    }

    fn write(&mut self, text: &str) -> Sent {
        let bufs = [IoSlice::new(text.as_bytes())];
        self.serial.write(&bufs, &mut Vec::new())
    }

    /// What has come of a setting up, if that is told now.
    fn answer(&mut self) -> Option<Answer> {
        match self.serial.poll_event()? {
            BackendEvent::Tell(Event::LineAnswered(answers)) => Some(answers.serial),
            other => panic!("{other:?}"),
        }
    }

    fn is_busy(&self) -> bool {
        self.serial.device.as_ref().unwrap().control.is_busy()
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn nobody_waits_for_a_driver_that_is_asked_what_is_unsent() {
    let rig = rig();
    let mut retiring = RetiringSerial::new(rig.serial.device.unwrap());
    let (begin, begun) = channel();
    let gone = rig.gone.unwrap();
    let slow = move |_: &SlowFd| {
        begin.send(()).unwrap();
        gone.recv_timeout(DEADLINE).unwrap();
        7
    };
    let asked = retiring.ask(slow);
    begun.recv_timeout(DEADLINE).unwrap();
    assert!(asked > 0, "nobody knows yet");
    assert!(retiring.pending() > 0, "nobody knows yet");
    rig.go.send(()).unwrap();
    until("the answer", || retiring.ask(|_| 0) == 7);
    until("the next answer", || retiring.ask(|_| 0) == 0);
    // What is sent afterwards is asked for again.
    assert_eq!(retiring.send(b"more"), 4);
    assert!(retiring.ask(|_| 0) > 0);
}

#[test]
fn what_is_written_and_read_waits_for_the_line_to_be_set_up() {
    let mut rig = rig();
    rig.cable.write_all(b"input").unwrap();
    rig.set(&at(9600));
    assert_eq!(rig.began(), 9600);
    assert_eq!(rig.write("output"), Sent::Full);
    let mut bytes = [0; 5];
    assert_eq!(rig.serial.read(&mut [IoSliceMut::new(&mut bytes)]), 0);
    // What is wanted meanwhile comes after it, and of that the last.
    rig.set(&at(1200));
    rig.set(&at(2400));
    rig.go.send(()).unwrap();
    assert_eq!(rig.began(), 2400);
    assert_eq!(rig.write("output"), Sent::Full);
    rig.go.send(()).unwrap();
    until("the end", || !rig.is_busy());
    assert_eq!(rig.write("output"), Sent::Taken(6));
    assert_eq!(rig.serial.read(&mut [IoSliceMut::new(&mut bytes)]), 5);
    let mut heard = [0; 6];
    rig.cable.read_exact(&mut heard).unwrap();
    assert_eq!((&bytes, &heard), (b"input", b"output"));
    // What is so already is not set up again.
    rig.set(&at(2400));
    assert!(!rig.is_busy());
}

#[test]
fn answers_come_at_once_and_are_what_is_known() {
    let mut rig = rig();
    let line = Line {
        break_on: true,
        ..at(9600)
    };
    rig.set(&line);
    rig.serial.line = line.clone();
    let device = rig.serial.device.as_mut().unwrap();
    let answers = device.answers(&line);
    assert_eq!(answers.serial, Answer::Pending);
    assert_eq!(answers.break_on, Answer::Done);
    assert_eq!(answers.modem_inputs, None);
    assert_eq!(rig.began(), 9600);
    assert_eq!(rig.serial.poll_event(), None);
    rig.go.send(()).unwrap();
    until("the end", || !rig.is_busy());
    assert_eq!(rig.answer(), Some(Answer::Done));
    assert_eq!(rig.serial.poll_event(), None);
}

#[test]
fn what_a_device_keeps_as_it_was_is_an_answer() {
    let mut rig = rig();
    rig.gone = None;
    // A pseudoterminal keeps 8N whatever it is told, but takes two stop bits.
    for (data_bits, parity, stop_bits, expected) in [
        (8, Parity::None, 2, Answer::Done),
        (7, Parity::None, 1, Answer::Failed),
        (8, Parity::Even, 1, Answer::Failed),
        (8, Parity::Mark, 1, Answer::Failed),
        (8, Parity::None, 1, Answer::Done),
    ] {
        let params = SerialParams {
            speed: 9600,
            parity,
            data_bits,
            stop_bits,
        };
        let line = Line {
            serial: Some(params),
            ..Line::default()
        };
        let mut answer = rig.serial.apply(&line).serial;
        until("the end", || !rig.is_busy());
        if answer == Answer::Pending {
            answer = rig.answer().unwrap();
        }
        assert_eq!(answer, expected, "{params:?}");
        // It is as it is, so nothing is tried once more.
        assert_eq!(rig.serial.apply(&line).serial, expected);
        assert!(!rig.is_busy() && rig.answer().is_none());
    }
}

/// The device hangs, and that is why it is replaced.
#[test]
fn a_device_that_is_being_set_up_can_be_replaced() {
    let mut rig = rig();
    rig.cable.write_all(b"input").unwrap();
    rig.set(&at(9600));
    assert_eq!(rig.began(), 9600);
    rig.set(&at(1200));
    assert_eq!(rig.serial.cut_input(), (Vec::new(), true));
    let mut drain = Box::new(rig.serial).retire();
    let mut bytes = [0; 16];
    assert_eq!(drain.read_late(&mut bytes), Late::Quiet);
    assert_eq!(drain.send(b"last words"), 0);
    rig.go.send(()).unwrap();
    // What had not begun is given up; what the peer had sent is not.
    until("the input", || drain.read_late(&mut bytes) == Late::Data(5));
    assert_eq!(&bytes[..5], b"input");
    assert_eq!(drain.read_late(&mut bytes), Late::End);
    drop(rig.began.0);
    assert!(rig.began.1.recv_timeout(DEADLINE).is_err());
}
