//! The serial port on a chardev whose peer is moved by hand: back-pressure, batches, changes, line.

#![cfg(feature = "uart16550")]

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use chardev::front::uart16550::{BURST_DELAY, Uart16550};
use chardev::{
    Answer, Answers, Backend, BackendEvent, BackendId, ChardevRef, Closed, Drain, FrontEnd, Line,
    ModemLines, Parity, Ready, Sent, SerialParams,
};
use chardev_core::{Change, LineControl, NewBackend, NothingToDrain, Old};

/// What the test and its back end share.
#[derive(Debug, Default)]
struct World {
    room: usize,
    received: Vec<u8>,
    writes: usize,
    to_read: VecDeque<u8>,
    events: VecDeque<BackendEvent>,
    line: Line,
    inputs: Option<ModemLines>,
    read_after_empty: usize,
}

#[derive(Clone, Debug, Default)]
struct Peer(Arc<Mutex<World>>);

impl Peer {
    fn with_room(room: usize) -> Self {
        let peer = Peer::default();
        peer.0.lock().unwrap().room = room;
        peer
    }

    fn set<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        change(&mut self.0.lock().unwrap())
    }

    fn received(&self) -> String {
        self.set(|world| String::from_utf8(std::mem::take(&mut world.received)).unwrap())
    }
}

impl Backend for Peer {
    fn kind(&self) -> &'static str {
        "sim"
    }

    fn filename(&self) -> String {
        "sim".to_owned()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _: &mut Vec<OwnedFd>) -> Sent {
        self.set(|world| {
            world.writes += 1;
            let mut taken = 0;
            for buf in bufs {
                let count = buf.len().min(world.room);
                world.received.extend(&buf[..count]);
                world.room -= count;
                taken += count;
            }
            if taken == 0 {
                Sent::Full
            } else {
                Sent::Taken(taken)
            }
        })
    }

    fn read(&mut self, bufs: &mut [IoSliceMut<'_>]) -> usize {
        self.set(|world| {
            let count = bufs[0].len().min(world.to_read.len());
            for (slot, byte) in bufs[0].iter_mut().zip(world.to_read.drain(..count)) {
                *slot = byte;
            }
            world.read_after_empty += usize::from(count == 0);
            count
        })
    }

    fn watch(&mut self, _: Ready) {}

    fn poll_event(&mut self) -> Option<BackendEvent> {
        self.set(|world| world.events.pop_front())
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        Box::new(NothingToDrain)
    }

    fn line(&mut self) -> Option<&mut dyn LineControl> {
        Some(self)
    }
}

impl LineControl for Peer {
    fn apply(&mut self, line: &Line) -> Answers {
        self.set(|world| {
            world.line = line.clone();
            let able = world.inputs.is_some();
            Answers {
                serial: if able {
                    Answer::Done
                } else {
                    Answer::Unsupported
                },
                modem_inputs: world.inputs,
                ..Answers::unsupported(line, true)
            }
        })
    }

    fn modem_inputs(&mut self) -> Option<ModemLines> {
        self.set(|world| world.inputs)
    }
}

#[derive(Debug, Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Line16 = Box<dyn Fn(bool) + Send>;

/// A port, its chardev, and a clock that stands still unless told.
struct Bench {
    chardev: ChardevRef,
    uart: Uart16550<Line16>,
    high: Arc<AtomicBool>,
    woken: Arc<Woken>,
    now: Duration,
    next_id: u64,
}

impl Bench {
    fn new(peer: &Peer) -> Self {
        let chardev = ChardevRef::new(
            "con0",
            BackendId(1),
            Box::new(peer.clone()),
            Closed::Discard,
            None,
        );
        let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
        let high = Arc::new(AtomicBool::new(false));
        let line = Arc::clone(&high);
        let interrupt: Line16 = Box::new(move |level| line.store(level, Ordering::Relaxed));
        let uart = Uart16550::new(front, interrupt);
        let woken = Arc::new(Woken::default());
        uart.set_waker(&Waker::from(Arc::clone(&woken)));
        let mut bench = Bench {
            chardev,
            uart,
            high,
            woken,
            now: Duration::ZERO,
            next_id: 2,
        };
        bench.serve();
        bench
    }

