//! What happens to output while nobody is there: named, settable while the console prints, counted.

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{DEADLINE, add, change, ring, wait_for};
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{BlockingFrontEnd, Chardevs, Closed, FrontEnd, PolicyChange};

fn server(path: &std::path::Path) -> Options {
    let addr = SocketAddress::Unix {
        path: path.to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    };
    Options::new("socket")
        .with("addr", OptionValue::Address(addr))
        .with("server", OptionValue::Bool(true))
}

fn history(options: Options, bytes: i64) -> Options {
    options
        .with("x-closed", OptionValue::Str("history".to_owned()))
        .with("x-history", OptionValue::Int(bytes))
}

/// Byte `at` of what the console prints.
fn byte(at: usize) -> u8 {
    ((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8
}

fn print(front: &FrontEnd, from: usize, count: usize) -> usize {
    let bytes: Vec<u8> = (from..from + count).map(byte).collect();
    front.write_all(&bytes, Some(DEADLINE)).unwrap()
}

/// Reads at least `some` bytes, says that it has seen enough, and takes what is still on its way.
fn visit(path: &std::path::Path, some: usize) -> Vec<u8> {
    let mut peer = UnixStream::connect(path).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut seen = vec![0; some];
    peer.read_exact(&mut seen).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    peer.read_to_end(&mut seen).unwrap();
    seen
}

/// Where in the output, from `from` on, `piece` stands.
fn find(piece: &[u8], from: usize, end: usize) -> Option<usize> {
    (from..end).find(|start| {
        let mut bytes = piece.iter().enumerate();
        bytes.all(|(at, seen)| *seen == byte(start + at))
    })
}

#[test]
fn history_is_replayed_at_full_speed_without_a_seam() {
    for size in [64 << 20, 4096] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("con0");
        let chardevs = Chardevs::new().unwrap();
        add(&chardevs, "con0", &history(server(&path), size));
        let front = chardevs.front_end("con0", Arc::new(())).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let writer = std::thread::spawn(move || {
            let mut printed = 0;
            while !stopped.load(Ordering::Relaxed) && printed < 60 << 20 {
                printed += print(&front, printed, 977);
            }
            (printed, front)
        });
        let visits: Vec<Vec<u8>> = (1..20).map(|round| visit(&path, round * 700)).collect();
        stop.store(true, Ordering::Relaxed);
        let (printed, front) = writer.join().unwrap();
        let dropped = front.stats().output_overwritten as usize;
        let mut at = 0;
        let mut missing = 0;
        for piece in &visits {
            let start = find(piece, at, printed).expect("a piece of the output without a seam");
            missing += start - at;
            at = start + piece.len();
        }
        if size > 4096 {
            assert_eq!((missing, dropped), (0, 0));
        }
        // What nobody has seen was counted or is still kept.
        let kept = printed - at;
        assert!(missing <= dropped && dropped <= missing + kept, "{size}");
    }
}

#[test]
fn a_policy_changes_while_the_console_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    let hold = server(&path).with("x-closed", OptionValue::Str("hold".to_owned()));
    add(&chardevs, "con0", &hold);
    let front = Arc::new(chardevs.front_end("con0", Arc::new(())).unwrap());
    let waiting = Arc::clone(&front);
    let writer = std::thread::spawn(move || print(&waiting, 0, 5000));
    let set = |closed, history| {
        let change = PolicyChange {
            closed: Some(closed),
            history: Some(history),
            ..PolicyChange::default()
        };
        chardevs.set_policy("con0", change).unwrap();
    };
    set(Closed::History, 1000);
    // Who waited goes on, and the newest bytes are there for whoever comes.
    assert_eq!(writer.join().unwrap(), 5000);
    assert_eq!(front.stats().output_overwritten, 4000);
    set(Closed::History, 600);
    assert_eq!(front.stats().output_overwritten, 4400);
    let seen = visit(&path, 600);
    assert_eq!(seen, (4400..5000).map(byte).collect::<Vec<_>>());
    wait_for("the end", || (!front.is_open()).then_some(()));
    set(Closed::Discard, 600);
    assert_eq!(print(&front, 5000, 10), 10);
    assert_eq!(front.stats().output_discarded, 10);
    let missing = chardevs.set_policy("con9", PolicyChange::default());
    assert!(missing.unwrap_err().to_string().contains("con9"));
}

#[test]
fn a_change_keeps_the_policy_unless_it_names_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let chardevs = Chardevs::new().unwrap();
    add(&chardevs, "con0", &history(server(&path("a")), 100));
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    print(&front, 0, 50);
    // What is kept goes along to the next back end.
    change(&chardevs, "con0", &server(&path("b"))).unwrap();
    print(&front, 50, 50);
    change(&chardevs, "con0", &ring(64)).unwrap();
    change(&chardevs, "con0", &server(&path("c"))).unwrap();
    assert_eq!(front.stats().output_overwritten, 36);
    assert_eq!(
        visit(&path("c"), 64),
        (36..100).map(byte).collect::<Vec<_>>()
    );
}

#[test]
fn a_peer_that_takes_nothing_is_waited_for_as_long_as_the_policy_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("con0");
    let chardevs = Chardevs::new().unwrap();
    let options = server(&path).with("x-drain-ms", OptionValue::Int(50));
    add(&chardevs, "con0", &options);
    let front = chardevs.front_end("con0", Arc::new(())).unwrap();
    let _peer = UnixStream::connect(&path).unwrap();
    wait_for("a peer", || front.is_open().then_some(()));
    let taken = front.write(&[b'x'; 1 << 20]);
    let began = std::time::Instant::now();
    change(&chardevs, "con0", &ring(64)).unwrap();
    let lost = wait_for("the count", || {
        let lost = front.stats().output_undrained;
        (lost > 0).then_some(lost)
    });
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(lost as usize >= taken, "{lost} of {taken}");
    for (name, value) in [
        ("x-drain-ms", -1),
        ("x-history", -1),
        ("x-history", 2 << 30),
    ] {
        let bad = ring(64).with(name, OptionValue::Int(value));
        let error = change(&chardevs, "con0", &bad).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("Parameter '{name}' expects")),
            "{error}"
        );
    }
}
