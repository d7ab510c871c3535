//! No change holds the guest for 10 ms. What is measured is what the library does to it: that it
//! takes no output because of a transaction, and that the vCPU's thread waits for anything but a
//! processor. How long a loaded machine runs somebody else instead is taken off, so the limit has
//! no exceptions.
//!
//! What a pty has buffered is moved by a worker of the kernel, for which whoever reads it waits.
//! How long that worker waits for a processor cannot be known, so of a change from a pty only what
//! we do is counted, and the vCPU's thread, which reads ptys as well, is watched while there is
//! none.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::common;
use crate::common::scheduler::{Moment, Scheduler, processor_time};
use chardev::front::virtio_console::{PortConfig, WhenFull};
use chardev::spec::Options;
use chardev::{Chardevs, FreezeWatch, Info};
use chardev_load::peers::{Flow, Kind, Load, Peer, Prepared};
use chardev_load::random::Random;
use chardev_qapi::cmdline::parse_backend_line;
use microvm::machine::{Config, Ended, Machine};

/// The longest that a change may hold the guest.
const LIMIT: Duration = Duration::from_millis(10);
/// How many changes there are for each port.
const CHANGES: usize = 300;
/// How much the guest prints over a back end before that is replaced.
const ENOUGH: u64 = 64;
/// How long anything may take before it counts as stuck.
const STUCK: Duration = Duration::from_secs(30);
/// How far the peers of a port may be ahead of the guest.
const AHEAD: u64 = 1 << 10;
const KINDS: [Kind; 6] = [
    Kind::File,
    Kind::UnixClient,
    Kind::TcpServer,
    Kind::TcpClient,
    Kind::Pty,
    Kind::Ringbuf,
];
const PORTS: [&str; 3] = ["con0", "con1", "con2"];

/// Who takes part in a change, beside whoever measures.
const THREADS: [&str; 3] = ["vcpu0", "chardev-io", "virtio-console"];

/// Takes the time of every hold.
struct Stopwatch {
    scheduler: Arc<Scheduler>,
    began: Option<Moment>,
    /// Whether the change is one from a pty.
    from_pty: Arc<AtomicBool>,
    holds: Arc<Mutex<Vec<Duration>>>,
}

impl FreezeWatch for Stopwatch {
    fn begin(&mut self) {
        self.began = Some(self.scheduler.now());
    }

    fn end(&mut self) {
        let began = self.began.take().expect("a hold has a beginning");
        let now = self.scheduler.now();
        let time = match self.from_pty.load(Ordering::Acquire) {
            true => now.work_since(&began),
            false => now.own_time_since(&began),
        };
        self.holds.lock().unwrap().push(time);
    }
}

/// Finds out for how long the vCPU's thread waits for something while there is a change.
#[derive(Default)]
struct VcpuWatch {
    scheduler: Mutex<Option<Arc<Scheduler>>>,
    stopped: AtomicBool,
    /// Odd while there is a change, and no pty.
    changes: AtomicU64,
    longest: Mutex<Duration>,
}

/// The vCPU thread's last look at the clocks, and what it saw when the change began.
struct Look {
    at: Instant,
    ran: Duration,
    changes: u64,
    began: Option<Moment>,
}

impl VcpuWatch {
    /// What the vCPU's thread calls after every exit of the guest.
    fn eye(self: &Arc<Self>) -> impl Fn() -> bool + Send + 'static {
        let (watch, look) = (Arc::clone(self), Mutex::new(None));
        move || {
            watch.look(&mut look.lock().unwrap());
            watch.stopped.load(Ordering::Acquire)
        }
    }

    fn look(&self, last: &mut Option<Look>) {
        let changes = self.changes.load(Ordering::Acquire);
        let (at, ran) = (Instant::now(), processor_time());
        let mut began = None;
        if let Some(last) = last.take() {
            let changed = changes != last.changes;
            let away = (at - last.at).saturating_sub(ran - last.ran);
            if let Some(moment) = last
                .began
                .filter(|_| away >= LIMIT && (changed || changes % 2 == 1))
            {
                let rest = self
                    .moment()
                    .map_or(Duration::ZERO, |now| now.rest_since(&moment));
                let mut longest = self.longest.lock().unwrap();
                *longest = rest.max(*longest);
            } else if !changed {
                began = last.began;
            }
        }
        *last = Some(Look {
            at,
            ran,
            changes,
            began: began.or_else(|| self.moment()),
        });
    }

    fn moment(&self) -> Option<Moment> {
        let scheduler = self.scheduler.lock().unwrap();
        scheduler.as_ref().map(|scheduler| scheduler.now())
    }
}

/// The peers of one port.
struct Port {
    id: &'static str,
    peer: Option<Peer>,
    flow: Arc<Flow>,
    from_pty: Arc<AtomicBool>,
    /// How many there were.
    count: u64,
}

impl Port {
    fn new(id: &'static str) -> Self {
        let flow = Flow {
            ahead: Some(AHEAD),
            ..Flow::default()
        };
        Port {
            id,
            peer: None,
            flow: Arc::new(flow),
            from_pty: Arc::default(),
            count: 0,
        }
    }

