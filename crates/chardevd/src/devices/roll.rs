//! The devices there are, how their programs fare, and how one is started again.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use chardev_monitor::{Devices, Events};
use chardev_qapi::{Json, Object, QmpError};
use tokio::sync::Notify;

/// All devices. Clones share everything.
#[derive(Clone, Debug)]
pub struct Roll {
    entries: Arc<Mutex<Vec<Arc<Entry>>>>,
    events: Events,
}

/// One device.
#[derive(Debug)]
pub(crate) struct Entry {
    id: String,
    driver: &'static str,
    chardev: String,
    /// Whether its program is started again when it ends; `None` for a device without a program.
    restart: Option<bool>,
    state: Mutex<State>,
    again: Notify,
    events: Events,
}

#[derive(Debug)]
struct State {
    name: &'static str,
    since: u64,
    /// The program, and how it ended.
    program: Object,
}

impl Roll {
    /// No devices yet. What becomes of those that come is told to `events`.
    pub fn new(events: Events) -> Self {
        Roll {
            entries: Arc::default(),
            events,
        }
    }

    /// A further device; without an `id` it is called like its chardev.
    ///
    /// # Errors
    /// `Duplicate device ID '…'`
    pub(crate) fn enter(
        &self,
        id: Option<String>,
        driver: &'static str,
        chardev: &str,
        restart: Option<bool>,
    ) -> Result<Arc<Entry>, String> {
        let mut entries = self.lock();
        let is_taken = |id: &str| entries.iter().any(|entry| entry.id == id);
        let id = match id {
            Some(id) if is_taken(&id) => return Err(format!("Duplicate device ID '{id}'")),
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
            driver,
            chardev: chardev.to_owned(),
            restart,
            state: Mutex::new(State {
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

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Devices for Roll {
    fn query(&self) -> Json {
        let entries = self.lock().clone();
        let described: Vec<Object> = entries.iter().map(|entry| entry.describe()).collect();
        described.into()
    }

    fn restart(&self, id: &str) -> Result<(), QmpError> {
        let entries = self.lock();
        let entry = entries.iter().find(|entry| entry.id == id);
        let entry =
            entry.ok_or_else(|| QmpError::device_not_found(format!("Device '{id}' not found")))?;
        if entry.restart.is_none() {
            let driver = entry.driver;
            return Err(format!("Device '{id}' is a {driver}, which runs no program").into());
        }
        entry.again.notify_one();
        Ok(())
    }
}

impl Entry {
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
        with_all(all, &state.program)
    }

    fn tell(&self, name: &'static str, data: Object, program: &Object) {
        let data: Json = with_all(data, program).into();
        self.events.emit_about(&self.chardev, name, Some(data));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn turn(&mut self, name: &'static str, program: Object) {
        *self = State {
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
        all.insert(name, value.clone());
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
