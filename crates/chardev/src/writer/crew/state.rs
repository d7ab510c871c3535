//! Which job has a step next, as a thing without threads: whoever holds the lock asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Haste, Job, Next, Place};

/// The least time between two passes.
pub(super) const REST: Duration = Duration::from_millis(20);
/// The longest, when passes themselves take long.
pub(super) const LONGEST_REST: Duration = Duration::from_millis(250);
/// How many times as long as a pass took the rest after it is.
const REST_TIMES: u32 = 9;
/// A step that takes longer keeps nobody waiting any more.
pub(super) const HANGS: Duration = Duration::from_millis(20);
/// So many steps may hang on one device.
pub(super) const HANG_TOGETHER: usize = 4;
/// So many urgent steps are taken at a time.
pub(super) const URGENT_TOGETHER: usize = 4;

/// Where all jobs are.
pub(super) struct Turns {
    /// These two may also name jobs that are elsewhere by now.
    pub(super) ready: VecDeque<Arc<dyn Job>>,
    pub(super) urgent: VecDeque<Arc<dyn Job>>,
    waiting: BTreeMap<(Instant, u64), Arc<dyn Job>>,
    held: BTreeMap<u64, Vec<Arc<dyn Job>>>,
    pub(super) at_work: BTreeMap<u64, Step>,
    last_step: u64,
    /// How many of the ready are still to have their step in this pass.
    left: usize,
    pass_began: Option<Instant>,
    /// The next pass begins then at the earliest.
    opens: Option<Instant>,
    pub(super) threads: usize,
    pub(super) idle: usize,
    /// When one of the idle threads looks again, as the last of them has it.
    pub(super) next_look: Option<Instant>,
    /// Named twice, and to be let go of without the lock.
    pub(super) stale: Vec<Arc<dyn Job>>,
}

