//! Several I/O threads: chardevs are spread over them, those that are relayed to each other come
//! together, and nothing of what is promised depends on who is where.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::common::{DEADLINE, add, ring, wait_for};
use crate::everything::{Console, INPUT, Peers, check, letters, mux, read_all};
use chardev::spec::{OptionValue, Options, SocketAddress};
use chardev::{Action, Chardevs, IO_THREADS_LIMIT};

const CHANGES: usize = 60;

fn several(most: usize) -> Chardevs {
    let chardevs = Chardevs::new().unwrap();
    chardevs.set_io_threads(most, 0);
    chardevs
}

fn server(dir: &tempfile::TempDir, id: &str) -> Options {
    let addr = SocketAddress::Unix {
        path: dir.path().join(id).to_str().unwrap().to_owned(),
        abstract_name: false,
        tight: true,
    };
    Options::new("socket")
        .with("addr", OptionValue::Address(addr))
        .with("server", OptionValue::Bool(true))
        .with("wait", OptionValue::Bool(false))
}

/// On which thread these are served, together.
fn thread_of(chardevs: &Chardevs, ids: &[&str]) -> String {
    let name = async { std::thread::current().name().map(str::to_owned) };
    let name = chardevs.block_on(chardevs.spawn_beside(ids, name));
    name.flatten().unwrap()
}

fn threads(chardevs: &Chardevs) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    chardevs.spawn_on_each(|| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    // Each task drops its share when it has ended.
    wait_for("the threads", || {
        (Arc::strong_count(&count) == 1).then_some(())
    });
    count.load(Ordering::SeqCst)
}

fn counted(names: impl Iterator<Item = String>) -> Vec<usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts.into_values().collect()
}

#[test]
fn consoles_are_spread_over_threads_that_are_made_when_they_are_needed() {
    let (chardevs, dir) = (several(3), tempfile::tempdir().unwrap());
    for id in ["r0", "r1", "r2", "r3"] {
        add(&chardevs, id, &ring(64));
    }
    assert_eq!(threads(&chardevs), 1, "a ring buffer needs no thread");
    let ids: Vec<String> = (0..9).map(|at| format!("c{at}")).collect();
    let mut made = Vec::new();
    for id in &ids {
        add(&chardevs, id, &server(&dir, id));
        made.push(threads(&chardevs));
    }
    assert_eq!(made, [1, 2, 3, 3, 3, 3, 3, 3, 3]);
    let of = |id: &String| thread_of(&chardevs, &[id]);
    assert_eq!(counted(ids.iter().map(of)), [3, 3, 3]);
    // A further back end is served where the first one was, and a place that is left is taken.
    let before = of(&ids[4]);
    let moved = server(&dir, "elsewhere");
    chardevs.blocking_change(&ids[4], moved).unwrap();
    assert_eq!(of(&ids[4]), before);
    chardevs.blocking_remove(&ids[4]).unwrap();
    wait_for("its place", || {
        add(&chardevs, "next", &server(&dir, "next"));
        let found = thread_of(&chardevs, &["next"]) == before;
        chardevs.blocking_remove("next").unwrap();
        found.then_some(())
    });
}

#[test]
fn there_is_one_thread_unless_more_are_allowed() {
    let (chardevs, dir) = (several(1), tempfile::tempdir().unwrap());
    for id in ["a", "b"] {
        add(&chardevs, id, &server(&dir, id));
    }
    assert_eq!(thread_of(&chardevs, &["a", "b"]), "chardev-io");
    chardevs.set_io_threads(2, 0);
    for id in ["c", "d"] {
        add(&chardevs, id, &server(&dir, id));
    }
    // Those that were there before stay, and who is relayed to one of them comes to it.
    assert_eq!(threads(&chardevs), 2);
    assert_eq!(thread_of(&chardevs, &["d"]), "chardev-io-2");
    assert_eq!(thread_of(&chardevs, &["d", "a"]), "chardev-io");
    chardevs.set_io_threads(1000, 0);
    assert_eq!(chardevs.io_threads(), IO_THREADS_LIMIT);
}

#[test]
fn what_is_relayed_to_each_other_comes_together_and_is_spread_as_well() {
    let (chardevs, dir) = (several(2), tempfile::tempdir().unwrap());
    let ids: Vec<String> = (0..8).map(|at| format!("c{at}")).collect();
    for id in &ids {
        add(&chardevs, id, &server(&dir, id));
    }
    let pairs = ids.chunks(2).map(|pair| {
        let relay = thread_of(&chardevs, &[&pair[0], &pair[1]]);
        assert_eq!(relay, thread_of(&chardevs, &[&pair[0]]));
        assert_eq!(relay, thread_of(&chardevs, &[&pair[1]]));
        relay
    });
    assert_eq!(counted(pairs), [2, 2]);
    // What a multiplexer rests on comes along.
    add(&chardevs, "base", &server(&dir, "base"));
    add(&chardevs, "mux0", &mux("base"));
    let relay = thread_of(&chardevs, &["mux0", &ids[0]]);
    assert_eq!(relay, thread_of(&chardevs, &["base"]));
}

