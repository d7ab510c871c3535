//! [front] → chardev → back → host: a device that prints numbered lines and takes all input, and
//! can be made to pause either.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use chardev::{Chardevs, FrontEnd, Ready, ReadyFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::stream::PIECE;

/// The length of a line: what starts a tablet, the number, and the end.
pub(super) const LINE: usize = 16;
/// The pause after each piece, so that there is no more than can be checked.
const PAUSE: Duration = Duration::from_micros(50);

/// What is printed from `offset` on.
pub(super) fn text(offset: usize, count: usize) -> Vec<u8> {
    let lines = offset / LINE..(offset + count).div_ceil(LINE);
    let all: String = lines.map(|line| format!("ST\r{line:011}\r\n")).collect();
    all.as_bytes()[offset % LINE..][..count].to_vec()
}

/// Where `printed`, of two lines or more, begins.
pub(super) fn locate(printed: &[u8]) -> usize {
    let at = printed
        .windows(3)
        .position(|three| three == b"ST\r")
        .unwrap();
    let digits = std::str::from_utf8(&printed[at + 3..][..11]).unwrap();
    let offset = digits.parse::<usize>().unwrap() * LINE - at;
    assert!(
        printed == text(offset, printed.len()),
        "it is no text of ours"
    );
    offset
}

#[derive(Default)]
struct Gate<T> {
    closed: AtomicBool,
    inside: Mutex<T>,
}

impl<T> Gate<T> {
    /// Closes it; nobody is inside any more.
    fn close(&self) -> std::sync::MutexGuard<'_, T> {
        self.closed.store(true, Ordering::SeqCst);
        self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes inside, if it is open.
    fn enter<R>(&self, inside: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut guard = self.lock();
        let open = !self.closed.load(Ordering::SeqCst);
        open.then(|| inside(&mut guard))
    }
}

#[derive(Default)]
struct Shared {
    /// How much was accepted.
    output: Gate<usize>,
    input: Gate<Vec<u8>>,
    ends: AtomicBool,
}

/// The device on `con0`, with a thread for each direction.
pub(super) struct Printer {
    front: Arc<FrontEnd>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Printer {
    pub(super) fn start(chardevs: &Chardevs) -> Self {
        let front = Arc::new(chardevs.front_end("con0", Arc::new(())).unwrap());
        let shared = Arc::new(Shared::default());
        let threads = [print, read].map(|work| {
            let (front, shared) = (Arc::clone(&front), Arc::clone(&shared));
            std::thread::spawn(move || work(&front, &shared))
        });
        Printer {
            front,
            shared,
            threads: threads.into(),
        }
    }

    pub(super) fn front(&self) -> &FrontEnd {
        &self.front
    }

    /// Prints nothing until it is to [go on](Printer::go_on); how much was accepted so far.
    pub(super) fn pause(&self) -> usize {
        *self.shared.output.close()
    }

    /// Reads nothing until then; how much was received so far.
    pub(super) fn pause_reading(&self) -> usize {
        self.shared.input.close().len()
    }

    pub(super) fn go_on(&self) {
        self.shared.output.closed.store(false, Ordering::SeqCst);
        self.shared.input.closed.store(false, Ordering::SeqCst);
    }

    pub(super) fn received(&self) -> usize {
        self.shared.input.lock().len()
    }

    pub(super) fn ends_with(&self, end: &[u8]) -> bool {
        self.shared.input.lock().ends_with(end)
    }

    pub(super) fn input(&self) -> Vec<u8> {
        self.shared.input.lock().clone()
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn print(front: &FrontEnd, shared: &Shared) {
    let ready = ReadyFd::new(front, Ready::WRITE).unwrap();
    while !shared.ends.load(Ordering::SeqCst) {
        ready.clear();
        let taken = shared.output.enter(|accepted| {
            // Odd sizes, so that borders fall anywhere.
            let taken = front.write(&text(*accepted, 1 + *accepted % 301));
            *accepted += taken;
            taken
        });
        match taken {
            Some(0) => wait(&ready),
            _ => std::thread::park_timeout(PAUSE),
        }
    }
}

fn read(front: &FrontEnd, shared: &Shared) {
    let ready = ReadyFd::new(front, Ready::READ).unwrap();
    let mut buf = vec![0; PIECE];
    while !shared.ends.load(Ordering::SeqCst) {
        ready.clear();
        let done = shared.input.enter(|input| {
            let count = front.read(&mut buf);
            input.extend(&buf[..count]);
            count > 0 || front.next_event().is_some()
        });
        match done {
            Some(false) => wait(&ready),
            Some(true) => {}
            None => std::thread::park_timeout(PAUSE),
        }
    }
}

fn wait(ready: &ReadyFd) {
    let mut fds = [PollFd::from_borrowed_fd(ready.as_fd(), PollFlags::IN)];
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    let _ = poll(&mut fds, Some(&moment));
}
