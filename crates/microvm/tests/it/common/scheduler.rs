//! What the machine's scheduler kept from the threads of this process, to be taken off a measured
//! time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::thread::{Pid, gettid};
use rustix::time::{ClockId, clock_gettime};

/// The scheduler's records of some threads, and of this machine's own processors.
#[derive(Debug)]
pub(crate) struct Scheduler {
    threads: Vec<File>,
    machine: File,
}

/// A moment, as the thread that took it saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    at: Instant,
    thread: Pid,
    /// Processor time of the thread, and how often it has given its processor up by itself.
    ran: Duration,
    given_up: u64,
    /// How long the threads, all together, have waited for a processor.
    waited: Duration,
    /// How long the processors themselves were somebody else's, in ticks of 10 ms.
    stolen: u64,
}

impl Scheduler {
    /// The threads of this process that are called `names`, and the one that calls this.
    pub(crate) fn of(names: &[&str]) -> Self {
        let mut threads = vec![open(&format!("/proc/self/task/{}/schedstat", gettid()))];
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let task = task.unwrap().path();
            let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
            if names.contains(&name.trim_end()) {
                threads.push(File::open(task.join("schedstat")).unwrap());
            }
        }
        assert_eq!(threads.len(), names.len() + 1, "there are {names:?}");
        Scheduler {
            threads,
            machine: open("/proc/stat"),
        }
    }

    /// This moment.
    pub(crate) fn now(&self) -> Moment {
        let waited = self.threads.iter().map(|thread| number(thread, 1));
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("voluntary_ctxt"));
        let given_up = line.and_then(|line| line.split_whitespace().nth(1));
        Moment {
            thread: gettid(),
            given_up: given_up.unwrap().parse().unwrap(),
            waited: Duration::from_nanos(waited.sum()),
            stolen: number(&self.machine, 8),
            ran: processor_time(),
            at: Instant::now(),
        }
    }
}

impl Moment {
    /// How much of the time since `earlier` is nobody's but ours. A thread that never gave its
    /// processor up was on its way all the time that it had one. Otherwise somebody waited for
    /// somebody, and only waiting for a processor, which the threads do one for the other, is not
    /// ours.
    pub(crate) fn own_time_since(&self, earlier: &Moment) -> Duration {
        if self.thread == earlier.thread && self.given_up == earlier.given_up {
            return self.ran - earlier.ran;
        }
        self.kept_since(earlier)
    }

    /// What the thread has done, if it is the same one.
    pub(crate) fn work_since(&self, earlier: &Moment) -> Duration {
        match self.thread == earlier.thread {
            true => self.ran - earlier.ran,
            false => Duration::ZERO,
        }
    }

    /// How long the thread has given its processor up for.
    pub(crate) fn rest_since(&self, earlier: &Moment) -> Duration {
        if self.given_up == earlier.given_up {
            return Duration::ZERO;
        }
        self.kept_since(earlier)
            .saturating_sub(self.ran - earlier.ran)
    }

    fn kept_since(&self, earlier: &Moment) -> Duration {
        let stolen = match self.stolen - earlier.stolen {
            0 => Duration::ZERO,
            ticks => Duration::from_millis(10 * (ticks + 1)),
        };
        (self.at - earlier.at).saturating_sub(self.waited - earlier.waited + stolen)
    }
}

/// Processor time of the calling thread.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn open(path: &str) -> File {
    File::open(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The number at `place` in the first line of a file that is made anew for every reading.
fn number(file: &File, place: usize) -> u64 {
    let mut text = [0; 256];
    let count = file.read_at(&mut text, 0).unwrap();
    let text = String::from_utf8_lossy(&text[..count]);
    let word = text.split_whitespace().nth(place);
    word.and_then(|word| word.parse().ok()).unwrap()
}