/// A step that a thread is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) since: Instant,
    device: u64,
    haste: Haste,
    pub(super) hangs: bool,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Turns {
            ready: VecDeque::new(),
            urgent: VecDeque::new(),
            waiting: BTreeMap::new(),
            held: BTreeMap::new(),
            at_work: BTreeMap::new(),
            last_step: 0,
            left: 0,
            pass_began: None,
            opens: None,
            threads: 0,
            idle: 0,
            next_look: None,
            stale: Vec::new(),
        }
    }

    /// Whether somebody may have to be told.
    pub(super) fn enqueue(&mut self, job: Arc<dyn Job>, haste: Haste) -> bool {
        let place = job.ticket().get();
        match (place, haste) {
            (Place::AtWork, _) | (Place::Roused(Haste::Paced), Haste::Now) => {
                job.ticket().set(Place::Roused(haste));
                return false;
            }
            (Place::Urgent | Place::Roused(_) | Place::Held, _) => return false,
            (Place::Ready, Haste::Paced) => return false,
            (Place::Waiting(until), _) => drop(self.waiting.remove(&(until, job.ticket().number))),
            (Place::Idle | Place::Ready, _) => {}
        }
        let (queue, place) = match haste {
            Haste::Paced => (&mut self.ready, Place::Ready),
            Haste::Now => (&mut self.urgent, Place::Urgent),
        };
        job.ticket().set(place);
        let is_first = queue.is_empty();
        queue.push_back(job);
        is_first || haste == Haste::Now
    }

    /// Whose time has come, and what hangs.
    pub(super) fn look(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let job = entry.remove();
            job.ticket().set(Place::Urgent);
            self.urgent.push_back(job);
        }
        for step in self.at_work.values_mut() {
            step.hangs |= now.saturating_duration_since(step.since) >= HANGS;
        }
    }

    /// Who has the next step.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Arc<dyn Job>, Haste)> {
        while self.at_work_in(Haste::Paced) == 0 {
            let Some(job) = self.next_of_pass(now) else {
                break;
            };
            match job.ticket().get() {
                Place::Ready if self.hold(&job) => {}
                Place::Ready => return Some((job, Haste::Paced)),
                _ => self.stale.push(job),
            }
        }
        while self.at_work_in(Haste::Now) < URGENT_TOGETHER {
            let job = self.urgent.pop_front()?;
            match job.ticket().get() {
                Place::Urgent if self.hold(&job) => {}
                Place::Urgent => return Some((job, Haste::Now)),
                _ => self.stale.push(job),
            }
        }
        None
    }

    fn next_of_pass(&mut self, now: Instant) -> Option<Arc<dyn Job>> {
        if self.left == 0 {
            if self.opens.is_some_and(|opens| opens > now) {
                return None;
            }
            self.left = self.ready.len();
            self.pass_began = Some(now);
        }
        let job = self.ready.pop_front()?;
        self.left -= 1;
        if self.left == 0 {
            let took = self.pass_began.map_or(Duration::ZERO, |began| now - began);
            self.opens = Some(now + (took * REST_TIMES).clamp(REST, LONGEST_REST));
        }
        Some(job)
    }

    /// Keeps `job` back if too much hangs on its device already.
    fn hold(&mut self, job: &Arc<dyn Job>) -> bool {
        let hangs = self.at_work.values().any(|step| step.hangs);
        if !hangs {
            return false;
        }
        let device = job.device();
        let hanging = self.at_work.values();
        let hanging = hanging.filter(|step| step.hangs && step.device == device);
        if hanging.count() < HANG_TOGETHER {
            return false;
        }
        job.ticket().set(Place::Held);
        self.held.entry(device).or_default().push(Arc::clone(job));
        true
    }

    pub(super) fn begin(&mut self, job: &dyn Job, haste: Haste, now: Instant) -> u64 {
        job.ticket().set(Place::AtWork);
        self.last_step += 1;
        let step = Step {
            since: now,
            device: job.device(),
            haste,
            hangs: false,
        };
        self.at_work.insert(self.last_step, step);
        self.last_step
    }

    /// Whether the job, or others, have another step soon.
    pub(super) fn end(&mut self, step: u64, job: &Arc<dyn Job>, next: Next) -> bool {
        let ended = self.at_work.remove(&step);
        let held = ended.and_then(|step| self.held.remove(&step.device));
        let released = held.is_some();
        for job in held.into_iter().flatten() {
            job.ticket().set(Place::Urgent);
            self.urgent.push_back(job);
        }
        let ticket = job.ticket();
        let roused = match ticket.get() {
            Place::Roused(haste) => Some(haste),
            _ => None,
        };
        ticket.set(Place::Idle);
        let haste = match (next, roused) {
            (Next::Again(Haste::Now), _) | (_, Some(Haste::Now)) => Haste::Now,
            (Next::Again(haste), _) | (_, Some(haste)) => haste,
            (Next::At(until), None) => {
                ticket.set(Place::Waiting(until));
                let key = (until, ticket.number);
                self.waiting.insert(key, Arc::clone(job));
                return released;
            }
            (Next::Done, None) => return released,
        };
        self.enqueue(Arc::clone(job), haste);
        released
    }

    /// How long until something may have to be done, if anything is to be.
    pub(super) fn next_look(&self, now: Instant) -> Option<Duration> {
        let time = self.waiting.keys().next().map(|(time, _)| *time);
        let opens = self.opens.filter(|opens| *opens > now);
        let has_work = self.has_work() || time.is_some();
        let steps = self.at_work.values().filter(|step| has_work && !step.hangs);
        let hangs = steps.map(|step| step.since + HANGS).min();
        let next = [time, opens, hangs].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Whether a thread that has nothing to do is not needed either.
    pub(super) fn is_to_spare(&self) -> bool {
        let needed = match self.has_work() || self.working() > 0 {
            true => 2,
            false => usize::from(!self.waiting.is_empty()),
        };
        self.threads - self.hanging() > needed
    }

    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.urgent.is_empty()
    }

    /// Whether a thread will see it if a step that begins now hangs.
    pub(super) fn is_watched(&self, now: Instant) -> bool {
        let look = self.next_look.filter(|look| *look > now);
        look.is_some_and(|look| look <= now + HANGS)
    }

    pub(super) fn is_open(&self) -> bool {
        self.left > 0 || self.opens.is_none_or(|opens| opens <= Instant::now())
    }

    pub(super) fn working(&self) -> usize {
        self.at_work.len() - self.hanging()
    }

    pub(super) fn hanging(&self) -> usize {
        self.at_work.values().filter(|step| step.hangs).count()
    }

    fn at_work_in(&self, haste: Haste) -> usize {
        let steps = self.at_work.values();
        steps
            .filter(|step| step.haste == haste && !step.hangs)
            .count()
    }
}
