//! [front] → chardev → back → host: a device that prints without end and takes all input.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chardev::{Chardevs, Event, FrontEnd, Ready, ReadyFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::stream;

/// How long a writer must have got nothing taken to count as held back.
const HELD: Duration = Duration::from_millis(4);

#[derive(Debug, Default)]
struct Shared {
    accepted: AtomicUsize,
    /// Since when the chardev takes nothing.
    held_since: Mutex<Option<Instant>>,
    input: Mutex<Vec<u8>>,
    received: AtomicUsize,
    /// Input is counted and not kept.
    forgets: AtomicBool,
    /// Events that did not pair.
    unpaired: AtomicUsize,
    silent: AtomicBool,
    gone: AtomicBool,
}

/// The device on `con0`, with a thread for each direction.
pub(crate) struct Device {
    front: Arc<FrontEnd>,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    reader: Option<JoinHandle<()>>,
}

impl Device {
    /// One that keeps all its input.
    pub(crate) fn start(chardevs: &Chardevs) -> Self {
        Self::run(chardevs, false)
    }

    /// One that only counts its input.
    pub(crate) fn forgetful(chardevs: &Chardevs) -> Self {
        Self::run(chardevs, true)
    }

    fn run(chardevs: &Chardevs, forgets: bool) -> Self {
        let front = Arc::new(chardevs.front_end("con0", Arc::new(())).unwrap());
        let shared = Arc::new(Shared::default());
        shared.forgets.store(forgets, Ordering::SeqCst);
        let (f, s) = (Arc::clone(&front), Arc::clone(&shared));
        let writer = std::thread::spawn(move || write(&f, &s));
        let (f, s) = (Arc::clone(&front), Arc::clone(&shared));
        let reader = std::thread::spawn(move || read(&f, &s));
        Device {
            front,
            shared,
            writer: Some(writer),
            reader: Some(reader),
        }
    }

    pub(crate) fn front(&self) -> &FrontEnd {
        &self.front
    }

    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Whether the chardev has taken nothing for a moment.
    pub(crate) fn is_held(&self) -> bool {
        let since = *self.shared.held_since.lock().unwrap();
        since.is_some_and(|since| since.elapsed() > HELD)
    }

    pub(crate) fn input(&self) -> Vec<u8> {
        self.shared.input.lock().unwrap().clone()
    }

    pub(crate) fn received(&self) -> usize {
        self.shared.received.load(Ordering::SeqCst)
    }

    pub(crate) fn unpaired(&self) -> usize {
        self.shared.unpaired.load(Ordering::SeqCst)
    }

    /// The device prints nothing more.
    pub(crate) fn fall_silent(&mut self) {
        self.shared.silent.store(true, Ordering::SeqCst);
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shared.silent.store(true, Ordering::SeqCst);
        self.shared.gone.store(true, Ordering::SeqCst);
        for thread in [self.writer.take(), self.reader.take()]
            .into_iter()
            .flatten()
        {
            let _ = thread.join();
        }
    }
}

fn write(front: &FrontEnd, shared: &Shared) {
    let ready = ReadyFd::new(front, Ready::WRITE).unwrap();
    let mut accepted = 0;
    while !shared.silent.load(Ordering::SeqCst) {
        ready.clear();
        // Odd sizes, so that borders fall anywhere.
        let size = 1 + accepted % 9001;
        let taken = front.write(stream::at(accepted, size));
        accepted += taken;
        shared.accepted.store(accepted, Ordering::SeqCst);
        let mut held = shared.held_since.lock().unwrap();
        if taken > 0 {
            *held = None;
            continue;
        }
        held.get_or_insert_with(Instant::now);
        drop(held);
        wait(&ready);
    }
}

fn read(front: &FrontEnd, shared: &Shared) {
    let ready = ReadyFd::new(front, Ready::READ).unwrap();
    let mut buf = vec![0; stream::PIECE];
    let mut open = false;
    while !shared.gone.load(Ordering::SeqCst) {
        ready.clear();
        let count = front.read(&mut buf);
        if !shared.forgets.load(Ordering::SeqCst) {
            shared.input.lock().unwrap().extend(&buf[..count]);
        }
        shared.received.fetch_add(count, Ordering::SeqCst);
        if count > 0 {
            continue;
        }
        match front.next_event() {
            Some(event @ (Event::Opened | Event::Closed)) => {
                let opens = event == Event::Opened;
                let pairs = opens != open;
                shared
                    .unpaired
                    .fetch_add(usize::from(!pairs), Ordering::SeqCst);
                open = opens;
            }
            Some(_) => {}
            None => wait(&ready),
        }
    }
}

fn wait(ready: &ReadyFd) {
    let mut fds = [PollFd::from_borrowed_fd(ready.as_fd(), PollFlags::IN)];
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    let _ = poll(&mut fds, Some(&moment));
}
