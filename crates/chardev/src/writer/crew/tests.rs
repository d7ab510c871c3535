//! The crew with jobs that hang, and jobs that are counted.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::state::{HANG_TOGETHER, REST};
use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// A job whose steps are counted, and hang while there is a gate in front of them.
struct Toy {
    ticket: Ticket,
    device: u64,
    begun: Sender<()>,
    gate: Mutex<Option<Receiver<()>>>,
    steps: AtomicUsize,
}

impl Toy {
    /// A job on `device`, what tells that a step has begun, and what lets steps go on once it is
    /// dropped.
    fn hanging(device: u64) -> (Arc<Toy>, Receiver<()>, Sender<()>) {
        let (go, gate) = channel();
        let (toy, begun) = Toy::new(device, Some(gate));
        (toy, begun, go)
    }

    fn new(device: u64, gate: Option<Receiver<()>>) -> (Arc<Toy>, Receiver<()>) {
        let (begin, begun) = channel();
        let toy = Toy {
            ticket: Ticket::new(),
            device,
            begun: begin,
            gate: Mutex::new(gate),
            steps: AtomicUsize::new(0),
        };
        (Arc::new(toy), begun)
    }

    fn rouse(self: &Arc<Self>, crew: &'static Crew, haste: Haste) {
        crew.rouse(Arc::<Toy>::clone(self), haste).unwrap();
    }

    fn steps(&self) -> usize {
        self.steps.load(Ordering::SeqCst)
    }
}

impl Job for Toy {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn device(&self) -> u64 {
        self.device
    }

    fn step(self: Arc<Self>) -> Next {
        self.steps.fetch_add(1, Ordering::SeqCst);
        // Who listens may have heard enough.
        let _ = self.begun.send(());
        if let Some(gate) = &*self.gate.lock().unwrap() {
            // An error is the gate's end, and so its opening.
            let _ = gate.recv();
        }
        Next::Done
    }
}

fn threads(crew: &Crew) -> usize {
    crew.lock().threads
}

#[test]
fn what_hangs_on_one_device_takes_few_threads_and_keeps_no_other_waiting() {
    static TEST: Crew = Crew::new();
    let hung: Vec<_> = (0..100).map(|_| Toy::hanging(1)).collect();
    let others: Vec<_> = (0..100).map(|_| Toy::new(2, None)).collect();
    for ((hung, ..), (other, _)) in hung.iter().zip(&others) {
        hung.rouse(&TEST, Haste::Paced);
        other.rouse(&TEST, Haste::Paced);
    }
    for (_, begun) in &others {
        begun.recv_timeout(DEADLINE).unwrap();
    }
    let begun = hung.iter().filter(|(toy, ..)| toy.steps() > 0).count();
    assert_eq!(begun, HANG_TOGETHER);
    assert!(threads(&TEST) <= HANG_TOGETHER + 2, "{}", threads(&TEST));
    // Once they come back the rest have their turns.
    let (begun, gates): (Vec<_>, Vec<_>) =
        hung.into_iter().map(|(_, begun, go)| (begun, go)).unzip();
    drop(gates);
    for begun in begun {
        begun.recv_timeout(DEADLINE).unwrap();
    }
}

#[test]
fn who_is_roused_during_a_step_has_another() {
    static TEST: Crew = Crew::new();
    let (toy, begun, go) = Toy::hanging(1);
    toy.rouse(&TEST, Haste::Now);
    begun.recv_timeout(DEADLINE).unwrap();
    toy.rouse(&TEST, Haste::Paced);
    toy.rouse(&TEST, Haste::Paced);
    drop(go);
    begun.recv_timeout(DEADLINE).unwrap();
    // And no more than one: another job's step, roused later, comes before a third would.
    let (other, other_begun) = Toy::new(1, None);
    other.rouse(&TEST, Haste::Paced);
    other_begun.recv_timeout(DEADLINE).unwrap();
    assert_eq!(toy.steps(), 2);
}

#[test]
fn passes_have_rests_between_them() {
    static TEST: Crew = Crew::new();
    let toys: Vec<_> = (0..10).map(|_| Toy::new(1, None)).collect();
    let began = Instant::now();
    for _ in 0..10_000 {
        for (toy, _) in &toys {
            toy.rouse(&TEST, Haste::Paced);
        }
    }
    let passes = 2 + began.elapsed().as_millis() / REST.as_millis();
    for (toy, begun) in toys {
        begun.recv_timeout(DEADLINE).unwrap();
        assert!(toy.steps() as u128 <= passes, "{} steps", toy.steps());
    }
}

#[test]
fn with_nothing_to_do_there_is_no_thread() {
    static TEST: Crew = Crew::new();
    let (toy, begun) = Toy::new(1, None);
    toy.rouse(&TEST, Haste::Now);
    begun.recv_timeout(DEADLINE).unwrap();
    let end = Instant::now() + DEADLINE;
    while threads(&TEST) > 0 {
        assert!(Instant::now() < end, "a thread stays");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
