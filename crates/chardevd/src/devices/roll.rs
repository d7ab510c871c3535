//! The list of devices, the state of their programs, and restarting them.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use chardev_monitor::{Devices, Doing, Events, Reason, Stop};
use chardev_qapi::{Json, Object, QmpError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::virtio::Buses;
use super::worker::on_own_thread;
use super::{Device, Worker, Workshop};

use crate::DaemonError;

/// All devices. Clones share everything.
#[derive(Clone, Debug)]
pub struct Roll {
    entries: Arc<Mutex<Vec<Arc<Entry>>>>,
    events: Events,
    stop: Stop,
    /// Where further ones are started, while the daemon runs.
    shop: Arc<Mutex<Option<Workshop>>>,
    /// Told when one is listed no more.
    left: Arc<Notify>,
}

/// One device.
#[derive(Debug)]
pub(crate) struct Entry {
    id: String,
    /// The argument of `-device`.
    line: String,
    driver: &'static str,
    chardev: String,
    /// Whether its program is started again when it ends; `None` for a device without a program.
    restart: Option<bool>,
    command: Option<String>,
    /// What it is plugged into.
    bus: Option<String>,
    /// Asked for when it is to end.
    stop: Stop,
    /// Runs until it has ended, and lists it no more once it was to.
    task: Mutex<Option<JoinHandle<()>>>,
    state: Mutex<Phase>,
    again: Notify,
    events: Events,
}

#[derive(Debug)]
struct Phase {
    name: &'static str,
    since: u64,
    /// The program, and how it ended.
    program: Object,
}

impl Roll {
    /// No devices yet. What becomes of those that come is told to `events`; they end when `stop`
    /// asks for it.
    pub fn new(events: Events, stop: Stop) -> Self {
        Roll {
            entries: Arc::default(),
            events,
            stop,
            shop: Arc::default(),
            left: Arc::default(),
        }
    }

    /// Lets monitors add devices, in `shop`.
    pub fn open(&self, shop: &Workshop) {
        *self.shop() = Some(shop.clone());
    }

    /// No more devices come; waits until those there are have ended.
    pub async fn finished(&self) {
        drop(self.shop().take());
        let entries = self.lock().clone();
        for entry in entries {
            let task = entry.task().take();
            if let Some(task) = task {
                let _ = task.await;
            }
        }
    }

    /// A further device; without an `id` it is called like its chardev.
    ///
    /// # Errors
    /// `Duplicate device ID '…'`
    pub(crate) fn enter(
        &self,
        id: Option<String>,
        line: &str,
        driver: &'static str,
        device: &dyn Device,
    ) -> Result<Arc<Entry>, DaemonError> {
        let chardev = device.chardev();
        let mut entries = self.lock();
        let is_taken = |id: &str| entries.iter().any(|entry| entry.id == id);
        let id = match id {
            Some(id) if is_taken(&id) => {
                return Err(format!("Duplicate device ID '{id}'").into());
            }
            Some(id) => id,
            None if !is_taken(chardev) => chardev.to_owned(),
            None => {
                let free = (1..).map(|number: u64| format!("{chardev}.{number}"));
                free.into_iter()
                    .find(|id| !is_taken(id))
                    .unwrap_or_default()
            }
        };
        let entry = Arc::new(Entry {
            id,
            line: line.to_owned(),
            driver,
            chardev: chardev.to_owned(),
            bus: device.bus().map(str::to_owned),
            restart: device.restart(),
            command: device.command().map(str::to_owned),
            stop: self.stop.child(),
            task: Mutex::default(),
            state: Mutex::new(Phase {
                name: "running",
                since: now(),
                program: Object::new(),
            }),
            again: Notify::new(),
            events: self.events.clone(),
        });
        entries.push(Arc::clone(&entry));
        Ok(entry)
    }

    /// A device that was not started after all.
    pub(crate) fn leave(&self, entry: &Arc<Entry>) {
        self.lock().retain(|other| !Arc::ptr_eq(other, entry));
    }

    /// The device runs: `task` ends when it has ended.
    pub(crate) fn started(
        &self,
        entry: &Arc<Entry>,
        task: JoinHandle<()>,
        worker: &Worker,
        shop: &Workshop,
    ) {
        let (roll, ending) = (self.clone(), Arc::clone(entry));
        let buses = shop.buses_ref();
        let watched = worker.spawn(async move {
            let _ = task.await;
            // One that ended by itself stays in the list, where it can be seen how.
            if ending.stop.requested().await == Reason::Deleted {
                roll.delete(&ending, &buses);
            }
        });
        *entry.task() = Some(watched);
    }

    /// The device has ended because it was to be deleted, and what was plugged into it is gone,
    /// too.
    fn delete(&self, entry: &Arc<Entry>, buses: &Mutex<Buses>) {
        let bus = |entry: &Entry| entry.bus.as_deref().map(bus_id).map(str::to_owned);
        let mut gone = Vec::new();
        let mut entries = self.lock();
        // A port that went with its bus has been seen to.
        if !entries.iter().any(|other| Arc::ptr_eq(other, entry)) {
            return;
        }
        let mut buses = buses.lock().unwrap_or_else(PoisonError::into_inner);
        buses.remove(&entry.id);
        drop(buses);
        entries.retain(|other| {
            let goes = Arc::ptr_eq(other, entry) || bus(other).as_ref() == Some(&entry.id);
            if goes {
                gone.push(Arc::clone(other));
            }
            !goes
        });
        drop(entries);
        for entry in gone {
            entry.stop.request(Reason::Deleted);
            let data = Object::new().with("device", entry.id.as_str());
            let data = data.with("path", format!("/machine/peripheral/{}", entry.id));
            self.events.emit("DEVICE_DELETED", Some(data.into()));
        }
        self.left.notify_waiters();
    }

    /// Asks for the end of device `id`, if it is there.
    pub(crate) fn end(&self, id: &str) {
        if let Ok(entry) = self.find(id) {
            entry.stop.request(Reason::Deleted);
        }
    }

    /// Whether there is a device `id`.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.find(id).is_ok()
    }

    /// Waits until there is no device `id`.
    pub(crate) async fn gone(&self, id: &str) {
        loop {
            // From here on, so that none is missed between the look and the wait.
            let mut left = pin!(self.left.notified());
            left.as_mut().enable();
            if !self.has(id) {
                return;
            }
            left.await;
        }
    }

    fn find(&self, id: &str) -> Result<Arc<Entry>, QmpError> {
        let entries = self.lock();
        let entry = entries.iter().find(|entry| entry.id == id);
        entry
            .cloned()
            .ok_or_else(|| QmpError::device_not_found(format!("Device '{id}' not found")))
    }

    fn shop(&self) -> MutexGuard<'_, Option<Workshop>> {
        self.shop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bus is called by its console's id, with or without the number of the only one it has.
pub(crate) fn bus_id(bus: &str) -> &str {
    bus.strip_suffix(".0").unwrap_or(bus)
}

impl Devices for Roll {
    fn query(&self) -> Json {
        let entries = self.lock().clone();
        let described: Vec<Object> = entries.iter().map(|entry| entry.describe()).collect();
        described.into()
    }

    fn lines(&self) -> Vec<String> {
        self.lock().iter().map(|entry| entry.line.clone()).collect()
    }

    fn add(&self, line: String) -> Doing {
        let shop = self.shop().clone();
        Box::pin(async move {
            let shop = shop.ok_or("the daemon is starting or ending")?;
            // Its socket may be on a file system that takes its time.
            let start = move || shop.start(&line, &[], |_| false);
            let started = on_own_thread("device-add", start).await?;
            started.map(drop).map_err(QmpError::from)
        })
    }

    fn remove(&self, id: &str) -> Result<(), QmpError> {
        let entry = self.find(id)?;
        if let Some(bus) = &entry.bus {
            return Err(
                format!("Device '{id}' is a port of '{bus}' and is removed with it").into(),
            );
        }
        if !entry.stop.request(Reason::Deleted) {
            return Err(format!("Device {id} is already in the process of unplug").into());
        }
        Ok(())
    }

    fn restart(&self, id: &str) -> Result<(), QmpError> {
        let entry = self.find(id)?;
        if entry.restart.is_none() {
            let driver = entry.driver;
            return Err(format!("Device '{id}' is a {driver}, which runs no program").into());
        }
        entry.again.notify_one();
        Ok(())
    }
}

impl Entry {
    /// Its name in the list.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its console has yet to get its first client.
    pub(crate) fn is_waiting(&self) {
        self.lock().turn("waiting", Object::new());
    }

    /// Its program runs.
    pub(crate) fn has_started(&self, pid: Option<u32>) {
        let mut program = Object::new();
        if let Some(pid) = pid {
            program.insert("pid", pid);
        }
        // Whoever hears of it and asks at once must find it so, and the other way round.
        let mut state = self.lock();
        self.tell("X_DEVICE_STARTED", self.names(), &program);
        state.turn("running", program);
    }

    /// Its program has ended, or could not be started; `again` if somebody wanted it started again.
    pub(crate) fn has_ended(&self, pid: Option<u32>, result: &io::Result<ExitStatus>, again: bool) {
        let mut program = Object::new();
        if let Some(pid) = pid {
            program.insert("pid", pid);
        }
        match result {
            Ok(status) => {
                if let Some(code) = status.code() {
                    program.insert("status", i64::from(code));
                }
                if let Some(signal) = status.signal() {
                    program.insert("signal", i64::from(signal));
                }
            }
            Err(error) => program.insert("error", error.to_string()),
        }
        let name = if result.is_ok() { "ended" } else { "failed" };
        let mut state = self.lock();
        let restart = again || self.restart.unwrap_or(false);
        let data = self.names().with("restart", restart);
        self.tell("X_DEVICE_ENDED", data, &program);
        state.turn(name, program);
    }

    /// Asked for when the device or the daemon is to end.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program was ended in order to be started again.
    pub(crate) fn again_soon(&self) {
        self.again.notify_one();
    }

    /// Until somebody wants the program started again.
    pub(crate) async fn again(&self) {
        self.again.notified().await;
    }

    fn names(&self) -> Object {
        Object::new()
            .with("id", self.id.as_str())
            .with("driver", self.driver)
            .with("chardev", self.chardev.as_str())
    }

    fn describe(&self) -> Object {
        let state = self.lock();
        let mut all = self.names();
        all.insert("state", state.name);
        all.insert("since", state.since);
        if let Some(restart) = self.restart {
            all.insert("restart", restart);
        }
        if let Some(command) = &self.command {
            all.insert("command", command.as_str());
        }
        with_all(all, &state.program)
    }

    fn tell(&self, name: &'static str, data: Object, program: &Object) {
        let data: Json = with_all(data, program).into();
        self.events.emit_about(&self.chardev, name, Some(data));
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Phase {
    fn turn(&mut self, name: &'static str, program: Object) {
        *self = Phase {
            name,
            since: now(),
            program,
        };
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

fn with_all(mut all: Object, more: &Object) -> Object {
    for (name, value) in more.iter() {
        all.insert(name.to_owned(), value.clone());
    }
    all
}

/// How a program ended, for people: `status 3`, `signal 9`, or why it could not be started.
pub(crate) fn in_words(result: &io::Result<ExitStatus>) -> String {
    match result {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("the program ended, status {code}"),
            (None, Some(signal)) => format!("the program ended, signal {signal}"),
            (None, None) => "the program ended".to_owned(),
        },
        Err(error) => format!("the program could not be run: {error}"),
    }
}