    /// Replaces the back end, and lets the new one's peer come.
    fn change(&mut self, chardevs: &Chardevs, watch: &VcpuWatch, kind: Kind, dir: &Path) {
        let list = chardevs.list();
        let has_pty = kind == Kind::Pty || list.iter().any(|info| info.kind == "pty");
        let dir = dir.join(self.id);
        std::fs::create_dir_all(&dir).unwrap();
        let load = Load { kind, slow: false };
        let prepared = Prepared::new(load, &dir, self.count).unwrap();
        let prepared = prepared.with_flow(&self.flow);
        let options = options(&format!("{},x-closed=hold", prepared.backend.line));
        let former = self.peer.as_ref().map(|peer| peer.load.kind);
        let from_pty = former == Some(Kind::Pty);
        self.from_pty.store(from_pty, Ordering::Release);
        let step = u64::from(!has_pty);
        watch.changes.fetch_add(step, Ordering::AcqRel);
        let info = change(chardevs, self.id, options);
        watch.changes.fetch_add(step, Ordering::AcqRel);
        if let Some(peer) = self.peer.take() {
            peer.shared.replaced.store(true, Ordering::Release);
        }
        // A ring is there to be read by those who ask for it.
        if kind != Kind::Ringbuf {
            let nowhere = dir;
            let peer = prepared.attach(self.count, self.id, info.pty.as_deref(), &nowhere);
            self.peer = Some(peer.unwrap());
        }
        self.count += 1;
    }

    /// Waits until the guest has printed `ENOUGH` more than `before`.
    fn wait_for_output(&self, chardevs: &Chardevs, before: u64) {
        let began = Instant::now();
        loop {
            let stats = chardevs.stats(self.id).unwrap();
            let taken = stats.input_delivered + stats.input_late;
            self.flow.taken.store(taken, Ordering::Release);
            if stats.output_accepted >= before + ENOUGH {
                return;
            }
            assert!(
                began.elapsed() < STUCK,
                "{}: the guest prints nothing",
                self.id
            );
            std::thread::yield_now();
        }
    }
}

fn options(line: &str) -> Options {
    let parsed = parse_backend_line(line, &chardev::back::specs());
    parsed.unwrap().options
}

/// Changes on the thread that also serves monitors, as they do.
fn change(chardevs: &Chardevs, id: &'static str, options: Options) -> Info {
    let (done, answer) = mpsc::channel();
    let changing = chardevs.clone();
    chardevs.spawn(async move {
        let _ = done.send(changing.change(id, &options).await);
    });
    answer.recv_timeout(STUCK).unwrap().unwrap()
}

fn machine(chardevs: &Chardevs, watch: &Arc<VcpuWatch>) -> Machine {
    for id in PORTS.into_iter().chain(["report"]) {
        let null = Options::new("null");
        let added = chardevs.add(id, &null);
        chardevs.block_on(added).unwrap();
    }
    let mut console = PortConfig::console();
    console.when_full = WhenFull::Wait;
    let generic = PortConfig::generic("org.test.0");
    let config = Config {
        kernel: common::guest().to_owned(),
        initrd: None,
        append: format!("lines={} all=1", u64::MAX),
        memory: 16 << 20,
        serial: vec![PORTS[0].to_owned(), "report".to_owned()],
        virtio: vec![
            (PORTS[1].to_owned(), console),
            (PORTS[2].to_owned(), generic),
        ],
    };
    Machine::new(&config, chardevs, watch.eye()).unwrap()
}

#[test]
fn no_change_holds_the_guest_for_10_ms() {
    if !common::kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let chardevs = Chardevs::new().unwrap();
    let watch = Arc::new(VcpuWatch::default());
    let mut machine = machine(&chardevs, &watch);
    let vcpu = std::thread::Builder::new().name(THREADS[0].to_owned());
    let vcpu = vcpu.spawn(move || machine.run()).unwrap();
    let mut ports = PORTS.map(Port::new);
    for port in &ports {
        port.wait_for_output(&chardevs, 0);
    }
    let scheduler = Arc::new(Scheduler::of(&THREADS));
    *watch.scheduler.lock().unwrap() = Some(Arc::clone(&scheduler));
    let holds: Arc<Mutex<Vec<Duration>>> = Arc::default();
    for port in &ports {
        let stopwatch = Stopwatch {
            scheduler: Arc::clone(&scheduler),
            began: None,
            from_pty: Arc::clone(&port.from_pty),
            holds: Arc::clone(&holds),
        };
        assert!(chardevs.watch_freezes(port.id, Box::new(stopwatch)));
    }
    let mut random = Random::new(1);
    for _ in 0..CHANGES {
        for port in &mut ports {
            let before = chardevs.stats(port.id).unwrap().output_accepted;
            port.change(&chardevs, &watch, random.pick(&KINDS), dir.path());
            port.wait_for_output(&chardevs, before);
        }
    }
    watch.stopped.store(true, Ordering::Release);
    assert_eq!(vcpu.join().unwrap().unwrap(), Ended::Stopped);
    let mut holds = holds.lock().unwrap().clone();
    holds.sort();
    let vcpu = *watch.longest.lock().unwrap();
    let longest = holds.last().copied().unwrap_or_default();
    println!(
        "{} changes held the guest for {:?} (median), {longest:?} at most; the vCPU waited less than {LIMIT:?}, or {vcpu:?}",
        holds.len(),
        holds[holds.len() / 2],
    );
    assert_eq!(holds.len(), CHANGES * PORTS.len());
    assert!(longest < LIMIT, "a change held the guest for {longest:?}");
    assert!(vcpu < LIMIT, "the vCPU waited for {vcpu:?} during a change");
}
