//! Viewers on real sockets: exact streams, explicit gaps, and a console that never waits for them.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{DEADLINE, add, change, ring, wait_for};
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{BlockingFrontEnd, Chardevs, FrontEnd, Slow, ViewFrom, Watch};

const FRAMED: Watch = Watch {
    from: ViewFrom::Now,
    slow: Slow::Skip,
    framed: true,
};
const RAW: Watch = Watch {
    framed: false,
    ..FRAMED
};

fn console() -> (Chardevs, FrontEnd) {
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &Options::new("null"));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    (chardevs, front)
}

fn watch(chardevs: &Chardevs, watch: &Watch) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    chardevs.watch("con0", theirs.into(), watch).unwrap();
    ours
}

fn read_text(viewer: &mut UnixStream, count: usize) -> String {
    let mut text = vec![0; count];
    viewer.read_exact(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// The output that these tests print: it does not repeat within a scrollback.
struct Print {
    pattern: Vec<u8>,
    at: u64,
}

/// A prime, so that no power of two fits into it.
const PERIOD: usize = 2_000_003;
/// What a terminal or a guest's driver writes at once.
const BLOCK: usize = 4 << 10;

impl Print {
    fn new() -> Self {
        let byte = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        let pattern = (0..PERIOD + (64 << 10)).map(|at| byte((at % PERIOD) as u64));
        Print {
            pattern: pattern.collect(),
            at: 0,
        }
    }

    /// What stands at offset `at`, `count` bytes of it.
    fn expected(&self, at: u64, count: usize) -> &[u8] {
        let start = (at % PERIOD as u64) as usize;
        &self.pattern[start..start + count]
    }

    /// Prints a block.
    fn block(&mut self, front: &FrontEnd) {
        let block = self.expected(self.at, BLOCK);
        let taken = front.write_all(block, Some(DEADLINE)).unwrap();
        assert_eq!(taken, BLOCK, "the console waits");
        self.at += BLOCK as u64;
    }

    /// Prints for a moment and returns bytes per second.
    fn speed(&mut self, front: &FrontEnd, moment: Duration) -> f64 {
        let (began, from) = (Instant::now(), self.at);
        while began.elapsed() < moment {
            self.block(front);
        }
        (self.at - from) as f64 / began.elapsed().as_secs_f64()
    }
}

#[test]
fn a_viewer_follows_the_console_through_changes_to_its_end() {
    let (chardevs, front) = console();
    front.write(b"before ");
    let mut raw = watch(&chardevs, &RAW);
    let mut framed = watch(&chardevs, &FRAMED);
    front.write(b"one ");
    assert_eq!(read_text(&mut raw, 4), "one ");
    for backend in [ring(64), Options::new("pty"), Options::new("null")] {
        change(&chardevs, "con0", &backend).unwrap();
        front.write(b"two ");
        assert_eq!(read_text(&mut raw, 4), "two ");
    }
    assert_eq!(chardevs.stats("con0").unwrap().output_accepted, 23);
    drop(front);
    chardevs.blocking_remove("con0").unwrap();
    let mut rest = String::new();
    raw.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    framed.read_to_string(&mut rest).unwrap();
    let (data, end) = rest.rsplit_once("two ").unwrap();
    assert!(data.starts_with("data 7 "), "{rest:?}");
    assert_eq!(end, "end removed\n");
}

#[test]
fn an_older_offset_is_replayed_and_what_is_gone_is_said() {
    let (chardevs, front) = console();
    let _first = watch(&chardevs, &RAW);
    front.write(&vec![b'.'; 1 << 20]);
    front.write(b"kept");
    let from = |at| Watch {
        from: ViewFrom::Offset(at),
        ..RAW
    };
    assert_eq!(
        read_text(&mut watch(&chardevs, &from((1 << 20) + 1)), 3),
        "ept"
    );
    let notice = "\r\n[chardev con0: 4 bytes are missing here, offset 0 to 4]\r\n";
    let mut late = watch(&chardevs, &from(0));
    assert_eq!(read_text(&mut late, notice.len() + 1), format!("{notice}."));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ahead = chardevs
        .watch("con0", theirs.into(), &from(1 << 30))
        .unwrap_err();
    let expected =
        "Chardev 'con0' has no output at offset 1073741824 yet: its output ends at 1048580";
    assert_eq!(ahead.to_string(), expected);
    drop(ours);
}

#[test]
fn only_connected_stream_sockets_can_view() {
    let (chardevs, _front) = console();
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = chardevs.watch("con0", file.into(), &RAW).unwrap_err();
    let expected =
        "The viewer's file descriptor is not a socket; pass one end of a connected stream socket";
    assert_eq!(error.to_string(), expected);
    let (one, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    assert!(chardevs.watch("con0", one.into(), &RAW).is_err());
    let (one, _other) = UnixStream::pair().unwrap();
    let error = chardevs.watch("nobody", one.into(), &RAW).unwrap_err();
    assert_eq!(error.to_string(), "Chardev 'nobody' not found");
}

/// One that has everything, one with offsets, and one that has taken nothing for long.
#[test]
fn a_viewer_is_ended_by_the_program_and_told_why() {
    let (chardevs, front) = console();
    let begin = |watch: &Watch| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        (ours, chardevs.watch("con0", theirs.into(), watch).unwrap())
    };
    let (mut stays, _watching) = begin(&RAW);
    let mut all = [begin(&RAW), begin(&FRAMED), begin(&FRAMED)];
    front.write(b"seen");
    // Who has not read this would lose a part of what comes, which fills the scrollback.
    for viewer in [&mut stays, &mut all[0].0] {
        assert_eq!(read_text(viewer, 4), "seen");
    }
    assert_eq!(read_text(&mut all[1].0, 13), "data 0 4\nseen");
    front.write(&[b'.'; 1 << 20]);
    let mut last = [0; 1 << 20];
    for viewer in [&mut stays, &mut all[0].0] {
        viewer.read_exact(&mut last).unwrap();
    }
    assert!(read_text(&mut all[1].0, 1 << 20).ends_with('.'));
    for (_, watching) in &all {
        assert_eq!(watching.offset(), 0);
        watching.revoke();
    }
    front.write(b"not seen");
    let ends = [
        "[chardev con0: viewer ended, it may not look any more]\r\n",
        "end revoked\n",
        "end revoked\n",
    ];
    for ((mut viewer, watching), end) in all.into_iter().zip(ends) {
        let mut rest = String::new();
        viewer.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with(end), "{rest}");
        assert!(rest.len() < 1 << 20 && !rest.contains("not seen"));
        chardevs.block_on(watching.ended());
    }
    assert_eq!(read_text(&mut stays, 8), "not seen");
}

#[test]
fn a_viewer_that_is_to_be_dropped_when_slow_is_dropped() {
    let (chardevs, front) = console();
    let mut viewer = watch(
        &chardevs,
        &Watch {
            slow: Slow::Drop,
            ..RAW
        },
    );
    let mut print = Print::new();
    // The socket's buffer, the whole scrollback and as much again.
    while print.at < 4 << 20 {
        print.block(&front);
    }
    let mut all = Vec::new();
    viewer.read_to_end(&mut all).unwrap();
    let notice = b"\r\n[chardev con0: viewer ended, it was ";
    let data = all.windows(notice.len()).position(|part| part == notice);
    let data = &all[..data.unwrap()];
    for (index, part) in data.chunks(BLOCK).enumerate() {
        assert!(part == print.expected((index * BLOCK) as u64, part.len()));
    }
    wait_for("its departure", || {
        (chardevs.viewers("con0") == Some(0)).then_some(())
    });
}

#[test]
fn viewers_that_are_killed_leave_nothing_behind() {
    let (chardevs, front) = console();
    let mut print = Print::new();
    for _ in 0..20 {
        let viewers: Vec<_> = (0..20).map(|_| watch(&chardevs, &FRAMED)).collect();
        print.block(&front);
        drop(viewers);
        wait_for("their departure", || {
            (chardevs.viewers("con0") == Some(0)).then_some(())
        });
    }
    // What was kept for them goes with the last one, a moment after it.
    wait_for("nothing is kept, because nobody views", || {
        let history = chardevs.history("con0", ViewFrom::Oldest, 99).unwrap();
        (history.oldest == history.end && history.bytes.is_empty()).then_some(())
    });
}

/// Reads a framed stream to its end and checks every byte; returns the bytes seen and missing.
fn check_stream(stream: UnixStream, print: &Print) -> (u64, u64) {
    // It stands for a process elsewhere, whose own time is not the console's.
    rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19).unwrap();
    stream.set_read_timeout(Some(4 * DEADLINE)).unwrap();
    let mut stream = BufReader::with_capacity(64 << 10, stream);
    let (mut at, mut seen, mut missing) = (None, 0, 0);
    let (mut line, mut data) = (String::new(), Vec::new());
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        match words[..] {
            ["data", _, _] => {
                let (offset, size) = (number(1), number(2));
                assert_eq!(offset, *at.get_or_insert(offset), "a gap that is not said");
                data.resize(size as usize, 0);
                stream.read_exact(&mut data).unwrap();
                assert!(
                    data == print.expected(offset, data.len()),
                    "wrong bytes at {offset}"
                );
                at = Some(offset + size);
                seen += size;
            }
            ["gap", _, _] => {
                assert_eq!(number(1), *at.get_or_insert(number(1)));
                assert!(number(2) > number(1));
                missing += number(2) - number(1);
                at = Some(number(2));
            }
            ["end", "removed"] => return (seen, missing),
            _ => panic!("not a frame, at {at:?}: {line:?}"),
        }
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB").parse::<u64>();
    kib.unwrap() << 10
}