    fn wakes(&self) -> usize {
        self.woken.0.swap(0, Ordering::Relaxed)
    }

    /// What the owner's event loop does.
    fn serve(&mut self) -> Option<Duration> {
        self.wakes();
        self.uart.handle_ready(self.now)
    }

    /// Readiness of the back end in the slot.
    fn ready(&mut self, ready: Ready) {
        self.chardev.with(|chardev| {
            chardev.handle_ready(BackendId(self.next_id - 1), ready);
        });
    }

    fn read(&mut self, offset: u8) -> u8 {
        self.uart.read(offset, self.now)
    }

    fn write(&mut self, offset: u8, value: u8) {
        self.uart.write(offset, value, self.now);
    }

    fn send(&mut self, text: &str) {
        for byte in text.bytes() {
            self.write(0, byte);
        }
    }

    fn change(&mut self, peer: &Peer) {
        let id = BackendId(self.next_id);
        self.next_id += 1;
        let mut new = NewBackend::new(id, Box::new(peer.clone()));
        let change = Change::begin(&self.chardev).unwrap();
        let offer = change.offer(&mut new).unwrap();
        drop(change.commit(offer, new, Old::Retire).unwrap());
    }
}

const LSR_EMPTY: u8 = 0x60;

#[test]
fn a_stalled_back_end_keeps_thre_low_until_its_waker_comes() {
    let peer = Peer::with_room(3);
    let mut bench = Bench::new(&peer);
    bench.write(1, 0x02);
    assert_eq!(bench.read(2), 0x02);
    for byte in b"abcd" {
        bench.write(0, *byte);
    }
    assert_eq!(peer.received(), "abc");
    assert_eq!(
        (bench.read(5), bench.high.load(Ordering::Relaxed)),
        (0, false)
    );
    // However often the guest looks, no system call is made for it.
    let writes = peer.set(|world| world.writes);
    for _ in 0..100 {
        assert_eq!(bench.read(5), 0);
    }
    assert_eq!(peer.set(|world| world.writes), writes);
    peer.set(|world| world.room = 100);
    bench.ready(Ready::WRITE);
    assert!(bench.wakes() > 0);
    bench.serve();
    assert_eq!(peer.received(), "d");
    assert!(bench.high.load(Ordering::Relaxed));
    assert_eq!((bench.read(5), bench.read(2)), (LSR_EMPTY, 0x02));
}

#[test]
fn a_change_frees_a_stalled_port_even_with_unread_input() {
    for new_room in [0, 100] {
        let (stalled, new) = (Peer::with_room(0), Peer::with_room(new_room));
        stalled.set(|world| {
            world
                .to_read
                .extend(b"unread input that the guest does not take")
        });
        let mut bench = Bench::new(&stalled);
        bench.send("held");
        assert_eq!(bench.read(5) & LSR_EMPTY, 0);
        bench.change(&new);
        assert!(bench.wakes() > 0);
        bench.serve();
        if new_room == 0 {
            assert_eq!(bench.read(5) & LSR_EMPTY, 0);
            new.set(|world| world.room = 100);
            bench.ready(Ready::WRITE);
            bench.serve();
        }
        assert_eq!(new.received(), "held");
        assert_eq!(bench.read(5) & LSR_EMPTY, LSR_EMPTY);
        assert_eq!(stalled.received(), "");
    }
}

