//! For how long a change of back end keeps a front end from writing that always has more.
//!
//! `cargo bench -p chardev --bench pause` changes a console between kinds while a thread prints on
//! it, and writes a line for each kind that was changed to: the median, the 99th percentile and the
//! longest time in microseconds for which nothing was taken because of a change. Where output was
//! refused, that is until it has been tried again, so the wake-up of the thread counts.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing to say"
)]

use std::future::poll_fn;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{Chardevs, FreezeWatch};

const ROUNDS: usize = 50;
const KINDS: [&str; 5] = ["null", "ringbuf", "file", "socket", "pty"];
/// All ordered pairs of two of them, as one closed walk from the last one.
const WALK: [usize; 20] = [3, 2, 4, 2, 3, 1, 4, 1, 3, 0, 4, 0, 2, 1, 2, 0, 1, 0, 3, 4];
/// Between two changes, so that something is printed into every back end.
const DWELL: Duration = Duration::from_millis(2);
const LINE: &[u8] = &[b'.'; 64];

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("peer")).unwrap();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            std::thread::spawn(move || swallow(peer.unwrap()));
        }
    });
    let chardevs = Chardevs::new().unwrap();
    chardevs
        .blocking_add("con0", options("pty", dir.path()))
        .unwrap();
    let pauses = Pauses::default();
    assert!(chardevs.watch_freezes("con0", Box::new(pauses.clone())));
    let done = Arc::new(AtomicBool::new(false));
    let printing = print_until(&chardevs, &done);
    for _ in 0..ROUNDS {
        for kind in WALK {
            std::thread::sleep(DWELL);
            pauses.state().kind = kind;
            let new = options(KINDS[kind], dir.path());
            chardevs.blocking_change("con0", new).unwrap();
        }
    }
    // What was refused has been tried again when the thread ends.
    done.store(true, Ordering::Release);
    printing.join().unwrap();
    for (kind, mut times) in KINDS.iter().zip(pauses.state().times.clone()) {
        times.sort();
        let share = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
        let [half, most, max] = [0.5, 0.99, 1.0].map(|part| share(part).as_secs_f64() * 1e6);
        println!("{kind} {half:.1} {most:.1} {max:.1}");
    }
}

fn print_until(chardevs: &Chardevs, done: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let (chardevs, done) = (chardevs.clone(), Arc::clone(done));
    std::thread::spawn(move || {
        while !done.load(Ordering::Acquire) {
            chardevs.block_on(poll_fn(|cx| front.poll_write(cx, LINE)));
        }
    })
}

fn options(kind: &'static str, dir: &Path) -> Options {
    let path = |name| dir.join(name).to_str().unwrap().to_owned();
    let options = Options::new(kind);
    match kind {
        "file" => options.with("out", OptionValue::Str(path("out"))),
        "socket" => {
            let address = SocketAddress::Unix {
                path: path("peer"),
                abstract_name: false,
                tight: true,
            };
            let options = options.with("addr", OptionValue::Address(address));
            options.with("server", OptionValue::Bool(false))
        }
        _ => options,
    }
}

fn swallow(mut peer: impl Read) {
    let mut buf = vec![0; 64 << 10];
    while peer.read(&mut buf).unwrap_or(0) > 0 {}
}

/// How long the console was held, by the kind that it was changed to.
#[derive(Clone, Default)]
struct Pauses(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    kind: usize,
    began: Option<Instant>,
    times: [Vec<Duration>; KINDS.len()],
}

impl Pauses {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl FreezeWatch for Pauses {
    fn begin(&mut self) {
        self.state().began = Some(Instant::now());
    }

    fn end(&mut self) {
        let now = Instant::now();
        let mut state = self.state();
        let (kind, began) = (state.kind, state.began.take());
        state.times[kind].extend(began.map(|began| now - began));
    }
}