/// Reads to the end, as the console's peer.
fn swallow(mut peer: UnixStream) {
    let mut buf = vec![0; 256 << 10];
    loop {
        match peer.read(&mut buf) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_hundred_viewers_half_of_them_stalled_cost_a_fifth_of_the_speed_at_most() {
    let chardevs = Chardevs::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console");
    let address = SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: false,
    };
    let socket = Options::new("socket")
        .with("addr", OptionValue::Address(address))
        .with("wait", OptionValue::Bool(false));
    add(&chardevs, "con0", &socket);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let peer = UnixStream::connect(&path).unwrap();
    assert!(front.wait_connected(Some(DEADLINE)).unwrap());
    let peer = std::thread::spawn(move || swallow(peer));

    let moment = Duration::from_millis(200);
    let (mut print, checker) = (Print::new(), Print::new());
    // The best of several moments: others use this machine too.
    let alone = (0..8)
        .map(|_| print.speed(&front, moment))
        .fold(0f64, f64::max);
    let began_at = print.at;
    let memory_before = resident();
    let stalled: Vec<_> = (0..50).map(|_| watch(&chardevs, &FRAMED)).collect();
    let live: Vec<_> = (0..50).map(|_| watch(&chardevs, &FRAMED)).collect();
    let streams = std::thread::scope(|scope| {
        let checker = &checker;
        let live: Vec<_> = live
            .into_iter()
            .map(|stream| scope.spawn(move || check_stream(stream, checker)))
            .collect();
        let (mut viewed, mut memory) = (0f64, 0);
        // Over as soon as the console is fast enough; fails if it never is.
        for _ in 0..100 {
            viewed = viewed.max(print.speed(&front, moment));
            memory = memory.max(resident());
            if viewed >= alone * 0.8 && print.at - began_at > 64 << 20 {
                break;
            }
        }
        let grown = memory.saturating_sub(memory_before) >> 20;
        let speeds =
            format!("alone {alone:.3e} B/s, with viewers {viewed:.3e} B/s, memory +{grown} MiB");
        println!("{speeds}");
        assert!(viewed >= alone * 0.8, "{speeds}");
        assert!(grown < 16, "{speeds}");
        assert_eq!(chardevs.viewers("con0"), Some(100));
        drop(front);
        chardevs.blocking_remove("con0").unwrap();
        live.into_iter()
            .map(|viewer| viewer.join().unwrap())
            .collect::<Vec<_>>()
    });
    for (seen, missing) in &streams {
        assert_eq!(seen + missing, print.at - began_at);
        assert!(*seen > 0);
    }
    let seen: u64 = streams.iter().map(|(seen, _)| seen).sum();
    println!("{} MB in 50 streams, each exact", seen / 1_000_000);
    drop(stalled);
    peer.join().unwrap();
}