#[test]
fn a_burst_goes_out_in_one_call_and_a_byte_on_its_own_at_once() {
    let peer = Peer::with_room(1 << 20);
    let mut bench = Bench::new(&peer);
    let writes = |peer: &Peer| peer.set(|world| std::mem::take(&mut world.writes));
    bench.send("a");
    assert_eq!((peer.received().as_str(), writes(&peer)), ("a", 1));
    // Without FIFO every byte goes at once.
    bench.send("bcd");
    assert_eq!(writes(&peer), 3);
    bench.write(2, 0x01);
    bench.send("e");
    bench.read(5);
    assert_eq!((peer.received().as_str(), writes(&peer)), ("bcde", 1));
    // A first burst: its first byte might have been alone.
    bench.send("0123456789abcdef");
    assert_eq!(bench.read(5), LSR_EMPTY);
    assert_eq!(
        (peer.received().as_str(), writes(&peer)),
        ("0123456789abcdef", 2)
    );
    // From then on sixteen bytes are one call, at the sixteenth.
    for _ in 0..10 {
        bench.send("0123456789abcde");
        assert_eq!(writes(&peer), 0);
        bench.send("f");
        assert_eq!(
            (peer.received().as_str(), writes(&peer)),
            ("0123456789abcdef", 1)
        );
        assert_eq!(bench.read(5), LSR_EMPTY);
    }
    // A short one goes out when the guest looks at the status.
    bench.send("short");
    assert_eq!(writes(&peer), 0);
    assert_eq!(bench.read(5), LSR_EMPTY);
    assert_eq!((peer.received().as_str(), writes(&peer)), ("short", 1));
}

#[test]
fn the_end_of_a_burst_goes_out_when_its_time_has_come() {
    let peer = Peer::with_room(1 << 20);
    let mut bench = Bench::new(&peer);
    bench.write(2, 0x01);
    bench.send("abc");
    assert_eq!(peer.received(), "a");
    // The owner knew of no deadline, so it is woken once, and not for every byte.
    assert_eq!(bench.wakes(), 1);
    assert_eq!(bench.uart.deadline(), Some(BURST_DELAY));
    bench.now += BURST_DELAY;
    let next = bench.serve();
    assert_eq!(peer.received(), "bc");
    // The clock ticks on while bursts keep coming, and they wake nobody.
    assert_eq!(next, Some(bench.now + BURST_DELAY));
    bench.send("def");
    assert_eq!(bench.wakes(), 0);
    bench.now += BURST_DELAY;
    assert!(bench.serve().is_some());
    assert_eq!(peer.received(), "def");
    bench.now += BURST_DELAY;
    assert_eq!(bench.serve(), None, "an idle port needs no clock");
}

#[test]
fn input_comes_as_there_is_room_and_in_order_with_breaks() {
    let peer = Peer::with_room(0);
    let mut bench = Bench::new(&peer);
    bench.write(2, 0xc1);
    bench.write(1, 0x05);
    peer.set(|world| world.to_read.extend(*b"0123456789abcdefghij"));
    bench.ready(Ready::READ);
    bench.serve();
    assert!(bench.high.load(Ordering::Relaxed));
    assert_eq!(
        peer.set(|world| world.to_read.len()),
        4,
        "no more than the FIFO holds"
    );
    bench.chardev.with(|chardev| chardev.send_break());
    bench.serve();
    let mut text = String::new();
    let mut breaks = Vec::new();
    loop {
        let status = bench.read(5);
        if status & 1 == 0 {
            break;
        }
        if status & 0x10 != 0 {
            breaks.push(text.len());
        }
        let byte = bench.read(0);
        if status & 0x10 == 0 {
            text.push(char::from(byte));
        }
    }
    // The break was sent by a command when sixteen bytes were in the chip, before what the back end
    // still held.
    assert_eq!(text, "0123456789abcdefghij");
    assert_eq!(breaks.len(), 1);
    assert!(!bench.high.load(Ordering::Relaxed));
    // While it is known that there is nothing, looking costs no system call.
    let looks = peer.set(|world| world.read_after_empty);
    for _ in 0..100 {
        bench.read(0);
        bench.read(5);
    }
    assert_eq!(peer.set(|world| world.read_after_empty), looks);
    peer.set(|world| world.to_read.push_back(b'x'));
    bench.ready(Ready::READ);
    assert!(bench.wakes() > 0);
    bench.serve();
    assert_eq!((bench.read(5) & 1, bench.read(0)), (1, b'x'));
}

