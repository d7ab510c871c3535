//! One console to many viewers over sockets, beside a loop of bare `send` calls to as many sockets.
//!
//! `cargo bench -p chardev --bench fan_out [VIEWERS [MIB]]` sends MIB to each, in turn by each way,
//! and prints the CPU time of the thread that sends. The viewers' thread does more: it copies the
//! output out of the scrollback, waits for sockets and keeps cursors.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing to say"
)]

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chardev::spec::Options;
use chardev::{Chardevs, Slow, ViewFrom, Watch};
use rustix::event::epoll;
use rustix::net::{SendFlags, send};

const ROUNDS: usize = 5;
/// What a console prints at once, and what the loop sends at once.
const BLOCK: usize = 4 << 10;
const PIECE: usize = 64 << 10;
/// The console waits for the slowest viewer when that is so far behind, or it would miss something.
const AHEAD: u64 = 512 << 10;
/// How long the readers may take for what was sent before it is given up.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|arg| arg.parse::<u64>().ok());
    let viewers = numbers.next().unwrap_or(1000) as usize;
    let bytes = numbers.next().unwrap_or(8) << 20;
    let gib = viewers as f64 * bytes as f64 / f64::from(1 << 30);
    println!("{viewers} viewers, {} MiB each", bytes >> 20);
    println!("| round | viewers: CPU s per GiB | s | send: CPU s per GiB | s | CPU, send = 1 |");
    println!("| --: | --: | --: | --: | --: | --: |");
    let mut ratios: Vec<f64> = (1..=ROUNDS)
        .map(|round| {
            let (ours, ours_took) = by_viewers(viewers, bytes);
            let (bare, bare_took) = by_send(viewers, bytes);
            let ratio = ours.as_secs_f64() / bare.as_secs_f64();
            println!(
                "| {round} | {:.3} | {:.2} | {:.3} | {:.2} | {ratio:.2} |",
                ours.as_secs_f64() / gib,
                ours_took.as_secs_f64(),
                bare.as_secs_f64() / gib,
                bare_took.as_secs_f64(),
            );
            ratio
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("median of the ratios: {:.2}", ratios[ROUNDS / 2]);
}

/// The CPU time of the viewers' thread, and how long it took.
fn by_viewers(count: usize, bytes: u64) -> (Duration, Duration) {
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("con0", Options::new("null")).unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let watch = Watch {
        from: ViewFrom::Now,
        slow: Slow::Skip,
        framed: false,
    };
    let readers = Readers::start(count, bytes, |theirs| {
        chardevs.watch("con0", theirs.into(), &watch).unwrap();
    });
    let (began, block) = (Instant::now(), [b'.'; BLOCK]);
    let mut printed = 0;
    while printed < bytes {
        readers.wait_for(printed.saturating_sub(AHEAD));
        assert_eq!(front.write(&block), BLOCK, "the console waits");
        printed += BLOCK as u64;
    }
    readers.wait_for(bytes);
    let took = began.elapsed();
    (thread_time("chardev-viewers"), took)
}

/// The CPU time of this thread, and how long it took.
fn by_send(count: usize, bytes: u64) -> (Duration, Duration) {
    let mut sockets = Vec::new();
    let readers = Readers::start(count, bytes, |theirs| sockets.push(theirs));
    let (began, before) = (Instant::now(), own_time());
    let piece = [b'.'; PIECE];
    for _ in 0..bytes / PIECE as u64 {
        for socket in &sockets {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                rest = &rest[send(socket, rest, SendFlags::NOSIGNAL).unwrap()..];
            }
        }
    }
    let spent = own_time() - before;
    readers.wait_for(bytes);
    (spent, began.elapsed())
}

/// The other ends, which one thread reads as fast as it can until each has `bytes`.
struct Readers {
    slowest: Arc<Slowest>,
    /// The sockets are its result, so that no viewer ends before its time was looked at.
    _thread: JoinHandle<Vec<(UnixStream, u64)>>,
}

/// How far the slowest of them has come.
#[derive(Default)]
struct Slowest {
    bytes: Mutex<u64>,
    changed: Condvar,
}

impl Readers {
    fn start(count: usize, bytes: u64, mut with: impl FnMut(UnixStream)) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut ends = Vec::new();
        for index in 0..count {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &ours, data, epoll::EventFlags::IN).unwrap();
            ends.push((ours, 0u64));
            with(theirs);
        }
        let slowest = Arc::<Slowest>::default();
        let told = Arc::clone(&slowest);
        let thread = std::thread::spawn(move || {
            let mut events = Vec::with_capacity(64);
            let mut buf = vec![0; 256 << 10];
            let mut least = 0;
            while least < bytes {
                events.clear();
                let room = rustix::buffer::spare_capacity(&mut events);
                epoll::wait(&epoll, room, None).unwrap();
                for event in &events {
                    let (socket, got) = &mut ends[event.data.u64() as usize];
                    *got += socket.read(&mut buf).unwrap() as u64;
                    assert!(*got <= bytes, "a gap was told: a viewer was too slow");
                }
                least = ends.iter().map(|(_, got)| *got).min().unwrap_or(bytes);
                *told.bytes.lock().unwrap() = least;
                told.changed.notify_all();
            }
            ends
        });
        Readers {
            slowest,
            _thread: thread,
        }
    }

    /// Waits until each of them has so much.
    fn wait_for(&self, bytes: u64) {
        let Slowest {
            bytes: got,
            changed,
        } = &*self.slowest;
        let waiting = changed.wait_timeout_while(got.lock().unwrap(), DEADLINE, |got| *got < bytes);
        let (got, waited) = waiting.unwrap();
        assert!(
            !waited.timed_out(),
            "somebody has only {got} of {bytes} bytes"
        );
    }
}

fn own_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// What the kernel says of the thread of this name (`proc_pid_schedstat`).
fn thread_time(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let named = tasks.map(|task| task.unwrap().path()).find(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    });
    let schedstat = std::fs::read_to_string(named.unwrap().join("schedstat")).unwrap();
    let nanoseconds = schedstat.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanoseconds)
}
