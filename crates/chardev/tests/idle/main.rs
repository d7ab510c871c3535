//! Nothing that waits wakes anybody: each kind of back end in each state, with each policy and each
//! kind of front end, is left alone for two seconds, and the wake-ups are counted.

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../it/common/mod.rs"]
mod common;
mod front;
mod states;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chardev::Chardevs;
use chardev::spec::{OptionValue, Options};
use common::DEADLINE;

use self::front::Front;
use self::states::{STATES, State};

/// How long nothing may happen.
const IDLE: Duration = Duration::from_secs(2);
/// How long nothing must have happened for everything to count as settled.
const SETTLED: Duration = Duration::from_millis(400);

/// How often a thread that writes to a disk, or to what stands for one, may look meanwhile.
const DISK_LOOKS: u64 = 25;

/// Chardevs in states, all of one policy and with one kind of front end.
pub(crate) struct World {
    pub(crate) chardevs: Chardevs,
    pub(crate) dir: tempfile::TempDir,
    policy: &'static str,
    front: Front,
}

impl World {
    fn new(policy: &'static str, front: Front) -> Self {
        World {
            chardevs: Chardevs::new().unwrap(),
            dir: tempfile::tempdir().unwrap(),
            policy,
            front,
        }
    }

    /// Options of `kind` with the policy.
    pub(crate) fn options(&self, kind: &'static str) -> Options {
        let options = Options::new(kind).with("x-closed", OptionValue::Str(self.policy.to_owned()));
        match self.policy {
            "history" => options.with("x-history", OptionValue::Int(4096)),
            _ => options,
        }
    }

    /// A path of the chardev `id`.
    pub(crate) fn path(&self, id: &str, what: &str) -> std::path::PathBuf {
        self.dir.path().join(format!("{id}{what}"))
    }

    /// Brings the chardev `state.name` into its state.
    fn bring_about(&self, state: &State) {
        let (name, front) = (state.name, self.front);
        let then = (state.open)(self, name);
        let driver = front.attach(&self.chardevs, name);
        if let Some(driver) = &driver {
            driver.wait_until_idle();
        }
        then();
    }

    /// What has happened so far.
    fn counts(&self) -> (u64, u64) {
        (self.chardevs.wakeups(), front::POLLS.load(Ordering::SeqCst))
    }
}

/// Waits until nothing happens any more, for `quiet`; `None` if something always does.
fn settle<T: PartialEq>(quiet: Duration, look: impl Fn() -> T) -> Option<T> {
    let end = Instant::now() + DEADLINE;
    let (mut last, mut since) = (look(), Instant::now());
    while Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(20));
        let now = look();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() >= quiet {
            return Some(last);
        }
    }
    None
}

/// How often each thread of this process gave up the CPU.
fn switches() -> BTreeMap<String, u64> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut all = BTreeMap::new();
    for task in tasks {
        let task = task.unwrap();
        let id = task.file_name().into_string().unwrap();
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let find = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        let (Some(name), Some(count)) = (find("Name:"), find("voluntary_ctxt_switches:")) else {
            continue;
        };
        // The one that looks is never idle.
        if id != own {
            all.insert(
                format!("{} {id}", name.trim()),
                count.trim().parse().unwrap(),
            );
        }
    }
    all
}

/// The threads that ran in a window: those that are there before and after it. A thread of a pool
/// that ends unused is gone at its end.
fn ran(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    let moved = |(name, count): (&String, &u64)| {
        let times = count - before.get(name)?;
        // A disk does not tell when it has room again: what was refused is tried now and then.
        let allowed = match name.starts_with("chardev-disk") {
            true => DISK_LOOKS,
            // The test harness has a thread that waits for this one.
            false if name.starts_with("idle-") => u64::MAX,
            false => 0,
        };
        (times > allowed).then(|| format!("{name}: {times}"))
    };
    after.iter().filter_map(moved).collect()
}

/// Whether `world` is idle; else what happened.
fn idle(world: &World, window: Duration) -> Result<(), String> {
    settle(SETTLED, || world.counts()).ok_or("it never settles")?;
    let (before, threads) = (world.counts(), switches());
    let end = Instant::now() + window;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    let (after, threads) = (world.counts(), ran(&threads, &switches()));
    if before == after && threads.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} wake-ups of the I/O thread, {} of front ends; threads that ran: {threads:?}",
        after.0 - before.0,
        after.1 - before.1
    ))
}

fn walk(policy: &'static str, front: Front) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let world = World::new(policy, front);
    for state in STATES {
        world.bring_about(state);
    }
    let Err(all) = idle(&world, IDLE) else { return };
    drop(world);
    // Which of them was it?
    let mut found = Vec::new();
    for state in STATES {
        let world = World::new(policy, front);
        world.bring_about(state);
        if let Err(what) = idle(&world, SETTLED) {
            found.push(format!("{}: {what}", state.name));
        }
    }
    panic!("{policy}, {front:?}: {all}\n{}", found.join("\n"));
}

macro_rules! walks {
    ($($name:ident: $policy:literal, $front:expr;)*) => {
        $(#[test] fn $name() { walk($policy, $front); })*
    };
}

walks! {
    nobody_discarding: "discard", Front::Absent;
    nobody_holding: "hold", Front::Absent;
    nobody_with_history: "history", Front::Absent;
    a_deaf_front_end_discarding: "discard", Front::Deaf;
    a_deaf_front_end_holding: "hold", Front::Deaf;
    a_reader_discarding: "discard", Front::Reads;
    a_reader_holding: "hold", Front::Reads;
    a_reader_with_history: "history", Front::Reads;
    a_writer_discarding: "discard", Front::Writes;
    a_writer_holding: "hold", Front::Writes;
    a_writer_with_history: "history", Front::Writes;
}