/// A console is brought to another thread again and again, while its peer types and it waits for
/// that: no readiness is lost.
#[test]
fn a_console_moves_from_thread_to_thread_under_load() {
    const MOVES: usize = 300;
    let (chardevs, dir) = (several(3), tempfile::tempdir().unwrap());
    for id in ["a", "b", "c", "d"] {
        add(&chardevs, id, &server(&dir, id));
    }
    let front = chardevs.front_end("a", Arc::new(())).unwrap();
    let reader = std::thread::spawn(move || read_all(&front, Some(MOVES * INPUT)));
    let mut peer = UnixStream::connect(dir.path().join("a")).unwrap();
    peer.set_write_timeout(Some(DEADLINE)).unwrap();
    let mut seen = Vec::new();
    for at in 0..MOVES {
        // With the two others of its thread away, it is the one with the fewest.
        let others: [&str; 3] = [["b", "c", "d"], ["c", "d", "b"], ["d", "b", "c"]][at % 3];
        thread_of(&chardevs, &[others[0], others[1]]);
        seen.push(thread_of(&chardevs, &["a", others[at % 2]]));
        peer.write_all(&letters(b'a', at * INPUT, INPUT)).unwrap();
    }
    check("input", b'a', &reader.join().unwrap(), MOVES * INPUT);
    assert!(counted(seen.into_iter()).len() > 1, "it never moved");
}

/// Consoles of three threads are changed in one transaction, again and again, at full speed.
#[test]
fn transactions_change_consoles_of_several_threads_at_once() {
    const IDS: [&str; 4] = ["c0", "c1", "c2", "c3"];
    let chardevs = several(3);
    let mut peers = IDS.map(|_| Peers::new());
    for (id, peers) in IDS.iter().zip(&mut peers) {
        add(&chardevs, id, &peers.next());
        peers.arrived(true);
    }
    let expected = Some(INPUT * (CHANGES + 1));
    let consoles = IDS.map(|id| Console::start(&chardevs, id, b'A', expected));
    let spread = IDS.iter().map(|id| thread_of(&chardevs, &[id]));
    assert_eq!(counted(spread), [2, 1, 1]);
    for round in 0..CHANGES {
        let actions: Vec<Action> = IDS
            .iter()
            .zip(&mut peers)
            .map(|(id, peers)| Action::Change {
                id: (*id).to_owned(),
                options: peers.next(),
            })
            .collect();
        // Two of them come to other threads meanwhile.
        let (one, other) = (IDS[round % 4], IDS[(round / 4 + 1) % 4]);
        let moved = chardevs.spawn_beside(&[one, other], async {});
        chardevs.block_on(chardevs.transaction(&actions)).unwrap();
        chardevs.block_on(moved);
        for peers in &mut peers {
            peers.arrived(true);
        }
    }
    let finished = consoles.map(Console::finish);
    chardevs.block_on(chardevs.shut_down(Duration::from_secs(20)));
    for (peers, (written, input)) in peers.into_iter().zip(finished) {
        check("input", b'a', &input, INPUT * (CHANGES + 1));
        check("output", b'A', &peers.received(), written);
    }
}

/// What many consoles with little each share is one thread, and what is told to move much goes to
/// the others, with the tasks beside it.
#[test]
fn what_is_spread_out_takes_its_tasks_along() {
    let (chardevs, dir) = (several(1), tempfile::tempdir().unwrap());
    chardevs.set_io_threads(3, 2);
    let ids = ["a0", "b0", "a1", "b1", "a2", "b2"];
    for id in ids {
        add(&chardevs, id, &server(&dir, id));
    }
    let seats: Vec<Arc<Seat>> = ids.chunks(2).map(|_| Arc::default()).collect();
    let tasks = ids.chunks(2).zip(&seats).map(|(pair, seat)| {
        let seat = Arc::clone(seat);
        chardevs.spawn_beside(pair, std::future::poll_fn(move |cx| seat.poll(cx)))
    });
    let tasks: Vec<_> = tasks.collect();
    for seat in &seats {
        wait_for("a task on the first thread", || seat.is_on("chardev-io"));
    }
    assert_eq!(threads(&chardevs), 1);
    for pair in ids.chunks(2) {
        chardevs.spread_out(pair);
    }
    for (seat, name) in seats
        .iter()
        .zip(["chardev-io", "chardev-io-2", "chardev-io-3"])
    {
        wait_for(name, || seat.is_on(name));
    }
    // They are where they are to be, and stay there.
    for pair in ids.chunks(2) {
        chardevs.spread_out(pair);
    }
    assert_eq!(
        counted(ids.iter().map(|id| thread_of(&chardevs, &[id]))),
        [2, 2, 2]
    );
    tasks[2].give_up();
    seats[1].end.store(true, Ordering::SeqCst);
    wait_for("their end", || {
        (Arc::strong_count(&seats[2]) == 1).then_some(())
    });
    for (at, task) in tasks.into_iter().enumerate().skip(1) {
        seats[at].wake();
        let ended = chardevs.block_on(task);
        assert_eq!(ended, (at == 1).then_some("at its end"));
    }
}

/// Where a task was polled last, and how it is polled again.
#[derive(Default)]
struct Seat {
    last: Mutex<(Option<String>, Option<Waker>)>,
    end: AtomicBool,
}

impl Seat {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<&'static str> {
        let name = std::thread::current().name().map(str::to_owned);
        *self.last.lock().unwrap() = (name, Some(cx.waker().clone()));
        match self.end.load(Ordering::SeqCst) {
            true => Poll::Ready("at its end"),
            false => Poll::Pending,
        }
    }

    fn wake(&self) {
        let waker = self.last.lock().unwrap().1.clone();
        waker.into_iter().for_each(Waker::wake);
    }

    fn is_on(&self, name: &str) -> Option<()> {
        self.wake();
        (self.last.lock().unwrap().0.as_deref() == Some(name)).then_some(())
    }
}
