//! The fast path against a change, with the threads run in thousands of orders by `shuttle`: two
//! writers and the I/O thread go on while the back end is replaced. Run by `cargo xtask model`.
#![cfg(chardev_model)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Wake, Waker};

use chardev_core::{
    Backend, BackendId, Change, ChardevRef, Drain, FrontEnd, NewBackend, NothingToDrain, Old,
    Policy, Ready, Sent,
};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

/// Writes of each writer, of three bytes each; a back end takes two at a time.
const WRITES: u8 = 4;
const ROOM: usize = 2;

/// Something that is waited for; it counts, so that nothing is missed before a wait.
#[derive(Default)]
struct Signal {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Signal {
    fn count(&self) -> usize {
        *self.count.lock().unwrap()
    }

    fn raise(&self) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    /// Waits until it has been raised since it stood at `seen`. If nobody ever raises it the
    /// model ends with a deadlock, which is how a lost wake-up shows.
    fn wait(&self, seen: usize) {
        let mut count = self.count.lock().unwrap();
        while *count == seen {
            count = self.changed.wait(count).unwrap();
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.raise();
    }
}

/// What a back end and its peer share.
#[derive(Default)]
struct World {
    took: Vec<u8>,
    room: usize,
    armed: bool,
    retired: bool,
}

#[derive(Clone)]
struct Model {
    world: Arc<Mutex<World>>,
    io: Arc<Signal>,
}

impl Model {
    fn new(io: &Arc<Signal>) -> Self {
        Model {
            world: Arc::default(),
            io: Arc::clone(io),
        }
    }

    /// The peer reads, and readiness is reported if it was asked for.
    fn serve(&self, chardev: &ChardevRef, id: BackendId) {
        let armed = {
            let mut world = self.world.lock().unwrap();
            world.room = ROOM;
            std::mem::take(&mut world.armed)
        };
        if armed {
            chardev.with(|chardev| chardev.handle_ready(id, Ready::WRITE));
        }
    }
}

impl Backend for Model {
    fn kind(&self) -> &'static str {
        "model"
    }

    fn filename(&self) -> String {
        "model".to_owned()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn write(&mut self, bufs: &[IoSlice<'_>], _: &mut Vec<OwnedFd>) -> Sent {
        let mut world = self.world.lock().unwrap();
        assert!(
            !world.retired,
            "a write to the old back end after the change"
        );
        let count = bufs[0].len().min(world.room);
        world.room -= count;
        world.took.extend(&bufs[0][..count]);
        if count == 0 {
            Sent::Full
        } else {
            Sent::Taken(count)
        }
    }

    fn read(&mut self, _: &mut [IoSliceMut<'_>]) -> usize {
        0
    }

    fn watch(&mut self, interest: Ready) {
        if interest.contains(Ready::WRITE) {
            self.world.lock().unwrap().armed = true;
            self.io.raise();
        }
    }

    fn retire(self: Box<Self>) -> Box<dyn Drain> {
        self.world.lock().unwrap().retired = true;
        Box::new(NothingToDrain)
    }
}

/// Writes its numbers one after the other, waiting where it is told to.
fn write(front: &FrontEnd, writable: &Signal, writer: u8) {
    for number in 0..WRITES {
        let bytes = [writer | number; 3];
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let seen = writable.count();
            match front.write(rest) {
                0 => writable.wait(seen),
                count => rest = &rest[count..],
            }
        }
    }
}

fn change(chardev: &ChardevRef, new: &Model) {
    let change = Change::begin(chardev).unwrap();
    let mut new = NewBackend::new(BackendId(2), Box::new(new.clone()));
    let offer = change.offer(&mut new).unwrap();
    drop(change.commit(offer, new, Old::Retire).unwrap());
}

fn writers_against_a_change() {
    let io = Arc::new(Signal::default());
    let (old, new) = (Model::new(&io), Model::new(&io));
    let backend = Box::new(old.clone());
    let chardev = ChardevRef::new("con0", BackendId(1), backend, Policy::default(), None);
    let front = Arc::new(FrontEnd::attach(&chardev, Arc::new(())).unwrap());
    let writable = Arc::new(Signal::default());
    front.set_waker(Ready::WRITE, &Waker::from(Arc::clone(&writable)));

    let done = Arc::new(Mutex::new(false));
    let serving = thread::spawn({
        let (chardev, old, new) = (chardev.clone(), old.clone(), new.clone());
        let (io, done) = (Arc::clone(&io), Arc::clone(&done));
        move || {
            while !*done.lock().unwrap() {
                let seen = io.count();
                old.serve(&chardev, BackendId(1));
                new.serve(&chardev, BackendId(2));
                if !*done.lock().unwrap() {
                    io.wait(seen);
                }
            }
        }
    });
    let writers = [0x10, 0x20].map(|writer| {
        let (front, writable) = (Arc::clone(&front), Arc::clone(&writable));
        thread::spawn(move || write(&front, &writable, writer))
    });
    change(&chardev, &new);
    for writer in writers {
        writer.join().unwrap();
    }
    *done.lock().unwrap() = true;
    io.raise();
    serving.join().unwrap();

    let took = [old, new].map(|model| model.world.lock().unwrap().took.clone());
    let took = took.concat();
    for writer in [0x10, 0x20] {
        let numbers: Vec<u8> = took
            .iter()
            .copied()
            .filter(|byte| byte & 0xf0 == writer)
            .collect();
        let expected: Vec<u8> = (0..WRITES)
            .flat_map(|number| [writer | number; 3])
            .collect();
        assert_eq!(numbers, expected);
    }
    assert_eq!(front.stats().output_accepted, took.len() as u64);
    assert_eq!(front.stats().output_delivered, took.len() as u64);
}

#[test]
fn no_byte_and_no_wake_up_is_lost_in_any_order_tried() {
    shuttle::check_random(writers_against_a_change, 4_000);
    shuttle::check_pct(writers_against_a_change, 4_000, 3);
}
