//! A front end's write to a descriptor that is ready allocates nothing, and neither does its read.
//! It is one call of the kernel under one lock, too: `src/back/socket/transport/calls.rs` counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chardev::spec::{InetAddress, OptionValue, Options, SocketAddress};
use chardev::{Chardevs, Event, FrontEnd};

const DEADLINE: Duration = Duration::from_secs(20);
const LINE: &[u8] = b"the quick brown fox jumps over the lazy dog\n";
/// How often something is done, after it was done as often to have everything there.
const TIMES: usize = 20;

thread_local! {
    /// How often this thread has asked for memory.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came. The counter is a plain number of
// the thread, which needs no memory and has nothing to be dropped.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller's promise is the one that is asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`, where it came from.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

fn asked_by(work: impl FnOnce()) -> u64 {
    let before = ASKED.get();
    work();
    ASKED.get() - before
}

#[test]
fn what_is_allocated_is_counted() {
    assert_eq!(asked_by(|| drop(Box::new([0u8; 64]))), 1);
}

#[test]
fn over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer");
    let listener = UnixListener::bind(&path).unwrap();
    let address = SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    };
    let (_chardevs, front) = console(client(address));
    let (peer, _) = listener.accept().unwrap();
    costs_nothing(&front, &peer, &peer);
}

#[test]
fn over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = SocketAddress::Inet(InetAddress {
        host: "127.0.0.1".to_owned(),
        port: port.to_string(),
        ..InetAddress::default()
    });
    let (_chardevs, front) = console(client(address));
    let (peer, _) = listener.accept().unwrap();
    costs_nothing(&front, &peer, &peer);
}

#[test]
fn over_a_pty() {
    let (chardevs, front) = console(Options::new("pty"));
    let path = chardevs.info("con0").unwrap().pty.unwrap();
    let peer = File::options().read(true).write(true).open(path).unwrap();
    let end = Instant::now() + DEADLINE;
    while !front.is_open() {
        assert!(Instant::now() < end, "nobody notices who opens the pty");
        std::thread::yield_now();
    }
    costs_nothing(&front, &peer, &peer);
}

fn client(address: SocketAddress) -> Options {
    let options = Options::new("socket").with("addr", OptionValue::Address(address));
    options.with("server", OptionValue::Bool(false))
}

fn console(options: Options) -> (Chardevs, FrontEnd) {
    let chardevs = Chardevs::new().unwrap();
    chardevs.blocking_add("con0", options).unwrap();
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    (chardevs, front)
}

/// Writes and reads, each with the peer's part in between, which is not counted.
fn costs_nothing(front: &FrontEnd, mut from: impl Read, mut to: impl Write) {
    while let Some(event) = front.next_event() {
        assert_eq!(event, Event::Opened);
    }
    let (mut got, mut input) = ([0; LINE.len()], [0; LINE.len()]);
    let mut asked = [0, 0];
    for turn in 0..2 * TIMES {
        let counts = turn >= TIMES;
        let (end, mut written) = (Instant::now() + DEADLINE, 0);
        let writing = asked_by(|| {
            // A pty that has just been opened takes nothing at first.
            while written < LINE.len() {
                written += front.write(&LINE[written..]);
                assert!(Instant::now() < end, "nothing is taken");
            }
        });
        from.read_exact(&mut got).unwrap();
        assert_eq!(got, *LINE);
        to.write_all(LINE).unwrap();
        let (end, mut read) = (Instant::now() + DEADLINE, 0);
        let reading = asked_by(|| {
            while read < LINE.len() {
                read += front.read(&mut input[read..]);
                assert!(Instant::now() < end, "nothing comes");
            }
        });
        if counts {
            asked = [asked[0] + writing, asked[1] + reading];
        }
    }
    assert_eq!(asked, [0, 0], "asked for memory by writes, and by reads");
}
