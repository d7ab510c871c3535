//! Operations of a chardev, and how often each allocates.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chardev::Chardevs;
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev_core::FrontEnd;

use crate::counted::calls;

/// How often an operation is done before it counts, and then.
const WARM: u64 = 50;
const COUNT: u64 = 200;
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Prints each operation with its allocations, a line each.
pub(crate) fn print() {
    let bed = Bed::new();
    let line = |name: &str, allocations: f64| println!("{name} = {allocations}");
    let mut peer = &bed.peer;
    let mut buf = [0; 4096];
    let wrote = per_operation(|| {
        assert_eq!(bed.front.write(b"a line of output\r\n"), 18, "it is ready");
        peer.read_exact(&mut buf[..18]).expect("the output comes");
    });
    line("write to a ready socket", wrote);
    let read = per_operation(|| {
        peer.write_all(b"input").expect("there is room");
        let end = Instant::now() + DEADLINE;
        // On a socket pair of one machine it is there; a busy one may want a moment.
        while bed.front.read(&mut buf) == 0 {
            assert!(Instant::now() < end, "no input comes");
            thread::yield_now();
        }
    });
    line("read of what is there", read);
    let chardevs = &bed.chardevs;
    line(
        "query of one chardev",
        per_operation(|| drop(chardevs.info("con0"))),
    );
    line(
        "statistics of one chardev",
        per_operation(|| assert!(chardevs.stats("con0").is_some())),
    );
    let changed = |to: fn() -> Options| {
        per_operation(|| drop(chardevs.blocking_change("con1", to()).expect("it changes")))
    };
    line("change of null for null", changed(|| Options::new("null")));
    line("change of ringbuf for ringbuf", changed(ring));
}

fn ring() -> Options {
    Options::new("ringbuf").with("size", OptionValue::Int(4096))
}

/// How often all threads allocate for each, to a tenth.
fn per_operation(mut operation: impl FnMut()) -> f64 {
    (0..WARM).for_each(|_| operation());
    let before = calls();
    (0..COUNT).for_each(|_| operation());
    let count = (calls() - before) as f64 / COUNT as f64;
    (count * 10.0).round() / 10.0
}

/// A chardev over a socket, with its peer, and another.
struct Bed {
    chardevs: Chardevs,
    front: FrontEnd,
    peer: UnixStream,
    _dir: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("peer");
        let listener = UnixListener::bind(&path).expect("a socket");
        let chardevs = Chardevs::new().expect("a thread");
        let address = SocketAddress::Unix {
            path: path.display().to_string(),
            abstract_name: false,
            tight: false,
        };
        let socket = Options::new("socket")
            .with("addr", OptionValue::Address(address))
            .with("server", OptionValue::Bool(false));
        chardevs.blocking_add("con0", socket).expect("a chardev");
        chardevs
            .blocking_add("con1", Options::new("null"))
            .expect("another");
        let front = chardevs
            .front_end("con0", Arc::new(()))
            .expect("a front end");
        let (peer, _) = listener.accept().expect("its peer");
        while front.next_event().is_some() {}
        Bed {
            chardevs,
            front,
            peer,
            _dir: dir,
        }
    }
}