#[test]
fn a_change_takes_the_line_over_and_tells_the_guest_the_new_inputs() {
    let (old, new) = (Peer::with_room(100), Peer::with_room(100));
    let lines = ModemLines::CTS | ModemLines::DSR;
    new.set(|world| world.inputs = Some(lines));
    let mut bench = Bench::new(&old);
    assert_eq!(bench.read(6), 0xb0);
    // 115200 7E2, DTR and RTS, and a break.
    bench.write(3, 0x80);
    bench.write(0, 1);
    bench.write(1, 0);
    assert_eq!(old.set(|world| world.line.serial), None);
    bench.write(3, 0x1e);
    bench.write(4, 0x0b);
    bench.write(3, 0x5e);
    let params = SerialParams {
        speed: 115_200,
        parity: Parity::Even,
        data_bits: 7,
        stop_bits: 2,
    };
    let expected = Line {
        open: true,
        serial: Some(params),
        break_on: true,
        modem: Some(ModemLines::DTR | ModemLines::RTS),
        ..Line::default()
    };
    assert_eq!(old.set(|world| world.line.clone()), expected);
    bench.write(1, 0x08);
    bench.change(&new);
    bench.serve();
    assert_eq!(new.set(|world| world.line.clone()), expected);
    assert!(bench.high.load(Ordering::Relaxed), "the carrier went away");
    assert_eq!((bench.read(2), bench.read(6)), (0x00, 0x38));
    // The new one has inputs, so they are looked at while the guest wants to know.
    new.set(|world| world.inputs = Some(lines | ModemLines::CAR));
    bench.now += Duration::from_millis(10);
    assert_eq!(bench.serve(), Some(bench.now + Duration::from_millis(10)));
    assert_eq!(bench.read(6), 0xb8);
    // Back to one without: ready as a terminal, and no more looking.
    bench.change(&old);
    assert_eq!(bench.serve(), None);
    assert_eq!(bench.read(6), 0xb0);
    bench.write(3, 0x1e);
    assert!(!old.set(|world| world.line.break_on));
}

#[test]
fn loopback_leaves_the_line_outside_alone() {
    let peer = Peer::with_room(100);
    peer.set(|world| world.to_read.extend(*b"later"));
    let mut bench = Bench::new(&peer);
    bench.read(0);
    bench.write(4, 0x0b);
    bench.write(4, 0x1f);
    bench.write(3, 0x43);
    bench.send("x");
    let line = peer.set(|world| world.line.clone());
    assert_eq!(
        (line.modem, line.break_on),
        (Some(ModemLines::DTR | ModemLines::RTS), false)
    );
    assert_eq!(peer.received(), "");
    bench.write(3, 0x03);
    bench.write(4, 0x0b);
    let text: Vec<u8> = (0..5).map(|_| bench.read(0)).collect();
    // The character in the receiver when loopback began was overrun by the one looped back.
    assert_eq!(text, b"xter\0");
}

#[test]
fn a_reset_keeps_what_was_written_and_the_peer() {
    let peer = Peer::with_room(2);
    let mut bench = Bench::new(&peer);
    bench.send("panic");
    bench.uart.reset(bench.now);
    assert_eq!(bench.read(5), 0);
    peer.set(|world| world.room = 100);
    bench.ready(Ready::WRITE);
    bench.serve();
    assert_eq!(
        (bench.read(5), peer.received().as_str()),
        (LSR_EMPTY, "panic")
    );
    assert!(peer.set(|world| world.line.open));
}

#[test]
fn a_restored_port_sends_what_waited_and_sets_its_line_up() {
    let peer = Peer::with_room(0);
    let mut bench = Bench::new(&peer);
    bench.write(3, 0x80);
    bench.write(0, 1);
    bench.write(3, 0x03);
    bench.write(4, 0x03);
    bench.send("held");
    let state = bench.uart.state();
    drop(bench);
    let other = Peer::with_room(100);
    let chardev = ChardevRef::new(
        "con0",
        BackendId(1),
        Box::new(other.clone()),
        Closed::Discard,
        None,
    );
    let front = FrontEnd::attach(&chardev, Arc::new(())).unwrap();
    let mut uart = Uart16550::restore(&state, front, |_| {}).unwrap();
    uart.handle_ready(Duration::ZERO);
    assert_eq!(other.received(), "held");
    let line = other.set(|world| world.line.clone());
    assert_eq!(line.serial.unwrap().speed, 115_200);
    assert_eq!(line.modem, Some(ModemLines::DTR | ModemLines::RTS));
    assert!(line.open);
}
